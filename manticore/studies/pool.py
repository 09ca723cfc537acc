"""Processes that work through jobs of one store, and outlive each other. Knows nothing of what a job means."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from manticore.errors import ManticoreError
from manticore.studies.store import JobFunction, JobStore

QueuedJob = tuple[str, dict[str, Any], str | None]
"""A job with its key and the failure known of it."""

MAX_CRASHES = 2
"""Workers a job may cost before it counts as failed."""


@dataclass
class _Worker:
    process: BaseProcess
    line: Connection
    task: QueuedJob


def run_in_processes(
    tasks: list[QueuedJob], work: JobFunction, store: JobStore, workers: int
) -> Generator[tuple[str, str], None, None]:
    """Yield (key, state) of each job as it is settled; see `JobStore.attempt`.

    Processes are spawned, not forked, so `work` must be importable and a script that calls this needs the usual
    `if __name__ == "__main__"`. When the iteration ends, for whatever reason, none of them is left.
    """
    waiting, lost = deque(tasks), dict.fromkeys((key for key, _, _ in tasks), 0)
    crew: list[_Worker] = []
    try:
        while crew or waiting:
            while waiting and len(crew) < workers:
                crew.append(_spawn(work, store, waiting.popleft()))
            ready = wait([worker.line for worker in crew])
            for worker in [worker for worker in crew if worker.line in ready]:
                key, job, _ = worker.task
                try:
                    state = worker.line.recv()
                except (EOFError, OSError):
                    crew.remove(worker)
                    worker.process.join()
                    store.free(job)
                    lost[key] += 1
                    if lost[key] < MAX_CRASHES and not store.has(job):
                        waiting.append(worker.task)
                    else:
                        yield key, _record_crash(store, job, worker.process.exitcode)
                    continue
                if state is None:
                    raise ManticoreError(str(worker.line.recv()))
                if waiting:
                    worker.task = waiting.popleft()
                    _assign(worker)
                else:
                    crew.remove(worker)
                    worker.line.close()
                    worker.process.join()
                yield key, state
    finally:
        for worker in crew:
            worker.process.terminate()
            worker.process.join()
            worker.line.close()
            store.free(worker.task[1])


def _spawn(work: JobFunction, store: JobStore, task: QueuedJob) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, work, store), daemon=False)
    process.start()
    theirs.close()  # so that the line ends when the process does
    worker = _Worker(process, ours, task)
    _assign(worker)
    return worker


def _assign(worker: _Worker) -> None:
    with suppress(OSError):  # if it is dead, the line's end will tell
        worker.line.send(worker.task[1:])


def _record_crash(store: JobStore, job: dict[str, Any], code: int | None) -> str:
    """The state of a job whose workers died of it."""
    if store.has(job):
        return "finished"
    if not store.claim(job):
        return "kept" if store.has(job) else "held"
    how = f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"
    store.fail(job, f"the process that did this job died ({how}), {MAX_CRASHES} times in a row")
    return "failed"


def _serve(line: Connection, work: JobFunction, store: JobStore) -> None:
    """Answer each job on the line with its state, until the line closes."""
    while True:
        try:
            job, seen = line.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answers: list[str | None] = [store.attempt(job, work, seen)]
        except KeyboardInterrupt:
            return
        except Exception as error:  # a damaged file, a full disk: whoever asked must know, and errors do not travel
            answers = [None, str(error)]
        with suppress(OSError):  # nobody listens any more; the next look at the line will tell
            for answer in answers:
                line.send(answer)
