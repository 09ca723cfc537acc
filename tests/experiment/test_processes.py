"""Which processes a command starts, and that the loss of one, or one that stops, is noticed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from manticore.config.processes import ProcessOptions
from manticore.config.sections import RunOptions
from manticore.errors import LostProcess, ManticoreError
from manticore.experiment import heartbeat, processes
from manticore.training.trainer import Hardware
from manticore.utils.ranks import ALONE, Ranks

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
        with processes._watching([child], ALONE, "127.0.0.1"):
            for _ in range(200):
                time.sleep(0.05)

    with pytest.raises(LostProcess, match=r"a process of this run has ended: it was started by this one; saved states"):
        wait()
    child.wait()
    with processes._watching([child], ALONE, "127.0.0.1"):
        pass  # that they end after the work is no loss


def test_a_process_of_another_machine_that_stops_ends_the_first_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(processes, "GRACE", 0.05)
    monkeypatch.setattr(processes.os, "_exit", statuses.append)
    monkeypatch.setattr(processes._thread, "interrupt_main", lambda number: None)
    calls: list[Any] = []
    monkeypatch.setattr(processes, "Heartbeat", lambda ranks, address, lost: calls.append(lost) or ExitStack())
    ranks = Ranks()
    with processes._watching([], ranks, "127.0.0.1"):
        calls[0](3)  # the main thread waits for a message, where the interrupt does not arrive
    reason = "process 3 has not answered for 40 seconds; saved states are kept, --resume continues"
    assert capsys.readouterr().err == f"manticore: error: a process of this run has ended: {reason}\n"
    assert statuses == [1]
    assert ranks.left, "no message is sent to it any more"


def test_the_first_process_is_ended_by_one_that_it_has_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(processes.os, "kill", lambda *call: killed.append(call))
    monkeypatch.setattr(processes.os, "_exit", lambda status: None)
    processes._leave(Ranks(2, 3), os.getppid())
    assert killed == [(os.getppid(), signal.SIGKILL)]
    assert not capsys.readouterr().err, "one process prints the line"
    processes._leave(Ranks(1, 3), -1)
    assert len(killed) == 1, "another process has its number now"
    assert "process 0 has not answered" in capsys.readouterr().err


class OverPipe(Ranks):
    """Two processes in one, which send the first message by a queue."""

    messages: SimpleQueue[bytes] = SimpleQueue()

    def send(self, data: bytes) -> None:
        self.messages.put(data)

    def receive(self) -> bytes:
        return self.messages.get()


def test_a_process_that_sends_nothing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.01)
    monkeypatch.setattr(heartbeat, "MOST_MISSED", 50)
    lost: list[tuple[int, int]] = []
    ended = threading.Event()

    def lose(rank: int) -> None:
        lost.append((0, rank))
        ended.set()

    first = heartbeat.Heartbeat(OverPipe(0, 2), "127.0.0.1", lose)
    with first:
        with heartbeat.Heartbeat(OverPipe(1, 2), "127.0.0.1", lambda rank: lost.append((1, rank))):
            time.sleep(0.8)  # longer than 50 intervals
            assert first.missed[1] < 50
            assert not lost
        assert ended.wait(5)
    assert lost == [(0, 1)]


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


WAITING = """
import os, sys, time
import torch.distributed as dist
from manticore.config.processes import ProcessOptions
from manticore.config.sections import RunOptions
from manticore.errors import LostProcess
from manticore.experiment import heartbeat, processes

heartbeat.INTERVAL, heartbeat.MOST_MISSED, processes.GRACE = 0.1, 20, 0.5
serve = processes._serve

def work(hardware):
    time.sleep(0.5)  # the first datagrams
    os.write(1, f"{os.getpid()}\\n".encode())
    if hardware.ranks.is_first:
        dist.barrier()  # waits in torch, where no signal arrives
    serve(hardware)

processes._serve = work
try:
    processes.run_together(ProcessOptions(devices=sys.argv[1]), RunOptions(device="cpu"), work)
except LostProcess as error:
    sys.exit(f"manticore: error: {error}")
"""
"""A command whose first process waits for a message that does not come."""


def slurm_task(rank: int, port: int) -> dict[str, str]:
    """The variables that srun sets for a task, one of two on a machine."""
    shared = {"JOB_ID": "7", "NTASKS": "2", "STEP_NUM_TASKS": "2", "NTASKS_PER_NODE": "2", "NODEID": "0"}
    own = {"PROCID": str(rank), "LOCALID": str(rank), "NODELIST": "127.0.0.1"}
    return {**{f"SLURM_{name}": value for name, value in (shared | own).items()}, "MASTER_PORT": str(port)}


@pytest.mark.e2e
@pytest.mark.parametrize(("launcher", "stopped"), [("lightning", 1), ("slurm", 0)])
def test_a_process_that_stops_ends_all_with_one_line(launcher: str, stopped: int, tmp_path: Path) -> None:
    (script := tmp_path / "waiting.py").write_text(WAITING)
    port = find_free_network_port()
    tasks = [{}] if launcher == "lightning" else [slurm_task(rank, port) for rank in range(2)]
    error_file = tmp_path / "errors"
    with error_file.open("w") as errors:
        started = [
            subprocess.Popen(
                [sys.executable, script, "2"], stdout=subprocess.PIPE, stderr=errors, env=os.environ | task
            )
            for task in tasks
        ]
    lines = [process.stdout.readline() for process in started for _ in range(2 // len(tasks)) if process.stdout]
    pids = sorted(map(int, lines), key=lambda pid: pid != started[0].pid)
    os.kill(pids[stopped], signal.SIGSTOP)
    deadline = time.monotonic() + 20
    for process in started[:1] if stopped or launcher == "lightning" else started[1:]:
        assert process.wait(deadline - time.monotonic()) == (1 if stopped or launcher == "slurm" else -signal.SIGKILL)
    reason = f"process {stopped} has not answered for 2 seconds; saved states are kept, --resume continues"
    assert error_file.read_text() == f"manticore: error: a process of this run has ended: {reason}\n"
    if launcher == "slurm":
        started[stopped].kill()  # which srun --kill-on-bad-exit does
    for process in started:
        process.communicate()


HANGING = """
import os, sys
import torch
from manticore.config.processes import ProcessOptions
from manticore.config.sections import RunOptions
from manticore.errors import LostProcess
from manticore.experiment import idle_watch, processes

idle_watch.INTERVAL, idle_watch.MOST_IDLE, processes.GRACE = 0.1, 20, 0.5
serve = processes._serve

def work(hardware):
    hardware.ranks.busy.append("search")
    if hardware.ranks.rank == int(sys.argv[1]):
        open(sys.argv[2]).read()  # of a pipe that nothing writes to
    if hardware.ranks.is_first:
        try:
            hardware.ranks.sum(torch.zeros(1))
        except LostProcess as error:
            hardware.ranks.left.append(error)  # as a training does
            raise
    serve(hardware)

processes._serve = work
try:
    processes.run_together(ProcessOptions(devices="2"), RunOptions(device="cpu"), work)
except LostProcess as error:
    sys.exit(f"manticore: error: {error}")
"""
"""A command one of whose two processes waits for a file."""


@pytest.mark.e2e
@pytest.mark.parametrize("hanging", [0, 1])
def test_a_process_that_hangs_ends_all_with_one_line(hanging: int, tmp_path: Path) -> None:
    (script := tmp_path / "hanging.py").write_text(HANGING)
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, script, str(hanging), tmp_path / "pipe"]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=200, check=False)
    line = HANGING.splitlines().index("        open(sys.argv[2]).read()  # of a pipe that nothing writes to") + 1
    reason = f"process {hanging} has done nothing for 2 seconds, in work (hanging.py:{line})"
    message = f"a process of this run has ended: {reason}; saved states are kept, --resume continues"
    assert ended.stderr == f"manticore: error: {message}\n"
    assert ended.returncode == 1
