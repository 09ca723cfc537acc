"""Runs studies in rounds: each study requests its next trials, and the trials of all studies run together.

A study is a generator that yields lists of trials and receives their results. So each study reads from top to bottom,
while the trials of all of them keep the worker processes busy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from rich.console import Console

from manticore.errors import ManticoreError
from manticore.studies.pool import Executor, JobProgress, run_all
from manticore.studies.store import Job, JobFunction, JobStore, key_of
from manticore.studies.trial import Trial, TrialRunner
from manticore.training.metrics import metrics
from manticore.utils.console import info, progress_bar

T = TypeVar("T")

Results = list[dict[str, Any]]
"""The results of a list of trials, in its order."""

RoundPlan = Generator[list[Trial], Results, T]
"""Yields the trials of each round, receives their results, and returns the result of the study."""

POLL_SECONDS = 5.0
"""Seconds between checks of trials that other processes are running."""


def run_rounds(plans: Sequence[RoundPlan[T]], run: Callable[[list[Trial]], Results]) -> list[T]:
    """Run all plans to their ends.

    Args:
        plans: one for each study.
        run: maps the trials of a round, of all plans together, to their results.

    Returns the return values of the plans, in order.
    """
    outcomes: dict[int, T] = {}
    requests: dict[int, list[Trial]] = {}
    replies: dict[int, Results | None] = dict.fromkeys(range(len(plans)))
    while len(outcomes) < len(plans):
        for index, reply in replies.items():
            try:
                requests[index] = plans[index].send(reply) if reply is not None else next(plans[index])
            except StopIteration as stop:
                outcomes[index] = stop.value
                requests.pop(index, None)
        results = iter(run([trial for trials in requests.values() for trial in trials]) if requests else [])
        replies = {index: [next(results) for _ in trials] for index, trials in requests.items()}
    return [outcomes[index] for index in range(len(plans))]


class TrialScheduler:
    """Runs trials, shows their progress, and waits for those that other processes are running.

    Args:
        store: where the results are.
        runner: runs a trial.
        executor: how trials are run, see `pool`.
        console: where progress is shown.
    """

    def __init__(self, store: JobStore, runner: TrialRunner, executor: Executor, console: Console) -> None:
        self.store, self.runner, self.executor, self.console = store, runner, executor, console
        self.round = 0
        self.trials: list[Trial] = []

    def run(self, trials: list[Trial]) -> Results:
        """The results of all trials, in order. Raises ManticoreError if a trial fails; other results are kept."""
        self.round += 1
        self.trials += trials
        total = len({key_of(trial) for trial in trials})
        with progress_bar(f"round {self.round}", total, console=self.console) as update:

            def show(progress: JobProgress) -> None:
                line = self._progress_line(progress)
                update(progress.done, line)
                if progress.state != "stored" and not self.console.is_terminal:
                    info(self.console, f"  round {self.round}: {progress.done}/{progress.total} · {line}")

            return results_of(trials, self.runner, self.store, self.executor, show, describe_trial)

    def cleanup(self) -> None:
        """Delete the models of all trials; their results are kept."""
        for trial in self.trials:
            self.runner.delete_model(trial)
        with suppress(OSError):  # not empty: it has models of another study
            self.runner.folder.rmdir()

    def _progress_line(self, progress: JobProgress) -> str:
        line = describe_trial(progress.job)
        if progress.state not in ("finished", "stored"):
            return f"{line} {progress.state}"
        return f"{line}: {format_score(self.store.get(progress.job)['score'])}"


def results_of(
    jobs: Sequence[Job],
    work: JobFunction,
    store: JobStore,
    executor: Executor,
    progress: Callable[[JobProgress], None],
    describe: Callable[[Any], str] = str,
) -> list[Any]:
    """The results of all jobs, in order, those included that other processes are running.

    Raises ManticoreError if a job fails, described by `describe`; the results of the others are kept.
    """
    while True:
        outcome = run_all(jobs, work, store, executor, progress)
        if outcome.failed:
            index, error = next(iter(outcome.failed.items()))
            raise ManticoreError(
                f"{len(outcome.failed)} of {len(jobs)} trials failed, the others are kept; "
                f"the first, {describe(jobs[index])}: {error.strip().splitlines()[-1]}"
            )
        if not outcome.claimed:
            return outcome.results
        time.sleep(POLL_SECONDS)


def format_score(score: Mapping[str, float]) -> str:
    """A score as `63.0 %` or `1.912 bits per byte`; `diverged` if there is none."""
    if score["loss"] == math.inf:
        return "diverged"
    return next(metrics[name].format(score[name]) for name in metrics if name in score)


def describe_trial(trial: Trial) -> str:
    """A trial as `mad-compression · path mamba,gpt-neo · seed 0 · rate 0.001 · test`."""
    recipe, config = trial["recipe"], trial["config"]
    variant = ",".join(config["path"]) if "path" in config else config.get("name", "")
    parts = [
        recipe["task"]["name"],
        f"{trial['arm']} {variant}".strip(),
        f"seed {recipe['run']['seed']}",
        f"rate {recipe['finetune']['weights']['lr']:g}",
        trial["split"],
    ]
    return " · ".join(parts)
