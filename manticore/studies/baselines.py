"""Who takes part in a study: each way of making a model and training it on a budget. Knows nothing of studies.

All of them learn from the weights and alphas splits together, in so many steps as their config say; a hybrid has its
steps from the recipe's search and fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import largest_component_parameters, select_path
from manticore.experiment.phases import build_component, finetune, finetune_stream, run_search
from manticore.experiment.projectors import alignment_sequences, build_aligned_supernet, calibration_tokens
from manticore.experiment.seeding import seed_torch
from manticore.nas.baselines import BaselineModel, TaskHead, build
from manticore.nas.cost import parameters
from manticore.nas.discretize import discretize
from manticore.nas.supernet import Supernet
from manticore.training.modules import TrainModule
from manticore.utils.registry import Registry

ArmConfig = dict[str, Any]
"""What tells baselines of one kind apart: `base`, `path`, `name`, `steps`, as the kind needs them. Plain data."""

SCRATCH = "from scratch"
"""What seeds the supernets that no search has seen."""


@dataclass
class TrainedModel:
    """A arm after its training.

    Attributes:
        phases: what was trained; the last one is what is scored.
        path: of a hybrid, the path that was found.
        weights: of a hybrid, the mixing weights (S, K) when the search ended.
        before: models on the way to a hybrid, by name.
    """

    phases: list[PhaseResult[Any]]
    path: list[str] | None = None
    weights: list[list[float]] | None = None
    before: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def net(self) -> nn.Module:
        """What is scored."""
        net: nn.Module = self.phases[-1].net
        return net


baseline_arms: Registry[Callable[[Experiment, ArmConfig], TrainedModel]] = Registry("arm")


@baseline_arms.register("path")
def path(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """The hybrid on one path, without a search; a component alone, if the path stays with the base."""
    base, alone = config["base"], set(config["path"]) == {config["base"]}

    def build() -> nn.Module:
        if alone:
            component: nn.Module = build_component(exp, base, SCRATCH)
            return component
        net = build_aligned_supernet(exp, base, "softmax", SCRATCH)
        hybrid: nn.Module = discretize(net, config["path"], **exp.task.config_fields())
        return hybrid

    return _trained(exp, config, build, aligned=not alone)


@baseline_arms.register("uniform")
def uniform(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """All candidates at all stages, with equal weights that stay so."""
    return _trained(exp, config, lambda: build_aligned_supernet(exp, config["base"], "fixed", SCRATCH), aligned=True)


@baseline_arms.register("designed")
def designed(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """A hybrid designed by hand, as wide as the widest component and about as large as the largest."""
    head_spec = exp.task.head_spec
    width, heads, state = _sizes(exp)

    def make(layers: int) -> nn.Module:
        head = TaskHead(head_spec.kind, width, head_spec.labels)
        return BaselineModel(build(config["name"], width, layers, heads, state), head_spec.vocab_size or 0, head)

    def seeded() -> nn.Module:
        layers = nearest_depth(lambda layers: parameters(make(layers)), largest_component_parameters(exp))
        seed_torch(exp.recipe.run.seed, "designed", config["name"])
        return make(layers)

    return _trained(exp, config, seeded)


@baseline_arms.register("hub")
def hub(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """The paper's own way: its wiring, weights and alphas moved together, the mixture used as it is."""
    return TrainedModel([run_search(exp, exp.space.names[0])])


@baseline_arms.register("soft")
def soft(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """The hybrid without discretization: the mixture at the end of the search, fine-tuned as it is."""
    search, options = run_search(exp, config["base"]), exp.recipe.finetune
    supernet = search.net

    def build() -> Supernet:
        if options.init != "components":
            return supernet
        net = build_aligned_supernet(exp, supernet.base, exp.recipe.search.relaxation, "search")
        net.load_state_dict({"alpha": supernet.alpha}, strict=False)
        return net

    tuned = exp.train(
        "fine-tune",
        build,
        lambda net: TrainModule(net, options.weights, options.steps, exp.loop()),
        partial(finetune_stream, exp),
    )
    return TrainedModel([search, tuned])


@baseline_arms.register("hybrid")
def hybrid(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """Search, select, discretize, fine-tune."""
    search = run_search(exp, config["base"])
    supernet = search.net
    chosen = select_path(exp, supernet)
    discrete = discretize(supernet, chosen, **exp.task.config_fields())
    tuned = finetune(exp, supernet, discrete)
    before = {"soft": supernet, "discrete": discrete}
    return TrainedModel([search, tuned], chosen, supernet.weights().tolist(), before)


def _trained(exp: Experiment, config: ArmConfig, build: Callable[[], nn.Module], aligned: bool = False) -> TrainedModel:
    """A single phase. An aligned model gets fewer steps, by the sequences that its projectors were fitted on."""
    options, steps = exp.recipe.finetune, config["steps"]
    if aligned:
        steps = max(1, steps - round(alignment_sequences(exp.recipe) / options.batch_size))

    def module(net: nn.Module) -> TrainModule:
        seen_tokens = calibration_tokens(exp, config["base"]) if aligned else 0
        return TrainModule(net, options.weights, steps, exp.loop(seen_tokens))

    return TrainedModel([exp.train("train", build, module, partial(finetune_stream, exp))])


def _sizes(exp: Experiment) -> tuple[int, int, int]:
    """Width, heads and state of a designed hybrid: those of the components."""
    configs: dict[bool, Any] = {held.layout.recurrent: held.config for held in exp.components}
    width = max(held.width for held in exp.components)
    heads = getattr(configs.get(False), "num_attention_heads", None) or max(1, width // 64)
    return width, int(heads), int(getattr(configs.get(True), "state_size", None) or 16)


def nearest_depth(size: Callable[[int], int], wanted: float) -> int:
    """The number of layers, at least 2, whose `size` is nearest to `wanted`. Sizes grow with the layers."""
    layers = 2
    while size(layers + 1) <= wanted:
        layers += 1
    return min((layers, layers + 1), key=lambda held: abs(size(held) - wanted))
