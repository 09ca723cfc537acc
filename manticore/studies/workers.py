"""Runs jobs in workers that may be on other machines and share nothing with this process but a folder.

The store is the only truth: a worker claims jobs in it and writes their results to it; this process watches the folder.
A launcher starts and stops workers and reports which have ended (see `launchers`). Workers stay for all rounds of a
study, because a cluster may let them wait for hours before they start.
"""

from __future__ import annotations

import os
import shutil
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from manticore.errors import BadFile, ManticoreError
from manticore.studies.pool import MAX_CRASHES, QueuedJob, Settled
from manticore.studies.store import JobFunction, JobState, JobStore
from manticore.utils.io import read_json, write_json

STATE = "state.json"
"""Name of the file with the number of the round, and a number that grows while the pool lives."""

BEAT_SECONDS = 10.0
"""Seconds between two changes of the state by a living pool."""

LOST_SECONDS = 600.0
"""Seconds without a change of the state after which a worker without work ends: the pool has died."""

IDLE_SECONDS = 1.0
"""Seconds between two looks of a worker for more jobs."""

POLL_SECONDS = (0.02, 2.0)
"""Seconds between two looks of the pool at the store: after a change, and at most."""

STOP_SECONDS = 10.0
"""Seconds that workers have to end by themselves."""

MAX_FRUITLESS = 3
"""Number of workers in a row that may end without having settled a job."""


class Ending(NamedTuple):
    """How a worker has ended.

    Attributes:
        reason: why it ended by itself, such as `the node has died`; empty if it was stopped.
        error: what made the store unusable for it, such as a full disk; empty otherwise.
    """

    reason: str = ""
    error: str = ""


class Worker(Protocol):
    """A started worker."""

    def ending(self) -> Ending | None:
        """How it has ended; None while it runs or waits to be started."""
        ...

    def stop(self) -> None:
        """End it at once."""
        ...


class Launcher(ABC):
    """Starts workers on a cluster."""

    @abstractmethod
    def default_workers(self) -> int:
        """Number of workers for `--workers auto`. Raises ManticoreError if it cannot be known."""

    @abstractmethod
    def start(self, work: Callable[[], str], folder: Path) -> Worker:
        """Start `work`, which is a picklable `Serving`, in another process; files may be written to `folder`.

        Raises ManticoreError if that is not possible.
        """

    @abstractmethod
    def close(self) -> None:
        """Leave the cluster; all workers have ended."""


@dataclass(frozen=True)
class Serving:
    """What a worker does: it runs the jobs of the pool's rounds until the pool closes. Picklable.

    Attributes:
        folder: of the pool.
        store: with the name of the worker.
        work: runs a job.
        offset: share of the jobs that it leaves for last, so that workers do not all try to claim the same ones.
        directory: the working directory of the pool, for relative paths.
    """

    folder: Path
    store: JobStore
    work: JobFunction
    offset: float
    directory: Path

    def __call__(self) -> str:
        """Run jobs; returns an error of the store, or an empty text."""
        with suppress(OSError):
            os.chdir(self.directory)
        try:
            for jobs in self._rounds():
                self._run(jobs)
        except ManticoreError as error:
            return str(error)
        return ""

    def _rounds(self) -> Iterator[list[dict[str, Any]]]:
        """The jobs of each round, until the pool has closed or died."""
        known, changed, number = None, time.monotonic(), 0
        while (state := self._state()) is not None:
            if state != known:
                known, changed = state, time.monotonic()
            elif time.monotonic() - changed > LOST_SECONDS:
                return
            if state["round"] != number:
                number = state["round"]
                jobs = read_json(self.folder / f"round-{number}.json")
                for job in jobs:  # of a worker of this name that was ended and is started again
                    if self.store.owner_of(job) == self.store.owner:
                        self.store.release(job)
                yield jobs
                changed = time.monotonic()
            else:
                time.sleep(IDLE_SECONDS)

    def _run(self, jobs: list[dict[str, Any]]) -> None:
        """Settle the jobs of a round, unless the next one begins or the pool closes."""
        start = int(self.offset * len(jobs))
        waiting, number = [*jobs[start:], *jobs[:start]], self._number()
        quiet_since = time.monotonic()
        while waiting and time.monotonic() - quiet_since < LOST_SECONDS:
            claimed = []
            for job in waiting:
                if self._number() != number:
                    return
                state = self.store.attempt(job, self.work)
                if state == "claimed":
                    claimed.append(job)
                else:
                    quiet_since = time.monotonic()
            if len(claimed) == len(waiting):
                time.sleep(IDLE_SECONDS)
            waiting = claimed

    def _number(self) -> int | None:
        state = self._state()
        return None if state is None else int(state["round"])

    def _state(self) -> dict[str, int] | None:
        """The content of the pool's state file; None if the pool has closed."""
        for _ in range(3):
            try:
                state: dict[str, int] = read_json(self.folder / STATE)
            except BadFile:  # missing, or, on some shared file systems, just being replaced
                if not self.folder.exists():
                    return None
                time.sleep(0.05)
            else:
                return state
        return None


class WorkerPool:
    """The executor that runs jobs in the workers of a launcher.

    A worker that ends too early is replaced, and its claims are removed; a job that was being run by `MAX_CRASHES`
    workers when they ended has failed.

    Args:
        launcher: starts workers.
        workers: number of workers.
        folder: where the files of pools are, readable by all workers; this pool has a folder of its own in it, which is
            removed when it closes.
    """

    def __init__(self, launcher: Launcher, workers: int, folder: Path) -> None:
        self.launcher, self.workers = launcher, workers
        self.name = uuid4().hex[:8]
        self.folder = folder.absolute() / self.name
        self._running: dict[str, Worker] = {}
        self._state = {"round": 0, "beat": 0}
        self._started = self._fruitless = 0
        self._beaten = -BEAT_SECONDS
        self._crashes: Counter[str] = Counter()
        self._work: JobFunction | None = None

    def __call__(self, queue: Sequence[QueuedJob], work: JobFunction, store: JobStore) -> Settled:
        """See `Executor`."""
        if not queue:
            return
        store = replace(store, folder=store.folder.absolute())
        jobs = {queued.key: queued.job for queued in queue}
        for job in jobs.values():
            store.forget_failure(job)
        if work != self._work:
            self._end()
            self._work = work
        store.folder.mkdir(parents=True, exist_ok=True)  # a folder with trials is known to be one of a study
        self._begin_round(jobs)
        is_done = False
        try:
            yield from self._settle(jobs, work, store)
            is_done = True
        finally:
            if not is_done:
                self._stop(jobs, store)

    def close(self) -> None:
        """Let all workers end, and remove the files of the pool."""
        self._end()
        self.launcher.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # not empty: another pool uses it
            self.folder.parent.rmdir()

    def _end(self) -> None:
        """Let all workers end."""
        (self.folder / STATE).unlink(missing_ok=True)
        self._wait()
        for worker in self._running.values():
            if worker.ending() is None:
                worker.stop()
        self._running.clear()

    def _wait(self) -> None:
        """Wait until all workers have ended, but not for long."""
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(worker.ending() is None for worker in self._running.values()):
            time.sleep(0.1)

    def _begin_round(self, jobs: dict[str, dict[str, Any]]) -> None:
        self._state["round"] += 1
        write_json(self.folder / f"round-{self._state['round']}.json", [*jobs.values()])
        self._beat()

    def _beat(self) -> None:
        self._state["beat"] += 1
        write_json(self.folder / STATE, self._state)
        self._beaten = time.monotonic()

    def _settle(self, waiting: dict[str, dict[str, Any]], work: JobFunction, store: JobStore) -> Settled:
        """Watch the store until every job is settled, or claimed by processes that are not of this pool."""
        pause = POLL_SECONDS[0]
        while waiting:
            if time.monotonic() - self._beaten > BEAT_SECONDS:
                self._beat()
            settled = list(_settled(waiting, store))
            settled += self._replace_ended(waiting, store)
            for key, state in settled:
                if waiting.pop(key, None) is not None:
                    self._fruitless = 0
                    yield key, state
            while waiting and len(self._running) < min(self.workers, len(waiting)):
                self._start(work, store)
            if self._all_foreign(waiting, store):
                yield from ((key, "claimed") for key in waiting)
                return
            pause = POLL_SECONDS[0] if settled else min(1.5 * pause, POLL_SECONDS[1])
            time.sleep(pause)

    def _start(self, work: JobFunction, store: JobStore) -> None:
        name = f"{self.name}-{self._started}"
        serving = Serving(self.folder, replace(store, owner=name), work, self._started / self.workers % 1, Path.cwd())
        self._running[name] = self.launcher.start(serving, self.folder)
        self._started += 1

    def _replace_ended(self, waiting: dict[str, dict[str, Any]], store: JobStore) -> Settled:
        """Forget workers that have ended, with their claims; yields the jobs that have failed by that.

        Raises ManticoreError if the store is unusable for a worker, or workers end one after the other without work.
        """
        for name, worker in list(self._running.items()):
            ending = worker.ending()
            if ending is None:
                continue
            del self._running[name]
            if ending.error:
                raise ManticoreError(ending.error, 1)
            lost = [key for key, job in waiting.items() if store.owner_of(job) == name]
            for key in lost:
                self._crashes[key] += 1
                if self._crashes[key] >= MAX_CRASHES and not store.has(waiting[key]):
                    reason = f"the worker that ran this job ended ({ending.reason}), {MAX_CRASHES} times in a row"
                    store.fail(waiting[key], reason)  # before the claim ends, or another worker runs it once more
                    yield key, "failed"
                else:
                    store.release(waiting[key])
            self._fruitless += not lost
            if self._fruitless >= MAX_FRUITLESS:
                raise ManticoreError(f"{MAX_FRUITLESS} workers have ended before any work: {ending.reason}", 1)

    def _all_foreign(self, waiting: dict[str, dict[str, Any]], store: JobStore) -> bool:
        """Whether all jobs are claimed by processes that are not of this pool."""
        if not waiting or _names(store).isdisjoint(f"{key}.claim.json" for key in waiting):
            return False
        owners = (store.owner_of(job) for job in waiting.values())
        return all(owner is not None and not owner.startswith(f"{self.name}-") for owner in owners)

    def _stop(self, waiting: dict[str, dict[str, Any]], store: JobStore) -> None:
        """End all workers at once, and remove their claims."""
        for worker in self._running.values():
            worker.stop()
        self._wait()
        self._running.clear()
        for job in waiting.values():
            if (store.owner_of(job) or "").startswith(f"{self.name}-"):
                store.release(job)


def _names(store: JobStore) -> set[str]:
    """The names of the files of a store."""
    with suppress(FileNotFoundError), os.scandir(store.folder) as entries:
        return {entry.name for entry in entries}
    return set()


def _settled(waiting: dict[str, dict[str, Any]], store: JobStore) -> Iterator[tuple[str, JobState]]:
    names = _names(store)
    for key in waiting:
        if f"{key}.result.json" in names:
            yield key, "finished"
        elif f"{key}.failure.json" in names:
            yield key, "failed"
