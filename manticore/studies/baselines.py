"""Who takes part in a study: each way of making a model and training it on a budget. Knows nothing of studies.

All of them learn from the weights and alphas splits together, in so many steps as their terms say; a hybrid has its
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
from manticore.experiment.phases import finetune, finetune_stream, run_search
from manticore.experiment.projectors import aligned_sequences, build_aligned_supernet, calibration_tokens
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

    phases: list[PhaseResult]
    path: list[str] | None = None
    weights: list[list[float]] | None = None
    before: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def net(self) -> nn.Module:
        """What is scored."""
        return self.phases[-1].net


baseline_arms: Registry[Callable[[Experiment, ArmConfig], TrainedModel]] = Registry("arm")


@baseline_arms.register("path")
def path(exp: Experiment, terms: ArmConfig) -> TrainedModel:
    """The hybrid on one path, from scratch; a component alone, if the path stays base."""

    stays = set(terms["path"]) == {terms["base"]}

    def make() -> nn.Module:
        build = exp.supernet if stays else partial(build_aligned_supernet, exp)
        made: nn.Module = discretize(
            build(terms["base"], "softmax", SCRATCH), terms["path"], **exp.task.config_fields()
        )
        return made

    return _trained(exp, terms, make, aligned=not stays)


@baseline_arms.register("uniform")
def uniform(exp: Experiment, terms: ArmConfig) -> TrainedModel:
    """All candidates at all stages, with equal weights that stay so."""
    return _trained(exp, terms, lambda: build_aligned_supernet(exp, terms["base"], "fixed", SCRATCH), aligned=True)


@baseline_arms.register("designed")
def designed(exp: Experiment, terms: ArmConfig) -> TrainedModel:
    """A hybrid designed by hand, as wide as the widest component and about as large as the largest."""
    head_spec = exp.task.head_spec
    width, heads, state = _sizes(exp)

    def make(layers: int) -> nn.Module:
        head = TaskHead(head_spec.kind, width, head_spec.labels)
        return BaselineModel(build(terms["name"], width, layers, heads, state), head_spec.vocab_size or 0, head)

    def seeded() -> nn.Module:
        layers = nearest_depth(lambda layers: parameters(make(layers)), largest_component_parameters(exp))
        exp.reseed("designed", terms["name"])
        return make(layers)

    return _trained(exp, terms, seeded)


@baseline_arms.register("hub")
def hub(exp: Experiment, terms: ArmConfig) -> TrainedModel:
    """The paper's own way: its wiring, weights and alphas moved together, the mixture used as it is."""
    return TrainedModel([run_search(exp, exp.space.names[0])])


@baseline_arms.register("soft")
def soft(exp: Experiment, terms: ArmConfig) -> TrainedModel:
    """The hybrid that is never made discrete: the mixture that the search ends with, fine-tuned as it is."""
    found, options = run_search(exp, terms["base"]), exp.recipe.finetune
    supernet = found.net
    assert isinstance(supernet, Supernet)

    def module() -> TrainModule:
        mixed = supernet
        if options.init == "components":
            mixed = build_aligned_supernet(exp, supernet.base, exp.recipe.search.relaxation, "search")
            mixed.load_state_dict({"alpha": supernet.alpha}, strict=False)
        return TrainModule(mixed, options.weights, options.steps)

    tuned = exp.train("fine-tune", module, partial(finetune_stream, exp))
    return TrainedModel([found, tuned])


@baseline_arms.register("hybrid")
def hybrid(exp: Experiment, terms: ArmConfig) -> TrainedModel:
    """Search, select, discretize, fine-tune."""
    found = run_search(exp, terms["base"])
    supernet = found.net
    assert isinstance(supernet, Supernet)
    chosen = select_path(exp, supernet)
    raw = discretize(supernet, chosen, **exp.task.config_fields())
    tuned = finetune(exp, supernet, chosen, "fine-tune")
    before = {"soft": supernet, "discrete": raw}
    return TrainedModel([found, tuned], chosen, supernet.weights().tolist(), before)


def _trained(exp: Experiment, terms: ArmConfig, make: Callable[[], nn.Module], aligned: bool = False) -> TrainedModel:
    """A single phase; sequences that projectors were fitted on are taken off its steps, and their tokens are told."""
    options, steps = exp.recipe.finetune, terms["steps"]
    if aligned:
        steps = max(1, steps - round(aligned_sequences(exp.recipe) / options.batch_size))

    def module() -> TrainModule:
        made = TrainModule(make(), options.weights, steps)
        made.tokens = calibration_tokens(exp, terms["base"]) if aligned else 0
        return made

    return TrainedModel([exp.train("train", module, partial(finetune_stream, exp))])


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
