"""Results are stored by content; a claim is of one living process, and a dead process of this machine loses it."""

from __future__ import annotations

import json
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore.errors import BadFile, ManticoreError
from manticore.studies.store import LOCATION, Job, JobStore, key_of

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
PLAIN = st.recursive(LEAVES, lambda x: st.lists(x) | st.dictionaries(st.text(), x), max_leaves=8)
JOB = {"task": "mad-copying", "seed": 1}


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "store")


@settings(max_examples=30)
@given(st.dictionaries(st.text(), PLAIN))
def test_a_key_depends_on_the_content(job: dict[str, Any]) -> None:
    same = json.loads(json.dumps(dict(reversed(job.items()))))
    assert key_of(same) == key_of(job)
    assert key_of({**job, "extra": 1}) != key_of({**job, "extra": 2})
    assert key_of({**job, LOCATION: "/a"}) == key_of({**job, LOCATION: "/b"})
    assert len(key_of(job)) == 32


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"a": {1: 2}}, r"a job has text keys, got \[1\]"),
        ({"a": [Path()]}, "a job is plain data, got a (Posix|Windows)Path in it"),
        ({"a": float("nan")}, "a job has finite numbers, got nan"),
    ],
)
def test_jobs_are_plain_data(job: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        key_of(job)


def test_a_result_is_stored_under_its_job(store: JobStore) -> None:
    assert store.get(JOB) is None
    assert store.claim(JOB)
    store.finish(JOB, {"accuracy": [0.5, None]})
    assert JobStore(store.folder).get(dict(reversed(JOB.items()))) == {"accuracy": [0.5, None]}
    assert store.get({**JOB, "seed": 2}) is None
    assert not store.claim(JOB), "it is finished"
    assert [path.suffixes for path in store.folder.iterdir()] == [[".result", ".json"]], "nothing else is left"


def test_a_result_that_is_not_plain_data_is_rejected(store: JobStore) -> None:
    with pytest.raises(ManticoreError, match="a result of a job is plain data, got a set"):
        store.finish(JOB, {1, 2})


def claimant(store: JobStore) -> tuple[int, str]:
    """Process id and host in the claim file of the job."""
    claim = json.loads(store.path(JOB, "claim").read_text(encoding="utf-8"))
    return claim["pid"], claim["host"]


def test_a_claim_is_of_one_store_and_is_released(store: JobStore) -> None:
    assert store.claim(JOB)
    assert not store.claim(JOB)
    assert not JobStore(store.folder).claim(JOB)
    assert claimant(store) == (os.getpid(), socket.gethostname())
    store.release(JOB)
    assert not store.path(JOB, "claim").exists()
    assert store.claim(JOB)
    store.fail(JOB, ValueError("no"))
    assert "ValueError: no" in store.failure(JOB)
    assert store.claim(JOB), "a failed job may be tried again"
    store.finish(JOB, 1)
    assert store.failure(JOB) is None


def test_a_pickled_store_takes_no_claim_along(store: JobStore) -> None:
    assert store.claim(JOB)
    copy = pickle.loads(pickle.dumps(store))
    assert copy == store
    assert not copy.claim(JOB)


CLAIM = """
import json, sys, time
from manticore.studies.store import JobStore
store = JobStore(sys.argv[1])
assert all(store.claim(job) for job in json.loads(sys.argv[2]))
print("claimed", flush=True)
time.sleep(60)
"""


@contextmanager
def claiming_process(folder: Path, jobs: Sequence[Job]) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed the jobs; it is killed at the end."""
    command = [sys.executable, "-c", CLAIM, str(folder), json.dumps(jobs)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_a_living_process_keeps_its_claim_and_a_dead_one_loses_it(store: JobStore) -> None:
    with claiming_process(store.folder, [JOB]) as process:
        assert claimant(store) == (process.pid, socket.gethostname())
        assert not store.claim(JOB)
        assert not store.release_abandoned(JOB)
        process.kill()
        deadline = time.time() + 10
        while not store.claim(JOB):
            assert time.time() < deadline
            time.sleep(0.01)
    assert claimant(store) == (os.getpid(), socket.gethostname())


@pytest.mark.parametrize(("host", "abandoned"), [(socket.gethostname(), True), ("elsewhere", False)])
def test_a_claim_without_a_lock_is_abandoned_on_this_machine_only(store: JobStore, host: str, abandoned: bool) -> None:
    """Even if its process id is used again, here by this very process."""
    file = store.path(JOB, "claim")
    file.parent.mkdir()
    file.write_text(json.dumps({"pid": os.getpid(), "host": host}))
    assert store.claim(JOB) == abandoned
    if not abandoned:
        assert not store.release_abandoned(JOB)
        store.release(JOB)  # what the user does by hand
        assert store.claim(JOB)


def test_a_claim_file_without_content_is_respected_for_a_while(store: JobStore) -> None:
    file = store.path(JOB, "claim")
    file.parent.mkdir()
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
def test_the_error_of_a_damaged_result_has_its_file(store: JobStore, text: str, message: str) -> None:
    store.finish(JOB, 1)
    store.path(JOB).write_text(text)
    with pytest.raises(BadFile, match=f"{store.path(JOB).name}.*{message}"):
        store.get(JOB)
