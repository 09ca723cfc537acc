"""All settings of a run as one frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from manticore.adapters.options import SEARCHED, AdapterOptions
from manticore.config.sections import (
    MIXTURE,
    AlignOptions,
    BaselineOptions,
    FinetuneOptions,
    RunOptions,
    ScratchOptions,
    SelectionOptions,
    StudyOptions,
)
from manticore.errors import ManticoreError
from manticore.nas.space import SearchSpace
from manticore.tasks.options import TaskOptions
from manticore.training.options import SearchOptions
from manticore.utils.fields import Checked
from manticore.utils.io import write_text

UNSET_LEFT_OUT = (
    *(("selection", "sequences"), ("selection", "recall"), ("baselines", "placements")),
    *(("finetune", "teacher"), ("finetune", "copies"), ("finetune", "exits")),
)
"""Keys that results of earlier versions do not have: studies recognize their trials by their recipes."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Checked):
    """All settings of a run. `recipe.yaml` in a run folder is one; it repeats the run.

    Raises:
        UnknownName: a strategy, relaxation, projector or choice that does not exist, with the nearest.
        ManticoreError: a value of another type, out of range, or in conflict with another.
    """

    task: TaskOptions = TaskOptions()
    """The task and its data."""

    space: SearchSpace
    """The search space."""

    scratch: ScratchOptions = ScratchOptions()
    """Sizes of components built from scratch."""

    align: AlignOptions = AlignOptions()
    """The alignment of language models."""

    search: SearchOptions = SearchOptions()
    """The search."""

    finetune: FinetuneOptions = FinetuneOptions()
    """The fine-tuning of the discrete hybrid."""

    adapter: AdapterOptions = AdapterOptions()
    """The adapters that are trained in place of the weights of the components."""

    selection: SelectionOptions = SelectionOptions()
    """How the base model and the path are selected."""

    baselines: BaselineOptions = BaselineOptions()
    """What a search trains besides the hybrid."""

    study: StudyOptions = StudyOptions()
    """The trials of a comparison over seeds."""

    run: RunOptions = RunOptions()
    """Machine, seed and bookkeeping."""

    def __post_init__(self) -> None:
        # Imported here, because the registries import torch and `manticore --help`, which reads these fields, must not.
        from manticore.adapters.catalog import check_needs_no_inputs, check_options
        from manticore.nas.projector_checks import check_projector
        from manticore.nas.regularizers import regularizers
        from manticore.nas.relaxations import relaxations
        from manticore.nas.selection import selectors
        from manticore.nas.strategies import PathStrategy, TrainingFree, build_strategy, strategies

        super().__post_init__()
        strategy = strategies[self.search.strategy]
        build_strategy(self.search.strategy, self.search.strategy_options)  # raises what is wrong with them
        if issubclass(strategy, PathStrategy) and self.selection.selector != "auto":
            raise ManticoreError(
                f"--strategy {self.search.strategy} trains and scores the paths itself; leave out selection.selector"
            )
        if issubclass(strategy, PathStrategy) and self.finetune.teacher == MIXTURE:
            raise ManticoreError(
                f"--strategy {self.search.strategy} trains paths by themselves: there is no mixture to be their teacher"
            )
        if self.finetune.exits and not max(self.finetune.exits) < self.space.stages:
            raise ManticoreError(f"finetune.exits must be below space.stages, {self.space.stages}")
        selector = strategy.selector if self.selection.selector == "auto" else self.selection.selector
        for registry, name in (
            (relaxations, self.search.relaxation),
            (regularizers, self.search.regularizer),
            (selectors, selector),
        ):
            _ = registry[name]  # raises UnknownName
        if self.selection.recall and selector == "largest-weight" and not issubclass(strategy, PathStrategy):
            raise ManticoreError(
                f"selection.recall is part of the loss of paths, and --strategy {self.search.strategy} selects by "
                "mixing weights; set selection.selector=replace-one or evaluated"
            )
        if self.search.cost_weight:
            if not (self.selection.max or self.selection.min):
                raise ManticoreError("search.cost_weight needs a limit: selection.max or selection.min")
            if not strategy.descends or issubclass(strategy, PathStrategy | TrainingFree):
                raise ManticoreError(
                    f"search.cost_weight acts on alphas, and --strategy {self.search.strategy} does not train them by "
                    "gradients; leave it out"
                )
        check_projector(self.space.projector, self.space.projector_options)
        check_options(self.adapter)
        check_needs_no_inputs(self.adapter)
        if self.adapter.name == SEARCHED and not strategy.searches_sizes:
            raise ManticoreError(
                f"adapter.name {SEARCHED} is trained with the alphas, which --strategy {self.search.strategy} does not "
                "train by gradient steps of its own; use darts or simultaneous, or --adapter more"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, fit for YAML.

        Left out are options that a strategy does not have, an unused adapter, the default loggers, and keys of
        `UNSET_LEFT_OUT` that are not set.
        """
        sections = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {key: self.space.to_dict() if key == "space" else asdict(value) for key, value in sections.items()}
        if not plain["search"]["strategy_options"]:
            del plain["search"]["strategy_options"]
        if self.adapter.name is None:
            del plain["adapter"]
        for section, key in UNSET_LEFT_OUT:
            if not plain[section][key]:
                del plain[section][key]
        if self.run.logger == RunOptions.logger:
            del plain["run"]["logger"]
        return plain

    def save(self, file: Path) -> None:
        """Write as YAML, atomically."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=100)
        write_text(file, f"# Runs again with: manticore search --config recipe.yaml --out another-folder\n{text}")
