"""The arms of a study: how the hybrid and each of its baselines are made and trained on a budget.

All arms are trained on the splits `train` and `train_arch` together, for the number of steps in their config; the
hybrid has the steps of the recipe's search and fine-tuning. `study` compares the arms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from manticore.experiment.budget import largest_component_cost, path_budget
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import score_paths, select_path
from manticore.experiment.phases import build_component, finetune, finetune_stream, run_search
from manticore.experiment.projectors import alignment_sequences, build_aligned_supernet, calibration_tokens
from manticore.experiment.seeding import seed_torch
from manticore.nas.baselines import BaselineModel, TaskHead, build
from manticore.nas.cost import parameters
from manticore.nas.discretize import discretize
from manticore.nas.resources import Resource
from manticore.nas.supernet import Supernet
from manticore.training.modules import TrainModule
from manticore.utils.registry import Registry

ArmConfig = dict[str, Any]
"""Plain data that distinguishes arms of one kind: `base`, `path`, `name` and `steps`, as far as the kind needs them."""

MAX_SCORED = 64
"""Largest number of paths of a space whose scores are kept."""

SCRATCH = "from scratch"
"""Seeds the supernets that are built without a search."""


@dataclass
class TrainedModel:
    """An arm after its training.

    Attributes:
        phases: its training phases; the model of the last one is scored.
        path: for a hybrid, the selected path.
        weights: for a hybrid, the mixing weights (S, K) at the end of the search.
        scores: for a hybrid, the score of each path of a small space by the search, larger being better, in the order
            of `Choices.paths`; None for a path without a score.
        before: for a hybrid, the models before fine-tuning: `soft`, the supernet, and `discrete`, the selected path.
    """

    phases: list[PhaseResult[Any]]
    path: list[str] | None = None
    weights: list[list[float]] | None = None
    scores: list[float | None] | None = None
    before: dict[str, nn.Module] = field(default_factory=dict)

    @property
    def net(self) -> nn.Module:
        """The model that is scored."""
        net: nn.Module = self.phases[-1].net
        return net


arm_kinds: Registry[Callable[[Experiment, ArmConfig], TrainedModel]] = Registry("arm")


@arm_kinds.register("path")
def path(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """One path, from scratch; a component alone if all of its stages are the base's."""
    base, base_alone = config["base"], set(config["path"]) == {config["base"]}

    def build_model() -> nn.Module:
        if base_alone:
            component: nn.Module = build_component(exp, base, SCRATCH)
            return component
        supernet = build_aligned_supernet(exp, base, "softmax", SCRATCH)
        hybrid: nn.Module = discretize(supernet, config["path"], **exp.task.config_fields())
        return hybrid

    return _train(exp, config, build_model, aligned=not base_alone)


@arm_kinds.register("uniform")
def uniform(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """The mixture of all candidates at all stages, with equal weights that are not trained."""

    def build_model() -> nn.Module:
        return build_aligned_supernet(exp, config["base"], "fixed", SCRATCH)

    return _train(exp, config, build_model, aligned=True)


@arm_kinds.register("designed")
def designed(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """A hybrid designed by hand, as wide as the widest component and about as large as the largest."""
    head_spec = exp.task.head_spec
    width, heads, state_size = _block_sizes(exp)

    def build_model(layers: int) -> nn.Module:
        head = TaskHead(head_spec.kind, width, head_spec.labels)
        backbone = build(config["name"], width, layers, heads, state_size)
        return BaselineModel(backbone, head_spec.vocab_size or 0, head)

    def build_seeded() -> nn.Module:
        largest = largest_component_cost(exp, Resource("parameters"))
        layers = nearest_depth(lambda layers: parameters(build_model(layers)), largest)
        seed_torch(exp.recipe.run.seed, "designed", config["name"])
        return build_model(layers)

    return _train(exp, config, build_seeded)


@arm_kinds.register("hub")
def hub(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """The method of the paper: hub topology, weights and alphas trained together, evaluated as a mixture."""
    return TrainedModel([run_search(exp, exp.space.names[0])])


@arm_kinds.register("soft")
def soft(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """The hybrid without discretization: the supernet at the end of the search, fine-tuned."""
    search, options = run_search(exp, config["base"]), exp.recipe.finetune
    supernet = search.net

    def build_mixture() -> Supernet:
        if options.init != "components":
            return supernet
        mixture = build_aligned_supernet(exp, supernet.base, exp.recipe.search.relaxation, "search")
        state = supernet.state_dict()
        mixture.load_state_dict({key: state[key] for key in ("alpha", "group_alpha") if key in state}, strict=False)
        return mixture

    def build_module(mixture: Supernet) -> TrainModule:
        return TrainModule(mixture, options.weights, options.steps, exp.loop())

    finetuned = exp.train("fine-tune", build_mixture, build_module, partial(finetune_stream, exp))
    return TrainedModel([search, finetuned])


@arm_kinds.register("hybrid")
def hybrid(exp: Experiment, config: ArmConfig) -> TrainedModel:
    """Search, path selection, discretization, fine-tuning."""
    search = run_search(exp, config["base"])
    supernet = search.net
    selected, scores = select_path(exp, search), None
    if (choices := supernet.choices).count <= MAX_SCORED:
        of_paths = map(score_paths(exp, search, path_budget(exp)).score, choices.paths())
        scores = [score if math.isfinite(score) else None for score in of_paths]
    discrete = discretize(supernet, selected, **exp.task.config_fields())
    finetuned = finetune(exp, search, discrete)
    before = {"soft": supernet, "discrete": discrete}
    return TrainedModel([search, finetuned], selected, supernet.weights().tolist(), scores, before)


def _train(
    exp: Experiment, config: ArmConfig, build_model: Callable[[], nn.Module], aligned: bool = False
) -> TrainedModel:
    """Train a model in a single phase of `config["steps"]` steps.

    Args:
        exp: the experiment.
        config: of the arm.
        build_model: builds the untrained model.
        aligned: whether its projectors were fitted on calibration text, which counts as part of the training.
    """
    options, steps = exp.recipe.finetune, config["steps"]
    if aligned:
        steps = max(1, steps - round(alignment_sequences(exp.recipe) / options.batch_size))

    def build_module(net: nn.Module) -> TrainModule:
        seen_tokens = calibration_tokens(exp, config["base"]) if aligned else 0
        return TrainModule(net, options.weights, steps, exp.loop(seen_tokens))

    return TrainedModel([exp.train("train", build_model, build_module, partial(finetune_stream, exp))])


def _block_sizes(exp: Experiment) -> tuple[int, int, int]:
    """Width, attention heads and SSM state size of a designed hybrid, taken from the components."""
    configs: dict[bool, Any] = {component.layout.recurrent: component.config for component in exp.components}
    width = max(component.width for component in exp.components)
    heads = getattr(configs.get(False), "num_attention_heads", None) or max(1, width // 64)
    return width, int(heads), int(getattr(configs.get(True), "state_size", None) or 16)


def nearest_depth(size: Callable[[int], int], target: float) -> int:
    """The number of layers, at least 2, whose `size` is nearest to `target`; `size` must grow with the layers."""
    layers = 2
    while size(layers + 1) <= target:
        layers += 1
    return min((layers, layers + 1), key=lambda count: abs(size(count) - target))
