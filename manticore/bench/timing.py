"""Time and peak memory of alternative implementations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from manticore.utils.memory import reset_resident_peak, resident_bytes

Thunk = Callable[[], object]
"""The work that is timed."""


@dataclass(frozen=True)
class Timing:
    """Seconds of each timed run, in order; the warm-up is not among them."""

    samples: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.samples)

    @property
    def fastest(self) -> float:
        """The minimum, which other programs on the machine affect least."""
        return min(self.samples)

    @property
    def repeats(self) -> int:
        """The number of timed runs."""
        return len(self.samples)


def ratio(numerator: Timing, *denominators: Timing) -> float:
    """Time of a run, divided by that of one run of each of `denominators` together: the median over rounds.

    The runs of a round lie close in time, so a machine that is slow for a minute slows all of them and hardly changes
    their ratio. It does change the quotient of two medians.
    """
    rounds = zip(numerator.samples, *(timing.samples for timing in denominators), strict=False)
    quotients: list[float] = [sample / sum(samples) for sample, *samples in rounds]
    return statistics.median(quotients)


def ratio_of_fastest(numerator: Timing, *denominators: Timing) -> float:
    """Time of the fastest run, divided by that of the fastest runs of `denominators` together.

    Suitable if a round is longer than the moments in which other programs occupy the machine.
    """
    return numerator.fastest / sum(timing.fastest for timing in denominators)


def race(thunks: Mapping[str, Thunk], repeats: int, budget: float) -> dict[str, Timing]:
    """Time the thunks in turns, so that other programs on the machine slow all of them.

    Args:
        thunks: by name.
        repeats: timed runs of each, after one warm-up.
        budget: seconds after which a thunk, its warm-up included, is not run again; each has at least one timed run.
    """
    spent = {name: _clock(run) for name, run in thunks.items()}
    samples: dict[str, list[float]] = {name: [] for name in thunks}
    for _ in range(repeats):
        for name, run in thunks.items():
            if samples[name] and spent[name] > budget:
                continue
            seconds = _clock(run)
            spent[name] += seconds
            samples[name].append(seconds)
    return {name: Timing(tuple(seconds)) for name, seconds in samples.items()}


def _clock(run: Thunk) -> float:
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def memory_growth(run: Thunk) -> int | None:
    """Largest growth of the process during `run` in bytes; None where the system does not report it.

    A process does not return all memory it has freed, so measure in a fresh process.
    """
    if not reset_resident_peak():
        return None
    before = resident_bytes()
    run()
    peak = resident_bytes("VmHWM")
    return None if before is None or peak is None else max(0, peak - before)
