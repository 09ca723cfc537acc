"""Which processes a command starts, and that the loss of one is noticed between two trainings."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from manticore.config.processes import ProcessOptions
from manticore.config.sections import RunOptions
from manticore.errors import LostProcess, ManticoreError
from manticore.experiment import processes
from manticore.training.trainer import Hardware

CPU = RunOptions(device="cpu")


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["a terminal", "background"])
def test_a_process_that_ends_between_two_trainings_is_noticed(
    handler: Any, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.signal(signal.SIGINT, handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    monkeypatch.setattr(processes, "POLL", 0.05)
    monkeypatch.setattr(processes, "GRACE", 0.05)
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    def wait() -> None:
        with processes._watching([child]):
            for _ in range(200):
                time.sleep(0.05)

    with pytest.raises(LostProcess, match=r"a process of this run has ended: it was started by this one; saved states"):
        wait()
    child.wait()
    with processes._watching([child]):
        pass  # that they end after the work is no loss


@pytest.mark.parametrize("devices", [None, "1", "auto"])
def test_one_process_is_alone(devices: str | None) -> None:
    def work(hardware: Hardware) -> int:
        return hardware.ranks.count

    assert processes.run_together(ProcessOptions(devices=devices), CPU, work) == 1


def test_a_number_that_was_not_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"JOB_ID": "7", "NTASKS": "2", "STEP_NUM_TASKS": "2", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in task.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(ManticoreError, match="--ntasks-per-node=2"):
        processes.run_together(ProcessOptions(), CPU, lambda hardware: 0)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    with pytest.raises(ManticoreError, match=r"--devices 3 .* not the number .* started, 2; leave both"):
        processes.run_together(ProcessOptions(devices="3"), CPU, lambda hardware: 0)
