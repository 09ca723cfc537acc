"""The whole of a study as plain data, from comparison.json. Knows nothing of how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.errors import BadFile, UnknownName
from manticore.results.plain import mapping, number, number_or_none, reading, texts
from manticore.results.task_result import BUDGETS, FILE, TaskResult
from manticore.training.metrics import Metric
from manticore.utils.io import read_json


@dataclass(frozen=True)
class StudyResult:
    """What comparison.json says; what it does not say is None or empty.

    Attributes:
        matches: one a task.
        verdicts: by budget, sentences.
        components: the models that the hybrid is made of.
        seeds: names of the seeds.
        learning_rates: the grid that everybody was tuned on.
        lr_search_seeds: seeds of each tuning run.
        machine: its facts.
        workers, seconds: how many jobs ran at once, and how long all of it took.
        version: of manticore.
    """

    matches: tuple[TaskResult, ...]
    verdicts: Mapping[str, tuple[str, ...]]
    components: tuple[str, ...]
    seeds: tuple[str, ...]
    learning_rates: tuple[float, ...]
    lr_search_seeds: float | None
    machine: Mapping[str, object]
    workers: float | None
    seconds: float | None
    version: str

    @classmethod
    def of(cls, held: Mapping[str, Any], where: Path | str = FILE) -> StudyResult:
        """From the content of comparison.json. Raises BadFile for what is not that."""
        with reading(where, "the comparison"):
            matches = tuple(TaskResult.of(task, where) for task in held["tasks"])
            if not any(match.tables for match in matches):
                raise BadFile(where, "a comparison without a table")
            return cls(
                matches=matches,
                verdicts={budget: texts(said) for budget, said in mapping(held.get("verdicts")).items()},
                components=texts(held.get("components")),
                seeds=texts(held.get("seeds")),
                learning_rates=tuple(map(number, held.get("learning_rates") or ())),
                lr_search_seeds=number_or_none(held.get("lr_search_seeds")),
                machine=mapping(held.get("machine")),
                workers=number_or_none(held.get("workers")),
                seconds=number_or_none(held.get("seconds")),
                version=str(held.get("manticore") or ""),
            )

    @classmethod
    def read(cls, folder: Path) -> StudyResult:
        """From `comparison.json` in a folder. Raises BadFile if it is not there or not such data."""
        file = folder / FILE
        return cls.of(read_json(file), file)

    @property
    def budgets(self) -> tuple[str, ...]:
        """The budgets of which some task has a table."""
        return tuple(budget for budget in BUDGETS if any(budget in match.tables for match in self.matches))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What tasks are measured by, each once."""
        return tuple(dict.fromkeys(match.metric for match in self.matches))

    def names(self, budget: str) -> tuple[str, ...]:
        """All that stand in a table of a budget, guesses left out. Raises UnknownName if there is no such table."""
        if budget not in self.budgets:
            raise UnknownName("budget", budget, self.budgets)
        held = [one for match in self.matches for one in match.tables.get(budget, ()) if one.group != "guess"]
        return tuple(dict.fromkeys(one.name for one in sorted(held, key=lambda one: one.rank)))
