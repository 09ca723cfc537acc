"""Many jobs, done where they are missing, and their results gathered."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from manticore.errors import ManticoreError
from manticore.jobs.store import Job, JobStore, Work, key_of
from manticore.jobs.workers import Task, settle


@dataclass(frozen=True)
class Progress:
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
    work: Work,
    store: JobStore,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
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
            progress(Progress(by_key[key], state, told, len(by_key)))

    for key in [key for key in by_key if key not in missing]:
        tell(key, "kept")
    tasks = [(key, by_key[key], seen[key]) for key in missing]
    settled = _one_by_one(tasks, work, store) if workers == 1 else settle(tasks, work, store, workers)
    with closing(settled):
        for key, state in settled:
            tell(key, state)
    keys = [key_of(job) for job in jobs]
    return Outcome(
        [store.get(job) for job in jobs],
        {at: store.failure(jobs[at]) or "" for at, key in enumerate(keys) if states[key] == "failed"},
        [at for at, key in enumerate(keys) if states[key] == "held" and not store.has(jobs[at])],
    )


def _one_by_one(tasks: list[Task], work: Work, store: JobStore) -> Generator[tuple[str, str], None, None]:
    for key, job, seen in tasks:
        yield key, store.attempt(job, work, seen)
