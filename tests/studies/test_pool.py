"""Jobs are run once, by however many processes: one, a pool, several that share a folder, after a crash."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.studies.pool import JobProgress, ProcessPool, QueuedJob, Settled, executor_for, run_all, run_serially
from manticore.studies.store import JobFunction, JobStore
from tests.studies.test_store import claiming_process


def log_of(folder: str) -> list[str]:
    """Seeds of the jobs that were run, in order."""
    file = Path(folder, "log")
    return file.read_text().split() if file.exists() else []


def logged(job: dict[str, Any]) -> dict[str, Any]:
    """Append the seed to the log, slowly enough for a race."""
    with Path(job["log"], "log").open("a") as log:
        log.write(f"{job['seed']}\n")
    time.sleep(0.01)
    return {"square": job["seed"] ** 2}


def crashing(job: dict[str, Any]) -> dict[str, Any]:
    """As `logged`, but kill the process: always for a job with `poison`, the first time for one with `once`."""
    result = logged(job)
    if job.get("poison") or (job.get("once") and log_of(job["log"]).count(str(job["seed"])) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def failing(job: dict[str, Any]) -> int:
    """Raise while the folder has a file `broken`."""
    logged(job)
    if Path(job["log"], "broken").exists():
        raise ValueError("the disk is full")
    return 1


def jobs_for(folder: Path, count: int, **extra: dict[str, Any]) -> list[dict[str, Any]]:
    """Jobs with seeds from 0; `at_3` in `extra` goes into the job of seed 3."""
    return [
        {"task": "mad-copying", "seed": seed, "log": str(folder), **extra.get(f"at_{seed}", {})}
        for seed in range(count)
    ]


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "store")


def test_results_come_in_order_and_once(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 3)
    store.finish(jobs[1], {"square": 1})
    reports: list[JobProgress] = []
    outcome = run_all([*jobs, jobs[0]], logged, store, progress=reports.append)
    assert [result["square"] for result in outcome.results] == [0, 1, 4, 0]
    assert (outcome.failed, outcome.claimed) == ({}, [])
    assert [(report.job["seed"], report.state, report.done, report.total) for report in reports] == [
        (1, "stored", 1, 3),
        (0, "finished", 2, 3),
        (2, "finished", 3, 3),
    ]
    assert log_of(str(tmp_path)) == ["0", "2"]


def test_no_jobs_and_no_workers(store: JobStore) -> None:
    assert run_all([], logged, store).results == run_all([], logged, store, ProcessPool(2)).results == []
    with pytest.raises(ManticoreError, match="at least one worker, got 0"):
        executor_for(0)
    assert executor_for(1) is run_serially
    assert executor_for(2) == ProcessPool(2)


def test_an_executor_of_another_kind_is_a_function(store: JobStore, tmp_path: Path) -> None:
    def backwards(queue: Sequence[QueuedJob], work: JobFunction, store: JobStore) -> Settled:
        yield from run_serially(queue[::-1], work, store)

    outcome = run_all(jobs_for(tmp_path, 3), logged, store, backwards)
    assert [result["square"] for result in outcome.results] == [0, 1, 4]
    assert log_of(str(tmp_path)) == ["2", "1", "0"]


@pytest.mark.parametrize("executor", [run_serially, ProcessPool(2)], ids=["serial", "processes"])
def test_a_damaged_result_ends_the_run(store: JobStore, tmp_path: Path, executor: Any) -> None:
    jobs = jobs_for(tmp_path, 1)
    store.finish(jobs[0], {"square": 0})
    store.path(jobs[0]).write_text("[]")
    with pytest.raises(BadFile, match="not the result of a job"):
        run_all(jobs, logged, store, executor)


def test_a_failure_stops_nothing_and_is_tried_again_by_the_next_call(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    (tmp_path / "broken").touch()
    outcome = run_all(jobs, failing, store)
    assert outcome.results == [None, None]
    assert "ValueError: the disk is full" in outcome.failed[0]
    (tmp_path / "broken").unlink()
    assert run_all(jobs, failing, store).results == [1, 1]
    assert log_of(str(tmp_path)) == ["0", "1"] * 2


def test_a_failure_of_another_process_during_the_call_is_not_tried_again(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    outcome = run_all(jobs, logged, store, progress=lambda report: report.done == 1 and store.fail(jobs[1], "lost"))
    assert (outcome.results, outcome.failed) == ([{"square": 0}, None], {1: "lost"})


def test_a_claimed_job_is_skipped(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 3)
    assert store.claim(jobs[1])
    outcome = run_all(jobs, logged, store)
    assert outcome.claimed == [1]
    assert outcome.results == [{"square": 0}, None, {"square": 4}]


def test_an_interrupted_run_resumes(store: JobStore, tmp_path: Path) -> None:
    def interrupted(job: dict[str, Any]) -> dict[str, Any]:
        if job["seed"] == 2:
            raise KeyboardInterrupt
        return logged(job)

    jobs = jobs_for(tmp_path, 4)
    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, interrupted, store)
    assert not store.path(jobs[2], "claim").exists(), "the claim was released"
    assert [result["square"] for result in run_all(jobs, logged, store).results] == [0, 1, 4, 9]
    assert log_of(str(tmp_path)) == ["0", "1", "2", "3"]


RACE = """
import sys
from tests.studies.test_pool import jobs_for, logged
from manticore.studies.pool import run_all
from manticore.studies.store import JobStore
from pathlib import Path
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
outcome = run_all(jobs_for(folder, 40), logged, JobStore(folder / "store"))
assert not outcome.failed
"""


def test_two_processes_that_share_a_folder_run_each_job_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as first, subprocess.Popen(command, **pipes) as second:
        for racer in (first, second):
            assert racer.stdout.readline() == "ready\n"
        for racer in (first, second):
            racer.stdin.write("\n")
            racer.stdin.flush()
    assert first.returncode == second.returncode == 0
    assert sorted(map(int, log_of(str(tmp_path)))) == list(range(40))
    outcome = run_all(jobs_for(tmp_path, 40), logged, JobStore(tmp_path / "store"))
    assert outcome.results == [{"square": seed**2} for seed in range(40)]


def test_two_processes_that_find_abandoned_claims_run_each_job_once(tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 40)
    with claiming_process(tmp_path / "store", jobs):
        pass
    assert len(list((tmp_path / "store").glob("*.claim.json"))) == 40
    test_two_processes_that_share_a_folder_run_each_job_once(tmp_path)


def test_a_pool_survives_dead_workers_and_names_a_job_that_kills_them(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 5, at_1={"once": True}, at_3={"poison": True})
    outcome = run_all(jobs, crashing, store, ProcessPool(2))
    assert [result and result["square"] for result in outcome.results] == [0, 1, 4, None, 16]
    assert outcome.failed == {3: "the process that ran this job died (signal 9), 2 times in a row"}
    assert sorted(log_of(str(tmp_path))) == ["0", "1", "1", "2", "3", "3", "4"]
    assert not list(store.folder.glob("*.claim.json"))
    assert not multiprocessing.active_children()


def test_an_error_during_the_run_leaves_no_process_and_no_claim(store: JobStore, tmp_path: Path) -> None:
    def stop(report: JobProgress) -> None:
        raise RuntimeError("stopped by the caller")

    with pytest.raises(RuntimeError, match="stopped by the caller"):
        run_all(jobs_for(tmp_path, 6), logged, store, ProcessPool(2), stop)
    assert not multiprocessing.active_children()
    assert not list(store.folder.glob("*.claim.json"))
    assert any(store.has(job) for job in jobs_for(tmp_path, 6))
