"""Workers that share nothing with their pool but a folder: each job once, workers that die, other processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from manticore.errors import ManticoreError
from manticore.studies import workers
from manticore.studies.pool import run_all
from manticore.studies.store import JobStore, key_of
from manticore.studies.workers import Ending, Launcher, Serving, WorkerPool
from tests.studies.test_pool import crashing, failing, jobs_for, log_of, logged


class Process:
    """A worker in a process of this machine."""

    def __init__(self, process: BaseProcess) -> None:
        self.process = process

    def ending(self) -> Ending | None:
        if self.process.is_alive():
            return None
        return Ending(f"exit status {self.process.exitcode}" if self.process.exitcode else "")

    def stop(self) -> None:
        self.process.kill()


class Processes(Launcher):
    """Starts workers as processes of this machine."""

    def __init__(self) -> None:
        self.started: list[BaseProcess] = []

    def default_workers(self) -> int:
        return 2

    def start(self, work: Callable[[], str], folder: Path) -> Process:
        process = multiprocessing.get_context("spawn").Process(target=work)
        process.start()
        self.started.append(process)
        return Process(process)

    def close(self) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "store")


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerPool]:
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.1)
    pool = WorkerPool(Processes(), 2, tmp_path / "workers")
    yield pool
    pool.close()


def processes_of(pool: WorkerPool) -> list[BaseProcess]:
    assert isinstance(pool.launcher, Processes)
    return pool.launcher.started


@pytest.mark.e2e
def test_workers_stay_for_all_rounds_and_leave_nothing(store: JobStore, pool: WorkerPool, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 30)
    for count in (20, 30):
        outcome = run_all(jobs[:count], logged, store, pool)
        assert [result["square"] for result in outcome.results] == [seed**2 for seed in range(count)]
    assert sorted(map(int, log_of(str(tmp_path)))) == list(range(30)), "each was run once"
    assert len(processes_of(pool)) == 2
    pool.close()
    assert not any(process.is_alive() for process in processes_of(pool))
    assert not (tmp_path / "workers").exists()
    assert {file.name.split(".")[1] for file in store.folder.iterdir()} == {"result"}, "no claims and no locks"


@pytest.mark.e2e
def test_a_dead_worker_is_replaced_and_its_job_runs_again(store: JobStore, pool: WorkerPool, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 6, at_2={"once": True}, at_4={"poison": True})
    outcome = run_all(jobs, crashing, store, pool)
    assert [result and result["square"] for result in outcome.results] == [0, 1, 4, 9, None, 25]
    assert list(outcome.failed) == [4]
    assert "ended (exit status -9), 2 times in a row" in outcome.failed[4]
    assert log_of(str(tmp_path)).count("2") == log_of(str(tmp_path)).count("4") == 2
    assert not list(store.folder.glob("*.claim.json"))


@pytest.mark.e2e
def test_a_failure_is_tried_again_by_the_next_call(store: JobStore, pool: WorkerPool, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    (tmp_path / "broken").touch()
    assert "ValueError: the disk is full" in run_all(jobs, failing, store, pool).failed[1]
    (tmp_path / "broken").unlink()
    assert run_all(jobs, failing, store, pool).results == [1, 1]
    assert sorted(log_of(str(tmp_path))) == ["0", "0", "1", "1"]


@pytest.mark.e2e
def test_claims_of_other_machines_are_left_to_them(store: JobStore, pool: WorkerPool, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 3)
    store.folder.mkdir()
    store.path(jobs[1], "claim").write_text(json.dumps({"pid": 1, "host": "elsewhere"}))
    outcome = run_all(jobs, logged, store, pool)
    assert outcome.claimed == [1]
    assert outcome.results == [{"square": 0}, None, {"square": 4}]


class Foreign(Launcher):
    """Workers of another machine, of which only the claims are here: each claims a job and dies, then nothing works."""

    def __init__(self, jobs: list[dict[str, Any]], reason: str) -> None:
        self.jobs, self.reason, self.closed = jobs, reason, False

    def default_workers(self) -> int:
        return 1

    def start(self, work: Any, folder: Path) -> Foreign:
        assert isinstance(work, Serving)
        if self.jobs:
            claim = {"pid": 1, "host": "elsewhere", "owner": work.store.owner}
            work.store.path(self.jobs.pop(), "claim").write_text(json.dumps(claim))
        return self

    def ending(self) -> Ending:
        return Ending(self.reason, "the disk is full" if self.reason == "full" else "")

    def stop(self) -> None:
        raise AssertionError("it has ended")

    def close(self) -> None:
        self.closed = True


def test_a_claim_of_a_lost_machine_is_removed_by_its_name(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    launcher = Foreign([jobs[0]], "the node has died")
    pool = WorkerPool(launcher, 1, tmp_path / "workers")
    with pytest.raises(ManticoreError, match="3 workers have ended before any work: the node has died"):
        run_all(jobs, logged, store, pool)
    assert not store.path(jobs[0], "claim").exists()
    pool.close()
    assert launcher.closed


def test_an_unusable_store_ends_the_run(store: JobStore, tmp_path: Path) -> None:
    pool = WorkerPool(Foreign([], "full"), 1, tmp_path / "workers")
    with pytest.raises(ManticoreError, match=r"^the disk is full$"):
        run_all(jobs_for(tmp_path, 2), logged, store, pool)


def test_a_worker_ends_when_its_pool_has_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(workers, "LOST_SECONDS", 0.2)
    folder, store = tmp_path / "pool", JobStore(tmp_path / "store", "mine")
    folder.mkdir()
    jobs = jobs_for(tmp_path, 2)
    (folder / "round-1.json").write_text(json.dumps(jobs))
    (folder / workers.STATE).write_text(json.dumps({"round": 1, "beat": 1}))
    assert store.claim(jobs[0])  # by this worker in an earlier life
    store._locks.pop(key_of(jobs[0])).release()
    started, before = time.monotonic(), Path.cwd()
    assert Serving(folder, store, logged, 0.5, tmp_path)() == ""
    os.chdir(before)
    assert time.monotonic() - started < 5
    assert log_of(str(tmp_path)) == ["1", "0"], "it begins at its offset"
