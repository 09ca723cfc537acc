"""Runs the jobs whose results a store does not have, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, Protocol

from manticore.errors import ManticoreError
from manticore.studies.store import Job, JobFunction, JobState, JobStore, key_of
from manticore.utils.devices import gpu_of_worker

MAX_CRASHES = 2
"""Number of worker processes a job may crash before it counts as failed."""


class QueuedJob(NamedTuple):
    """A job to be run, its key, and the failure that is stored for it, if any."""

    key: str
    job: dict[str, Any]
    known_failure: str | None


Settled = Generator[tuple[str, JobState], None, None]
"""The key and the state of each job as soon as it is settled."""


class Executor(Protocol):
    """A way to run jobs: in this process, in processes of this machine, or elsewhere, such as on a cluster."""

    def __call__(self, queue: Sequence[QueuedJob], work: JobFunction, store: JobStore) -> Settled:
        """Run each job by `JobStore.attempt`, and yield its key and state.

        Closing the generator before its end stops what is running and releases its claims.
        """
        ...


@dataclass(frozen=True)
class JobProgress:
    """Report of one settled job.

    Attributes:
        job: the job.
        state: its state.
        done: number of jobs settled so far.
        total: number of jobs.
    """

    job: dict[str, Any]
    state: JobState
    done: int
    total: int


@dataclass(frozen=True)
class Outcome:
    """The results of a list of jobs.

    Attributes:
        results: in the order of the jobs; None for a job without result.
        failed: traceback by index of the job.
        claimed: indices of the jobs that other processes are running; they have to be collected later.
    """

    results: list[Any] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    claimed: list[int] = field(default_factory=list)


def run_all(
    jobs: Sequence[Job],
    work: JobFunction,
    store: JobStore,
    executor: Executor | None = None,
    progress: Callable[[JobProgress], None] | None = None,
) -> Outcome:
    """Run the jobs whose results the store does not have, and collect all results. An interrupted call can be resumed.

    A job that failed in an earlier call is tried again; one that fails during this call, here or in another process, is
    not. Jobs that another process has claimed are skipped.

    Args:
        jobs: the jobs; equal ones are run once.
        work: runs one.
        store: where the results are.
        executor: how jobs are run; default: one after the other in this process.
        progress: called in this process after each job.

    Raises ManticoreError for a job that is not plain data, BadFile for a damaged file.
    """
    by_key = {key_of(job): dict(job) for job in jobs}
    failures = {key: store.failure(job) for key, job in by_key.items()}
    missing = [key for key, job in by_key.items() if not store.has(job)]
    states: dict[str, JobState] = dict.fromkeys(by_key, "stored")
    done = 0

    def settle(key: str, state: JobState) -> None:
        nonlocal done
        done, states[key] = done + 1, state
        if progress is not None:
            progress(JobProgress(by_key[key], state, done, len(by_key)))

    for key in [key for key in by_key if key not in missing]:
        settle(key, "stored")
    queue = [QueuedJob(key, by_key[key], failures[key]) for key in missing]
    with closing((executor or run_serially)(queue, work, store)) as settled:
        for key, state in settled:
            settle(key, state)
    keys = [key_of(job) for job in jobs]
    return Outcome(
        [store.get(job) for job in jobs],
        {index: store.failure(jobs[index]) or "" for index, key in enumerate(keys) if states[key] == "failed"},
        [index for index, key in enumerate(keys) if states[key] == "claimed" and not store.has(jobs[index])],
    )


def run_serially(queue: Sequence[QueuedJob], work: JobFunction, store: JobStore) -> Settled:
    """The executor that runs one job after the other in this process."""
    for key, job, known_failure in queue:
        yield key, store.attempt(job, work, known_failure)


def executor_for(workers: int) -> Executor:
    """The executor for a number of worker processes; 1: in this process. Raises ManticoreError if it is below 1."""
    if workers < 1:
        raise ManticoreError(f"jobs need at least one worker, got {workers}.")
    return run_serially if workers == 1 else ProcessPool(workers)


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    queued: QueuedJob
    number: int


@dataclass(frozen=True)
class ProcessPool:
    """The executor that runs jobs in worker processes of this machine.

    If a worker dies, the others continue, unlike in `concurrent.futures`: a new worker runs its job, which fails after
    `MAX_CRASHES` workers.

    Processes are spawned, not forked, so `work` must be importable and a script that uses a pool needs the usual
    `if __name__ == "__main__"`. All processes end with the iteration, also after an error.

    Args:
        workers: number of processes.
    """

    workers: int

    def __call__(self, queue: Sequence[QueuedJob], work: JobFunction, store: JobStore) -> Settled:
        """See `Executor`."""
        waiting, crashes = deque(queue), dict.fromkeys((queued.key for queued in queue), 0)
        running: list[_Worker] = []
        try:
            while running or waiting:
                while waiting and len(running) < self.workers:
                    number = min(set(range(self.workers)) - {worker.number for worker in running})
                    running.append(_spawn(work, store, waiting.popleft(), number))
                ready = wait([worker.connection for worker in running])
                for worker in [worker for worker in running if worker.connection in ready]:
                    key, job, _ = worker.queued
                    try:
                        state = worker.connection.recv()
                    except (EOFError, OSError):  # the worker is dead
                        running.remove(worker)
                        worker.process.join()
                        store.release_abandoned(job)
                        crashes[key] += 1
                        if crashes[key] < MAX_CRASHES and not store.has(job):
                            waiting.append(worker.queued)
                        else:
                            yield key, _record_crash(store, job, worker.process.exitcode)
                        continue
                    if state is None:
                        raise ManticoreError(*worker.connection.recv())
                    if waiting:
                        worker.queued = waiting.popleft()
                        _assign(worker)
                    else:
                        running.remove(worker)
                        worker.connection.close()
                        worker.process.join()
                    yield key, state
        finally:
            for worker in running:
                worker.process.terminate()
                worker.process.join()
                worker.connection.close()
                store.release_abandoned(worker.queued.job)


def _spawn(work: JobFunction, store: JobStore, queued: QueuedJob, number: int) -> _Worker:
    """Start a worker for a job; with several GPUs it sees the one of its number alone."""
    context = multiprocessing.get_context("spawn")
    connection, remote = context.Pipe()
    process = context.Process(target=_serve, args=(remote, work, store), daemon=False)
    before = dict(os.environ)
    os.environ.update(gpu_of_worker(number))
    try:
        process.start()
    finally:
        os.environ.clear()
        os.environ.update(before)
    remote.close()  # so that the connection ends when the process does
    worker = _Worker(process, connection, queued, number)
    _assign(worker)
    return worker


def _assign(worker: _Worker) -> None:
    with suppress(OSError):  # if the worker is dead, the next read from the connection raises EOFError
        worker.connection.send((worker.queued.job, worker.queued.known_failure))


def _record_crash(store: JobStore, job: dict[str, Any], code: int | None) -> JobState:
    """The state of a job that crashed its workers."""
    if store.has(job):
        return "finished"
    if not store.claim(job):
        return "stored" if store.has(job) else "claimed"
    reason = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
    store.fail(job, f"the process that ran this job died ({reason}), {MAX_CRASHES} times in a row")
    return "failed"


def _serve(connection: Connection, work: JobFunction, store: JobStore) -> None:
    """Send the state of each received job until the connection closes.

    After an error of the store it sends None and then the message and the exit status. Such an error (a damaged file,
    a full disk) is not a failure of the job; it ends the run. It is sent as text because exceptions with several
    arguments cannot be unpickled.
    """
    while True:
        try:
            job, known_failure = connection.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answers: list[object] = [store.attempt(job, work, known_failure)]
        except KeyboardInterrupt:
            return
        except Exception as error:
            answers = [None, (str(error), getattr(error, "exit_status", 1))]
        with suppress(OSError):  # the parent has closed the connection; the next read ends the loop
            for answer in answers:
                connection.send(answer)
