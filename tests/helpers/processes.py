"""Groups of processes that train together over gloo, started once and used by many tests."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from manticore.errors import LostProcess
from manticore.training.trainer import Hardware, finish, serve
from manticore.utils.ranks import Ranks

PRELOAD = ["tests.helpers.processes", "tests.helpers.search_module"]
"""What the server imports once for all processes."""


class Processes:
    """A group of processes. The first one calls the functions of tests; the others train along.

    A group that a failed test has not closed ends with the tests.

    Args:
        count: number of processes.
        folder: an empty folder, for the file through which they meet.
        is_sharded: whether each has a part of the weights.
    """

    def __init__(self, count: int, folder: Path, is_sharded: bool = False) -> None:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self.pipe, other = context.Pipe()
        self.processes = [
            context.Process(
                target=_main, args=(Ranks(rank, count), is_sharded, str(folder / "meet"), pipe), daemon=True
            )
            for rank, pipe in enumerate([other, *[None] * (count - 1)])
        ]
        for process in self.processes:
            process.start()
        other.close()

    def call(self, function: Callable[..., Any], *args: object) -> Any:
        """`function(hardware, *args)` in the first process; raises its error here."""
        self.pipe.send((function, args))
        error, result = self.pipe.recv()
        assert error is None, error
        return result

    def close(self) -> list[int | None]:
        """End all processes. Returns their exit codes."""
        if self.processes[0].is_alive():
            self.pipe.send(None)
        for process in self.processes:
            process.join(30)
        return [process.exitcode for process in self.processes]


def _main(ranks: Ranks, is_sharded: bool, meet: str, pipe: Connection | None) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{meet}", timedelta(minutes=15), ranks.count, ranks.rank)
    hardware = Hardware(checkpoint_every=4, ranks=ranks, is_sharded=is_sharded)
    if pipe is None:
        serve(hardware)
    else:
        _answer(pipe, hardware)
        with suppress(LostProcess):
            finish(hardware)
    dist.destroy_process_group()


def _answer(pipe: Connection, hardware: Hardware) -> None:
    while (request := pipe.recv()) is not None:
        function, args = request
        try:
            pipe.send((None, function(hardware, *args)))
        except Exception:
            pipe.send((traceback.format_exc(), None))
