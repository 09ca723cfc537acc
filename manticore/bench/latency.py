"""`manticore bench latency`: the time of each segment, projector, op and end of a search space, for a table of latency.

Each part of a path is timed by itself, in each mode, type of numbers, batch and length; parts of equal structure once.
The time of the ends is that of a hybrid whose stages are all skipped, and that of the projectors is that of a branch
without its segment. The parts run in turns, as in a model, so that a part does not find its own weights in the
processor's fast memory. Some paths are timed as a whole, each by itself, as in a generation, and the times of the parts
are scaled to theirs (`whole_paths`).

Of several runs the fastest counts, which other programs on the machine affect least. On a CPU with one thread it is the
time of the processor, which is that on the clock when nothing else runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from manticore.bench.whole_paths import path_parts, reference_paths, scaled_times
from manticore.modeling.branches import SkipBranch
from manticore.modeling.ops import OpBranch
from manticore.modeling.segments import Context, Segment
from manticore.nas.choices import PathNames
from manticore.nas.discretize import discretize
from manticore.nas.latency import DECODE, FORWARD, PREFILL, PartLatency, TimedPart, parts_of
from manticore.nas.supernet import Supernet

SECONDS, MAX_RUNS, ROUNDS = 0.02, 16, 3
"""Fast runs are repeated for so long each, at most so often, in each of three rounds."""


class Workload(NamedTuple):
    """What a part is timed on."""

    mode: str
    batch: int
    length: int
    dtype: str = "float32"


TimedRun = Callable[[], object]
"""One pass on a prompt, or the next step of a generation."""


@dataclass(frozen=True)
class Timer:
    """Takes the time of runs.

    Attributes:
        device: that the work runs on.
        repeats: smallest number of timed runs of a round.
    """

    device: torch.device
    repeats: int = 5

    def fastest(self, runs: Sequence[TimedRun]) -> list[float]:
        """Milliseconds of the fastest of several runs each, in turns, after one that is not timed."""
        best, started, rounds = [float("inf")] * len(runs), time.monotonic(), 0
        with torch.no_grad():
            for run in runs:
                run()
            while rounds < self.repeats or (rounds < MAX_RUNS and time.monotonic() - started < SECONDS * len(runs)):
                for index, run in enumerate(runs):
                    before = self._now()
                    run()
                    best[index] = min(best[index], self._now() - before)
                rounds += 1
        return [1000 * seconds for seconds in best]

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif torch.get_num_threads() == 1:
            return time.process_time()
        return time.perf_counter()


def modes_of(supernet: Supernet) -> tuple[str, ...]:
    """What can be timed of the paths of a supernet."""
    return (PREFILL, DECODE) if supernet.head_spec.kind == "lm" else (FORWARD,)


def supernet_parts(supernet: Supernet) -> list[TimedPart]:
    """The parts of all paths of a supernet, of those with equal structure the first."""
    topology = supernet.topology
    parts = [
        part
        for stage in range(supernet.space.stages)
        for name in supernet.choices.names(stage)
        for part in parts_of(topology.path_modules(supernet, stage, name), name)
    ]
    parts += parts_of(topology.fixed_modules(supernet), supernet.base)
    by_digest: dict[str, TimedPart] = {}
    for part in parts:
        by_digest.setdefault(part.digest, part)
    return [*by_digest.values()]


def time_parts(parts: Sequence[TimedPart], supernet: Supernet, workload: Workload, timer: Timer) -> list[PartLatency]:
    """The times of parts of a supernet, as entries with one length, scaled to those of whole paths where the parts
    include all of such a path (`whole_paths`)."""
    mode, batch, length, dtype = workload
    digests = [part.digest for part in parts]
    paths = [
        path
        for path in reference_paths(supernet)
        if all(part.digest in digests for _, part in path_parts(supernet, path))
    ]

    def whole(path: PathNames) -> float:
        hybrid: Any = discretize(supernet, path)  # again in each round: one at a time is in memory
        return timer.fastest([model_run(hybrid.to(timer.device, getattr(torch, dtype)), workload)])[0]

    alone = [_run_of(part, supernet, workload, timer.device) for part in parts]
    rounds = [[*timer.fastest(alone), *map(whole, paths)] for _ in range(ROUNDS)]
    ms = [min(times) for times in zip(*rounds, strict=True)]
    by_digest, by_path = dict(zip(digests, ms, strict=False)), dict(zip(paths, ms[len(parts) :], strict=True))
    times = scaled_times(supernet, by_digest, by_path)
    return [
        PartLatency(part.kind, part.name, part.digest, mode, batch, dtype, {length: times[part.digest]})
        for part in parts
    ]


def workloads(
    modes: Sequence[str], batches: Sequence[int], lengths: Sequence[int], dtypes: Sequence[str]
) -> Iterator[Workload]:
    """Every combination."""
    for mode in modes:
        for dtype in dtypes:
            for batch in batches:
                yield from (Workload(mode, batch, length, dtype) for length in lengths)


def model_run(model: Any, workload: Workload) -> TimedRun:
    """A run of a hybrid as a whole, on random tokens. The model is on the device and in the type of the workload."""
    mode, batch, length, _ = workload
    ids_BL = torch.randint(3, max(4, model.config.vocab_size), (batch, length), device=model.device)
    if mode == FORWARD:
        return lambda: model(ids_BL, torch.ones_like(ids_BL))
    if mode == PREFILL:
        return lambda: model(ids_BL, use_cache=True, logits_to_keep=1)
    cache = model.model.new_cache()
    if past := _past(length):
        with torch.no_grad():
            model(ids_BL[:, :past], past_key_values=cache, use_cache=True, logits_to_keep=1)
    last_11 = torch.tensor([[length - 1]], device=model.device)  # within the positions, however many steps follow
    return lambda: model(ids_BL[:, -1:], position_ids=last_11, past_key_values=cache, use_cache=True)


def _past(length: int) -> int:
    """Tokens in the cache before the first step: the steps in the middle are at about `length`."""
    return max(0, length - 1 - ROUNDS * MAX_RUNS // 2)


def _run_of(part: TimedPart, supernet: Supernet, workload: Workload, device: torch.device) -> TimedRun:
    mode, batch, length, dtype_name = workload
    dtype = getattr(torch, dtype_name)
    if part.kind == "ends":
        return model_run(_ends(supernet, part.name).to(device, dtype), workload)
    module: Any = deepcopy(part.module).to(device, dtype).eval()
    if part.kind == "projectors":
        module.segment = _PassThrough()
    is_segment = isinstance(module, Segment)
    width = module.backbone.config.hidden_size if is_segment else supernet.stream
    h_BLD = torch.randn(batch, length, width, device=device, dtype=dtype)
    position_ids, stage = torch.arange(length, device=device)[None], getattr(module, "stage", 0)

    def run(h: Tensor, start: int, cache: Any) -> object:
        caches = [] if mode == FORWARD else [None] * stage + [cache]
        context = Context(None, position_ids[:, start : start + h.shape[1]], caches=caches)
        return module(h, context, stage) if is_segment else module(h, context)

    def new_cache() -> Any:
        return module.new_cache() if isinstance(module, Segment | OpBranch) and mode != FORWARD else None

    if mode != DECODE:
        return lambda: run(h_BLD, 0, new_cache())
    cache, past = new_cache(), _past(length)
    if past:
        with torch.no_grad():
            run(h_BLD[:, :past], 0, cache)
    return lambda: run(h_BLD[:, -1:], length - 1, cache)


def _ends(supernet: Supernet, name: str) -> Any:
    """A hybrid with the ends of a component, whose stages are all skipped."""
    choices, topology = supernet.choices, supernet.topology
    alone = (name,) * choices.stages
    own = (path for path in choices.paths() if topology.base_of(path, supernet.base) == name)
    model: Any = discretize(supernet, alone if choices.has_alone(name) else next(own))
    model.model.stages = nn.ModuleList(SkipBranch() for _ in alone)
    return model


class _PassThrough(nn.Module):
    """A segment that returns its input."""

    def forward(self, x_BLD: Tensor, context: Context, stage: int) -> Tensor:
        return x_BLD
