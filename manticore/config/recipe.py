"""A whole run as frozen dataclasses. Knows what may be said, not what it does."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from manticore.config.sections import (
    BASE_CRITERIA,
    BASELINES,
    BUDGETS,
    ENTROPY_SCHEDULES,
    FINETUNE_INITS,
    PRECISIONS,
    ZERO_SHOT,
    AlignmentOptions,
    BaselineOptions,
    FinetuneOptions,
    RunOptions,
    ScratchOptions,
    SearchOptions,
    SelectionOptions,
    StudyOptions,
)
from manticore.errors import ManticoreError, UnknownName
from manticore.nas.projectors import check_projector
from manticore.nas.relaxations import relaxations
from manticore.nas.space import SearchSpace
from manticore.nas.strategies import strategies
from manticore.tasks.options import TaskOptions
from manticore.training.options import OPTIMIZERS
from manticore.utils.io import write_text

WEIGHT_BOUNDS = dict.fromkeys(
    ("lr", "weight_decay", "warmup_steps", "min_lr_ratio", "max_grad_norm", "embedding_lr_scale", "donor_lr_scale"), 0.0
)
"""The least that the numbers of weight options may be."""

_BOUNDS: dict[str, dict[str, float]] = {
    "task": {"seed": 0},
    "align": {"tokens": 0},
    "search": {"steps": 1, "warmup_steps": 0, "batch_size": 1, "entropy_weight": 0.0},
    "search.weights": WEIGHT_BOUNDS,
    "search.alphas": {"lr": 0.0, "min_lr_ratio": 0.0, "max_grad_norm": 0.0},
    "finetune": {"steps": 1, "batch_size": 1},
    "finetune.weights": WEIGHT_BOUNDS,
    "study": {"seeds": 1, "lr_search_seeds": 1, "path_seeds": 0},
    "run": {
        "seed": 0,
        "threads": 0,
        "checkpoint_every": 1,
        "log_every": 1,
        "micro_batch_size": 0,
        "eval_batch_size": 1,
    },
}
"""The least that numbers may be."""


@dataclass(frozen=True)
class Recipe:
    """Everything a run needs; `recipe.yaml` in a run folder is one of these and runs it again."""

    task: TaskOptions = TaskOptions()
    """The task and its data."""

    space: dict[str, Any] = field(default_factory=dict)
    """The search space: components, stages, base, topology, projector, projector_options, skip."""

    scratch: ScratchOptions = ScratchOptions()
    """Sizes of components built from scratch."""

    align: AlignmentOptions = AlignmentOptions()
    """The alignment of language models."""

    search: SearchOptions = SearchOptions()
    """The search."""

    finetune: FinetuneOptions = FinetuneOptions()
    """The fine-tuning of the discrete hybrid."""

    selection: SelectionOptions = SelectionOptions()
    """How the path is chosen."""

    baselines: BaselineOptions = BaselineOptions()
    """What the hybrid is compared with."""

    study: StudyOptions = StudyOptions()
    """The comparison over seeds."""

    run: RunOptions = RunOptions()
    """The machine and the bookkeeping."""

    def __post_init__(self) -> None:
        search, run, selection = self.search, self.run, self.selection
        if search.strategy not in (*strategies, ZERO_SHOT):
            raise UnknownName("strategy", search.strategy, [*strategies, ZERO_SHOT])
        _ = relaxations[search.relaxation]
        for section, least in _BOUNDS.items():
            for key, bound in least.items():
                value = attrgetter(f"{section}.{key}")(self)
                if not bound <= value < math.inf:
                    raise ManticoreError(f"{section}.{key} must be at least {bound:g}, got {value:g}")
        for weights in (search.weights, self.finetune.weights):
            if weights.optimizer not in OPTIMIZERS:
                raise UnknownName("optimizer", weights.optimizer, OPTIMIZERS)
        for options in (search.weights, search.alphas, self.finetune.weights):
            if not (0 <= options.beta1 < 1 and 0 <= options.beta2 < 1):
                raise ManticoreError("beta1 and beta2 of an optimizer must be at least 0 and below 1")
        if selection.max_parameters not in (None, "largest_component") and selection.max_flops is not None:
            raise ManticoreError("give one budget: selection.max_parameters or selection.max_flops, not both")
        if search.warmup_steps >= search.steps:
            raise ManticoreError(
                f"search.warmup_steps ({search.warmup_steps}) leaves alphas no step: search.steps is {search.steps}"
            )
        if search.relaxation == "fixed":
            raise ManticoreError("search.relaxation cannot be fixed: then there is nothing to search")
        for what, given, known in (
            ("way to decide", search.entropy_schedule, ENTROPY_SCHEDULES),
            ("start of fine-tuning", self.finetune.init, FINETUNE_INITS),
            ("choice of base", selection.base_criterion, BASE_CRITERIA),
        ):
            if given not in known:
                raise UnknownName(what, given, known)
        if not 0 < search.temperature < math.inf:
            raise ManticoreError(f"search.temperature must be above 0, got {search.temperature:g}")
        self._check_study()
        if run.precision not in PRECISIONS:
            raise UnknownName("precision", run.precision, PRECISIONS)
        if run.device not in ("auto", "cpu", "cuda"):
            raise UnknownName("device", run.device, ("auto", "cpu", "cuda"))

    def _check_study(self) -> None:
        study = self.study
        if not study.learning_rates or not all(0 < rate < math.inf for rate in study.learning_rates):
            raise ManticoreError(f"study.learning_rates must be numbers above 0, got {study.learning_rates}")
        for what, given, known in (
            ("arm", study.baselines, BASELINES),
            ("budget", study.budgets, BUDGETS),
        ):
            for name in given:
                if name not in known:
                    raise UnknownName(what, name, known)

    def search_space(self) -> SearchSpace:
        """The search space as an object. Raises ManticoreError if it cannot be, its projectors included."""
        space = SearchSpace.from_dict(self.space)
        check_projector(space.projector, space.projector_options)
        return space

    def save(self, file: Path) -> None:
        """Write as YAML, whole or not at all."""
        held = yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True, width=100)
        write_text(file, f"# Runs again with: manticore search --config recipe.yaml --out another-folder\n{held}")
