"""Times, CUDA graphs and memory of calls on a GPU; in a dry run the same on a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

Thunk = Callable[[], Any]


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def times_in_turns(thunks: Mapping[str, Thunk], repeats: int, warmups: int = 2) -> dict[str, float]:
    """Median seconds of each thunk, called in turns so that all run at the same clock rates."""
    samples: dict[str, list[Callable[[], float]]] = {name: [] for name in thunks}
    for turn in range(repeats + warmups):
        for name, thunk in thunks.items():
            stop = start_clock()
            thunk()
            sample = stop()
            if turn >= warmups:
                samples[name].append(sample)
    synchronize()
    return {name: statistics.median(sample() for sample in taken) for name, taken in samples.items()}


def start_clock() -> Callable[[], Callable[[], float]]:
    """A clock of the GPU's stream, or of the processor: stopping it returns a function that gives the seconds."""
    if torch.cuda.is_available():
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()

        def stop() -> Callable[[], float]:
            end.record()
            return lambda: start.elapsed_time(end) / 1e3

        return stop
    began = time.perf_counter()

    def stop_on_cpu() -> Callable[[], float]:
        seconds = time.perf_counter() - began
        return lambda: seconds

    return stop_on_cpu


def as_graph(thunk: Thunk) -> Thunk:
    """The replay of a CUDA graph of the thunk; without CUDA the thunk itself."""
    if not torch.cuda.is_available():
        return thunk
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            thunk()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        thunk()
    return graph.replay


def peak_bytes(thunk: Thunk) -> int:
    """Peak memory of one call beyond what was in use; 0 without CUDA."""
    synchronize()
    if not torch.cuda.is_available():
        thunk()
        return 0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    thunk()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
