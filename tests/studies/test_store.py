"""Jobs are done once whoever asks: alone, in several processes, after a crash, beside a stranger."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore.errors import BadFile, ManticoreError
from manticore.studies.scheduler import JobProgress, run_all
from manticore.studies.store import JobStore, key_of

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PLAIN = st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8)
JOB = {"task": "mad-copying", "seed": 1}


def log_of(folder: str) -> list[str]:
    file = Path(folder, "log")
    return file.read_text().split() if file.exists() else []


def logged(job: dict[str, Any]) -> dict[str, Any]:
    """Notes that it was done, slowly enough to be raced."""
    with Path(job["log"], "log").open("a") as log:
        log.write(f"{job['seed']}\n")
    time.sleep(0.01)
    return {"square": job["seed"] ** 2}


def deadly(job: dict[str, Any]) -> dict[str, Any]:
    """As `logged`, but kills its process: always for `poison`, the first time for `once`."""
    done = logged(job)
    if job.get("poison") or (job.get("once") and log_of(job["log"]).count(str(job["seed"])) == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    return done


def failing(job: dict[str, Any]) -> int:
    logged(job)
    if Path(job["log"], "broken").exists():
        raise ValueError("the disk is on fire")
    return 1


def jobs_for(folder: Path, count: int, **more: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"seed": seed, "log": str(folder), **more.get(f"at_{seed}", {})} for seed in range(count)]


def python(code: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "store")


@settings(max_examples=30)
@given(st.dictionaries(st.text(), PLAIN))
def test_a_key_is_of_the_content(job: dict[str, Any]) -> None:
    again = json.loads(json.dumps(dict(reversed(job.items()))))
    assert key_of(again) == key_of(job)
    assert key_of({**job, "one more": 1}) != key_of({**job, "one more": 2})
    assert len(key_of(job)) == 32


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"a": {1: 2}}, r"a job has text keys, got \[1\]"),
        ({"a": [Path()]}, "a job is plain data, got a (Posix|Windows)Path in it"),
        ({"a": float("nan")}, "a job holds finite numbers, got nan"),
    ],
)
def test_jobs_are_plain_data(job: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        key_of(job)


def test_a_result_is_kept_under_its_job(store: JobStore) -> None:
    assert store.get(JOB) is None
    assert store.claim(JOB)
    store.finish(JOB, {"accuracy": [0.5, None]})
    assert JobStore(store.folder).get(dict(reversed(JOB.items()))) == {"accuracy": [0.5, None]}
    assert store.get({**JOB, "seed": 2}) is None
    assert not store.claim(JOB), "it is done"
    assert [path.suffixes for path in store.folder.iterdir()] == [[".result", ".json"]], "nothing else is left"


def test_a_result_that_is_not_plain_data_is_refused(store: JobStore) -> None:
    with pytest.raises(ManticoreError, match="a result of a job is plain data, got a set"):
        store.finish(JOB, {1, 2})


def test_a_claim_is_one_process_and_is_given_up(store: JobStore) -> None:
    assert store.claim(JOB)
    assert not store.claim(JOB)
    assert store.holder(JOB) == f"process {os.getpid()} on {socket.gethostname()}"
    store.release(JOB)
    assert store.holder(JOB) == ""
    assert store.claim(JOB)
    store.fail(JOB, ValueError("no"))
    assert "ValueError: no" in store.failure(JOB)
    assert store.claim(JOB), "a failed job may be tried again"
    store.finish(JOB, 1)
    assert store.failure(JOB) is None


CLAIM = """
import sys, time
from manticore.studies.store import JobStore
assert JobStore(sys.argv[1]).claim({"task": "mad-copying", "seed": 1})
print("claimed", flush=True)
time.sleep(60)
"""


def test_a_living_process_keeps_its_claim_and_a_dead_one_loses_it(store: JobStore) -> None:
    with python(CLAIM, store.folder) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        assert not store.claim(JOB)
        assert not store.free(JOB)
        other.kill()
        deadline = time.time() + 10
        while not store.claim(JOB):  # not even buried yet
            assert time.time() < deadline
            time.sleep(0.01)
    assert str(os.getpid()) in store.holder(JOB)


@pytest.mark.parametrize(
    ("change", "free"),
    [({}, False), ({"born": 1}, sys.platform == "linux"), ({"born": 1, "host": "elsewhere"}, False)],
)
def test_a_number_used_again_and_other_machines(store: JobStore, change: dict[str, Any], free: bool) -> None:
    assert store.claim(JOB)
    file = store.path(JOB, "claim")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    assert store.claim(JOB) == free


def test_a_claim_that_says_nothing_is_waited_for_a_while(store: JobStore) -> None:
    assert store.claim(JOB)
    file = store.path(JOB, "claim")
    file.write_text("")
    assert not store.claim(JOB)
    os.utime(file, (time.time() - 100,) * 2)
    assert store.claim(JOB)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1, "resu', "not JSON"),
        ("[]", "not the result of a job in format 1"),
        ('{"format": 2, "job": {}, "result": 1}', "not the result of a job in format 1"),
        ('{"format": 1, "job": {"seed": 9}, "result": 1}', "the result of another job than its name says"),
    ],
)
def test_a_damaged_result_is_named(store: JobStore, text: str, message: str) -> None:
    store.finish(JOB, 1)
    store.path(JOB).write_text(text)
    with pytest.raises(BadFile, match=f"{store.path(JOB).name}.*{message}"):
        run_all([JOB], logged, store)


def test_results_come_in_order_and_once(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 3)
    store.finish(jobs[1], {"square": 1})
    told: list[JobProgress] = []
    outcome = run_all([*jobs, jobs[0]], logged, store, progress=told.append)
    assert [held["square"] for held in outcome.results] == [0, 1, 4, 0]
    assert (outcome.failed, outcome.held) == ({}, [])
    assert [(note.job["seed"], note.state, note.done, note.total) for note in told] == [
        (1, "kept", 1, 3),
        (0, "finished", 2, 3),
        (2, "finished", 3, 3),
    ]
    assert log_of(str(tmp_path)) == ["0", "2"]


def test_no_jobs_and_no_workers(store: JobStore) -> None:
    assert run_all([], logged, store).results == run_all([], logged, store, workers=2).results == []
    with pytest.raises(ManticoreError, match="at least one worker, got 0"):
        run_all([], logged, store, workers=0)


def test_a_failure_stops_nothing_and_is_tried_again_next_time(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    (tmp_path / "broken").touch()
    outcome = run_all(jobs, failing, store)
    assert outcome.results == [None, None]
    assert "ValueError: the disk is on fire" in outcome.failed[0]
    (tmp_path / "broken").unlink()
    assert run_all(jobs, failing, store).results == [1, 1]
    assert log_of(str(tmp_path)) == ["0", "1"] * 2


def test_what_another_process_failed_meanwhile_is_not_tried(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 2)
    outcome = run_all(jobs, logged, store, progress=lambda note: note.done == 1 and store.fail(jobs[1], "lost"))
    assert (outcome.results, outcome.failed) == ([{"square": 0}, None], {1: "lost"})


def test_what_another_process_is_at_is_passed_over(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 3)
    assert store.claim(jobs[1])
    outcome = run_all(jobs, logged, store)
    assert outcome.held == [1]
    assert outcome.results == [{"square": 0}, None, {"square": 4}]


def test_a_stopped_run_goes_on_where_it_was(store: JobStore, tmp_path: Path) -> None:
    def stopping(job: dict[str, Any]) -> dict[str, Any]:
        if job["seed"] == 2:
            raise KeyboardInterrupt
        return logged(job)

    jobs = jobs_for(tmp_path, 4)
    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, stopping, store)
    assert store.holder(jobs[2]) == "", "the claim was given up"
    assert [held["square"] for held in run_all(jobs, logged, store).results] == [0, 1, 4, 9]
    assert log_of(str(tmp_path)) == ["0", "1", "2", "3"]


RACE = """
import sys
from tests.studies.test_store import jobs_for, logged
from manticore.studies.scheduler import run_all
from manticore.studies.store import JobStore
from pathlib import Path
folder = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
outcome = run_all(jobs_for(folder, 40), logged, JobStore(folder / "store"))
assert not outcome.failed
"""


def test_two_processes_share_a_folder_and_do_each_job_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:
        for racer in (one, two):
            assert racer.stdout.readline() == "ready\n"
        for racer in (one, two):
            racer.stdin.write("\n")
            racer.stdin.flush()
    assert one.returncode == two.returncode == 0
    assert sorted(map(int, log_of(str(tmp_path)))) == list(range(40))
    outcome = run_all(jobs_for(tmp_path, 40), logged, JobStore(tmp_path / "store"))
    assert outcome.results == [{"square": seed**2} for seed in range(40)]


def test_two_that_find_the_same_dead_claim_do_the_job_once(tmp_path: Path) -> None:
    store, jobs = JobStore(tmp_path / "store"), jobs_for(tmp_path, 40)
    with python("print(1)") as dead:
        pass
    for job in jobs:
        assert store.claim(job)
        file = store.path(job, "claim")
        file.write_text(json.dumps(json.loads(file.read_text()) | {"pid": dead.pid}))
    test_two_processes_share_a_folder_and_do_each_job_once(tmp_path)


def test_workers_survive_each_other_and_name_a_job_that_kills(store: JobStore, tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, 5, at_1={"once": True}, at_3={"poison": True})
    outcome = run_all(jobs, deadly, store, workers=2)
    assert [held and held["square"] for held in outcome.results] == [0, 1, 4, None, 16]
    assert outcome.failed == {3: "the process that did this job died (signal 9), 2 times in a row"}
    assert sorted(log_of(str(tmp_path))) == ["0", "1", "1", "2", "3", "3", "4"]
    assert not list(store.folder.glob("*.claim.json"))
    assert not multiprocessing.active_children()


def test_an_end_in_the_middle_leaves_no_process_and_no_claim(store: JobStore, tmp_path: Path) -> None:
    def stop(note: JobProgress) -> None:
        raise RuntimeError("the reader has gone")

    with pytest.raises(RuntimeError, match="the reader has gone"):
        run_all(jobs_for(tmp_path, 6), logged, store, workers=2, progress=stop)
    assert not multiprocessing.active_children()
    assert not list(store.folder.glob("*.claim.json"))
    assert any(store.has(job) for job in jobs_for(tmp_path, 6))
