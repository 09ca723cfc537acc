"""SIGKILL at random moments of two processes that work together: on one comparison, or on one search over gloo.

All processes are forks of this one, which has imported everything. One of the two is killed, or both; what is left must
end by itself. Then two new processes go on, and in the end the results must be those of a run that was never killed.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from benchmarks.reliability.kills import differences
from benchmarks.reliability.writes import Command, commands, study_differences
from manticore.cli import main

PATIENCE = 300.0
"""Seconds after which a process that should have ended counts as hanging."""

MOST_KILLS = 4
"""Largest number of kills of one run."""


def _work(words: list[str], log: Path, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
    status = main(words)
    sys.stderr.flush()
    sys.exit(status)


def _start(words: list[str], log: Path, environments: list[dict[str, str]]) -> list[BaseProcess]:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_work, args=(words, log, environment)) for environment in environments]
    for process in processes:
        process.start()
    return list(processes)


def alone() -> list[dict[str, str]]:
    """The environments of two processes that know nothing of each other."""
    return [{}, {}]


def ranks() -> list[dict[str, str]]:
    """The environments that torchrun gives to the two processes of a group on this machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    shared |= {"TORCHELASTIC_RUN_ID": port, "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1"}
    return [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


KINDS: dict[str, tuple[str, Callable[[], list[dict[str, str]]], Callable[[Path, Path], list[str]]]] = {
    "comparison": ("compare", alone, study_differences),
    "ranks": ("search", ranks, differences),
}
"""Name of the command, environments of its processes, and what differs between two folders."""


def _end(processes: list[BaseProcess], patience: float = PATIENCE) -> list[int | None]:
    """Wait for processes; those that hang are killed, and have None."""
    deadline, codes = time.monotonic() + patience, []
    for process in processes:
        process.join(max(0.0, deadline - time.monotonic()))
        codes.append(process.exitcode)
    for process in processes:
        process.kill()
        process.join()
    return codes


def measure(folder: Path, kind: str, kills: int, number: int = 0, until: float = math.inf) -> dict[str, Any]:
    """Kill processes of runs in `folder` until there were `kills` kills; after the time `until` no run is begun.

    Returns the numbers of `kills` and of `runs`, the `different` outcomes, and the `seconds` of a run without a kill.
    """
    name, environments, different = KINDS[kind]
    folder.mkdir(parents=True, exist_ok=True)
    command, rng, log = commands(folder)[name], random.Random(number), folder / "log.txt"
    reference = folder / "reference"
    started = time.monotonic()
    if (codes := _end(_start(command.line(reference, False), log, environments()))) != [0, 0]:
        raise SystemExit(f"{kind} without a kill ended with {codes}: {log.read_text()[-600:]}")
    seconds = time.monotonic() - started
    done, runs, faults = 0, 0, []
    while done < kills and time.monotonic() < until:
        out = folder / f"run-{runs}"
        for _ in range(min(MOST_KILLS, kills - done)):
            processes = _start(_line(command, out), log, environments())
            time.sleep(rng.uniform(0.1, 0.9) * seconds)
            chosen = rng.choice([processes[:1], processes[1:], processes])
            alive = [process for process in chosen if process.is_alive()]
            for process in alive:
                assert process.pid is not None
                os.kill(process.pid, signal.SIGKILL)
            done += bool(alive)
            codes = _end(processes)
            if None in codes:
                faults.append(f"run {runs}: a process hangs after the other was killed")
            if not alive:
                break
        codes = _end(_start(_line(command, out), log, environments()))
        if codes != [0, 0]:
            faults.append(f"run {runs} ended with {codes}: {log.read_text()[-400:]}")
        else:
            faults += [f"run {runs}: {problem}" for problem in different(out, reference)]
        runs += 1
    return {"kills": done, "runs": runs, "different": faults, "seconds": seconds}


def _line(command: Command, out: Path) -> list[str]:
    """The command, resumed if it has begun."""
    return command.line(out, (out / "recipe.yaml").exists())
