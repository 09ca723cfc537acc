"""Studies in rounds: each says which trials it wants next, and the trials of all run together.

A study is written as a generator that yields lists of trials and is sent their results. So each reads from top to
bottom like one, while the processes are kept busy by the trials of all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from manticore.errors import ManticoreError
from manticore.studies.pool import QueuedJob, run_in_processes
from manticore.studies.store import Job, JobFunction, JobStore, key_of
from manticore.studies.trial import Trial, TrialRunner
from manticore.training.metrics import metrics
from manticore.utils.console import info, progress_bar

Results = list[dict[str, Any]]
RoundPlan = Generator[list[Trial], Results, dict[str, Any]]

POLL_SECONDS = 5.0
"""Seconds between looks at trials that other processes are at."""


def run_rounds(stories: Sequence[RoundPlan], run: Callable[[list[Trial]], Results]) -> list[dict[str, Any]]:
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


class TrialScheduler:
    """Runs trials in `workers` processes and shows how far they are.

    Args:
        store: of results.
        work: does a trial.
        workers: processes.
        console: where the user watches.
    """

    def __init__(self, store: JobStore, work: TrialRunner, workers: int, console: Console) -> None:
        self.store, self.work, self.workers, self.console = store, work, workers, console
        self.round = 0
        self.seen: list[Trial] = []

    def run(self, trials: list[Trial]) -> Results:
        """All results, in order. Raises ManticoreError if a trial fails; the others are kept."""
        self.round += 1
        self.seen += trials
        total = len({key_of(trial) for trial in trials})
        with progress_bar(f"round {self.round}", total, console=self.console) as update:

            def show(settled: JobProgress) -> None:
                text = self._words(settled)
                update(settled.done, text)
                if settled.state != "kept" and not self.console.is_terminal:
                    info(self.console, f"  round {self.round}: {settled.done}/{settled.total} · {text}")

            while True:
                outcome = run_all(trials, self.work, self.store, self.workers, show)
                if outcome.failed:
                    place, message = next(iter(outcome.failed.items()))
                    raise ManticoreError(
                        f"{len(outcome.failed)} of {len(trials)} trials failed, the others are kept; "
                        f"the first, {summary_line(trials[place])}: {message.strip().splitlines()[-1]}"
                    )
                if not outcome.held:
                    return outcome.results
                time.sleep(POLL_SECONDS)

    def leave(self) -> None:
        """Drop the models of trials that nobody tests any more; their scores stay."""
        for held in self.seen:
            self.work.forget(held)
        with suppress(OSError):  # another study's models may be there
            self.work.folder.rmdir()

    def _words(self, settled: JobProgress) -> str:
        result = self.store.get(settled.job) if settled.state in ("finished", "kept") else None
        return summary_line(settled.job) + (f": {trial_score(result['score'])}" if result else f" {settled.state}")


def trial_score(score: Mapping[str, float]) -> str:
    """A score for a reader: `63.0 %`, `1.912 bits per byte`; or that there was none."""
    if score["loss"] == math.inf:
        return "diverged"
    return next(metrics[name].format(score[name]) for name in metrics if name in score)


def summary_line(held: Trial) -> str:
    """A trial for a reader: `mad-compression · path mamba,gpt-neo · seed 0 · rate 0.001 · test`."""
    recipe, terms = held["recipe"], held["terms"]
    what = ",".join(terms["path"]) if "path" in terms else terms.get("name", "")
    parts = [
        recipe["task"]["name"],
        f"{held['arm']} {what}".strip(),
        f"seed {recipe['run']['seed']}",
        f"rate {recipe['finetune']['weights']['lr']:g}",
        held["split"],
    ]
    return " · ".join(parts)


@dataclass(frozen=True)
class JobProgress:
    """One job settled.

    Attributes:
        job: the job.
        state: `finished` or `failed` now, `kept` from before, or `held` by another process.
        done, total: jobs settled so far, of how many.
    """

    job: dict[str, Any]
    state: str
    done: int
    total: int


@dataclass(frozen=True)
class Outcome:
    """What became of some jobs.

    Attributes:
        results: in the order of the jobs; None for those without.
        failed: by the job's place, what went wrong.
        held: places of jobs that other processes are at; call again when they are done.
    """

    results: list[Any] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    held: list[int] = field(default_factory=list)


def run_all(
    jobs: Sequence[Job],
    work: JobFunction,
    store: JobStore,
    workers: int = 1,
    progress: Callable[[JobProgress], None] | None = None,
) -> Outcome:
    """Do the jobs the store lacks and gather all results. Stopped at any time, a later call goes on where it was.

    A job that failed in an earlier call is tried again; one that fails in this one, here or in another process, is not.
    Jobs that another process is at are passed over.

    Args:
        jobs: what to do, in order; equal ones are done once.
        work: does one.
        store: where results are.
        workers: 1: in this process; more: that many new Python processes. If one of them dies in the middle of a job,
            that job is given to another, and is a failure if that dies as well.
        progress: called in this process after each job.

    Raises ManticoreError for less than one worker or a job that is no plain data, BadFile for a damaged file.
    """
    if workers < 1:
        raise ManticoreError(f"jobs need at least one worker, got {workers}.")
    by_key = {key_of(job): dict(job) for job in jobs}
    seen = {key: store.failure(job) for key, job in by_key.items()}
    missing = [key for key, job in by_key.items() if not store.has(job)]
    states = dict.fromkeys(by_key, "kept")
    told = 0

    def tell(key: str, state: str) -> None:
        nonlocal told
        told, states[key] = told + 1, state
        if progress is not None:
            progress(JobProgress(by_key[key], state, told, len(by_key)))

    for key in [key for key in by_key if key not in missing]:
        tell(key, "kept")
    tasks = [(key, by_key[key], seen[key]) for key in missing]
    settled = _one_by_one(tasks, work, store) if workers == 1 else run_in_processes(tasks, work, store, workers)
    with closing(settled):
        for key, state in settled:
            tell(key, state)
    keys = [key_of(job) for job in jobs]
    return Outcome(
        [store.get(job) for job in jobs],
        {at: store.failure(jobs[at]) or "" for at, key in enumerate(keys) if states[key] == "failed"},
        [at for at, key in enumerate(keys) if states[key] == "held" and not store.has(jobs[at])],
    )


def _one_by_one(tasks: list[QueuedJob], work: JobFunction, store: JobStore) -> Generator[tuple[str, str], None, None]:
    for key, job, seen in tasks:
        yield key, store.attempt(job, work, seen)
