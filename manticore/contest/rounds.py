"""Contests in rounds: each says which trials it wants next, and the trials of all run together.

A contest is written as a generator that yields lists of trials and is sent their results. So each reads from top to
bottom like one, while the processes are kept busy by the trials of all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from manticore.contest.trials import Trial, Work
from manticore.errors import ManticoreError
from manticore.jobs import JobStore, run_all
from manticore.jobs import Progress as Settled
from manticore.report.metric import OF_TASKS

Results = list[dict[str, Any]]
Story = Generator[list[Trial], Results, dict[str, Any]]

PATIENCE = 5.0
"""Seconds between looks at trials that other processes are at."""


def play(stories: Sequence[Story], run: Callable[[list[Trial]], Results]) -> list[dict[str, Any]]:
    """Advance all stories to their ends, the trials of a round in one call of `run`; their returns, in order."""
    ends: dict[int, dict[str, Any]] = {}
    wanted: dict[int, list[Trial]] = {}
    answers: dict[int, Results | None] = dict.fromkeys(range(len(stories)))
    while len(ends) < len(stories):
        for place, answer in answers.items():
            try:
                wanted[place] = stories[place].send(answer) if answer is not None else next(stories[place])
            except StopIteration as end:
                ends[place] = end.value
                wanted.pop(place, None)
        results = iter(run([trial for held in wanted.values() for trial in held])) if wanted else iter(())
        answers = {place: [next(results) for _ in held] for place, held in wanted.items()}
    return [ends[place] for place in range(len(stories))]


class Crew:
    """Runs trials in `workers` processes and shows how far they are.

    Args:
        store: of results.
        work: does a trial.
        workers: processes.
        console: where the user watches.
    """

    def __init__(self, store: JobStore, work: Work, workers: int, console: Console) -> None:
        self.store, self.work, self.workers, self.console = store, work, workers, console
        self.round = 0
        self.seen: list[Trial] = []

    def run(self, trials: list[Trial]) -> Results:
        """All results, in order. Raises ManticoreError if a trial fails; the others are kept."""
        self.round += 1
        self.seen += trials
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console, transient=True) as progress:
            bar = progress.add_task(f"round {self.round}", total=None, note="")

            def tell(settled: Settled) -> None:
                progress.update(bar, completed=settled.done, total=settled.total, note=self._words(settled))
                if settled.state != "kept" and not self.console.is_terminal:
                    words = f"  round {self.round}: {settled.done}/{settled.total} · {self._words(settled)}"
                    self.console.print(words, highlight=False, soft_wrap=True)

            while True:
                outcome = run_all(trials, self.work, self.store, self.workers, tell)
                if outcome.failed:
                    place, message = next(iter(outcome.failed.items()))
                    raise ManticoreError(
                        f"{len(outcome.failed)} of {len(trials)} trials failed, the others are kept; "
                        f"the first, {words_of(trials[place])}: {message.strip().splitlines()[-1]}"
                    )
                if not outcome.held:
                    return outcome.results
                time.sleep(PATIENCE)

    def leave(self) -> None:
        """Drop the models of trials that nobody tests any more; their scores stay."""
        for held in self.seen:
            self.work.forget(held)
        with suppress(OSError):  # another contest's models may be there
            self.work.folder.rmdir()

    def _words(self, settled: Settled) -> str:
        result = self.store.get(settled.job) if settled.state in ("finished", "kept") else None
        return words_of(settled.job) + (f": {reached(result['score'])}" if result else f" {settled.state}")


def reached(score: Mapping[str, float]) -> str:
    """A score for a reader: `63.0 %`, `1.912 bits per byte`; or that there was none."""
    if score["loss"] == math.inf:
        return "diverged"
    return next(metric.told(score[name]) for name, metric in OF_TASKS.items() if name in score)


def words_of(held: Trial) -> str:
    """A trial for a reader: `mad-compression · path mamba,gpt-neo · seed 0 · rate 0.001 · test`."""
    recipe, terms = held["recipe"], held["terms"]
    what = ",".join(terms["path"]) if "path" in terms else terms.get("name", "")
    parts = [
        recipe["task"]["name"],
        f"{held['contender']} {what}".strip(),
        f"seed {recipe['run']['seed']}",
        f"rate {recipe['finetune']['weights']['lr']:g}",
        held["split"],
    ]
    return " · ".join(parts)
