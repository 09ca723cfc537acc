"""A thread that hangs is detected; one that works, or waits for another process, does not count as hanging."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from manticore.experiment import idle_watch
from manticore.experiment.idle_watch import IdleWatch, idleness


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_watch, "INTERVAL", 0.02)
    monkeypatch.setattr(idle_watch, "MOST_IDLE", 15)


def locations(work: Callable[[threading.Event], object], is_working: bool = True) -> list[str]:
    """Where a thread counts as hanging while it does some work; the event is set when that is detected."""
    hangs: list[str] = []
    noticed = threading.Event()

    def idle(location: str) -> None:
        hangs.append(location)
        noticed.set()

    with IdleWatch(lambda: is_working, idle):
        work(noticed)
    return hangs


def wait_in_vain(noticed: threading.Event) -> None:
    assert noticed.wait(10)


def poll(noticed: threading.Event) -> None:
    until = time.monotonic() + 0.6
    while time.monotonic() < until:
        time.sleep(0.005)


def compute(noticed: threading.Event) -> None:
    until = time.process_time() + 0.6
    while time.process_time() < until:
        pass


def start_a_program(noticed: threading.Event) -> None:
    subprocess.run([sys.executable, "-c", "import time; time.sleep(0.6)"], check=True)


def receive(noticed: threading.Event) -> None:
    code = compile("noticed.wait(0.6)", "/lib/torch/distributed/distributed_c10d.py", "exec")
    exec(code, {"noticed": noticed})


def test_a_thread_that_waits_in_vain_is_detected_once() -> None:
    (location,) = locations(wait_in_vain)
    assert location == f"wait_in_vain (test_idle_watch.py:{wait_in_vain.__code__.co_firstlineno + 1})"
    assert idleness(3, location) == f"process 3 has done nothing for 0 seconds, in {location}"


@pytest.mark.parametrize("work", [poll, compute, start_a_program, receive])
def test_a_thread_that_works_or_waits_for_a_process_is_not_idle(work: Callable[[threading.Event], object]) -> None:
    assert not locations(work)


def test_a_thread_without_work_may_wait() -> None:
    assert not locations(lambda noticed: noticed.wait(0.6), is_working=False)
