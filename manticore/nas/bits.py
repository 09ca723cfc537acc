"""Bits of the weights of each segment as a decision of the selection (SimQ-NAS, arXiv 2312.13301).

A weight matrix at 8 or 4 bits is simulated: every output channel has one scale, the grid is symmetric, and the layer
computes with the rounded values. At 16 bits the values are as they are. Biases, norms and the parameters of a scan are
not rounded; they have 16 bits in the cost, as does every scale. Projectors, ops, embedding and head keep the resource's
type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from manticore.errors import ManticoreError
from manticore.modeling.segments import Segment
from manticore.nas.choices import Choices, PathNames, skips_all
from manticore.nas.cost import CostTable, PathCosts, parameters, path_parameters
from manticore.nas.resources import Resource
from manticore.nas.selection.budget import Budget
from manticore.nas.selection.pareto import FrontPoint, undominated
from manticore.nas.selection.scores import ChainScores, ListedScores, PathScores, StageScoreTable
from manticore.nas.selection.solver import Bound, Problem
from manticore.nas.supernet import Supernet

FULL = 16
"""Bits of a segment that is not rounded, and of what is never rounded."""

SEPARATOR = ":"
"""Between a candidate and its bits in the names of a selection."""


class BitPath(NamedTuple):
    """A path with the bits of its stages; `FULL` where a stage has no segment."""

    path: PathNames
    bits: tuple[int, ...]


def to_grid(weight: Tensor, bits: int, channel: int = 0) -> tuple[Tensor, Tensor]:
    """The nearest points of a symmetric grid, and the scale for each index of axis `channel`.

    Points are whole numbers of absolute value at most `2^(bits-1) - 1`; points times scale is the rounded weight.
    """
    largest = 2 ** (bits - 1) - 1
    axes = [axis for axis in range(weight.dim()) if axis != channel]
    scale = weight.abs().amax(axes, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny) / largest
    return (weight / scale).round().clamp(-largest, largest), scale


def quantize(weight: Tensor, bits: int, channel: int = 0) -> Tensor:
    """The nearest values on a symmetric grid of `2^bits - 1` steps, with a scale for each index of axis `channel`."""
    points, scale = to_grid(weight, bits, channel)
    return points * scale


def rounded_layers(module: nn.Module) -> Iterator[tuple[Any, int]]:
    """The layers of a module whose weights are rounded, with the axis of their output channels."""
    seen: set[int] = set()
    for part in module.modules():
        if isinstance(part, nn.Linear | Conv1D | nn.Conv1d) and id(part.weight) not in seen:
            seen.add(id(part.weight))
            yield part, 1 if isinstance(part, Conv1D) else 0  # transformers' Conv1D has (inputs, outputs)


def bit_segments(branches: Iterable[nn.Module], bits: Sequence[int]) -> list[tuple[Segment, int]]:
    """The segments of the branches of a path, each with the bits of its stage. Ops and skipped stages have none."""
    pairs = ((getattr(branch, "segment", None), number) for branch, number in zip(branches, bits, strict=True))
    return [(segment, number) for segment, number in pairs if isinstance(segment, Segment)]


@contextmanager
def rounded_segments(segments: Iterable[tuple[Segment, int]]) -> Iterator[None]:
    """A context in which the weights of each segment are rounded to its bits; at its end they are restored exactly."""
    before: list[tuple[nn.Parameter, Tensor]] = []
    try:
        for segment, bits in segments:
            for layer, channel in rounded_layers(segment) if bits < FULL else ():
                before.append((layer.weight, layer.weight.data))
                layer.weight.data = quantize(layer.weight.data, bits, channel)
        yield
    finally:
        for weight, values in reversed(before):
            weight.data = values


@contextmanager
def simulated(supernet: Supernet, chosen: BitPath) -> Iterator[None]:
    """A context in which the weights of a path are rounded to its bits; at its end they are restored exactly."""
    branches = [supernet.branch(stage, name) for stage, name in enumerate(chosen.path)]
    with rounded_segments(bit_segments(branches, chosen.bits)):
        yield


def segment_bytes(segment: Segment, bits: int) -> float:
    """Bytes of a segment: its rounded weights at `bits` with their scales, the rest at 16 bits."""
    rounded = [*rounded_layers(segment)] if bits < FULL else []
    entries: int = sum(layer.weight.numel() for layer, _ in rounded)
    scales: int = sum(layer.weight.shape[channel] for layer, channel in rounded)
    return (entries * bits + (path_parameters(segment) - entries + scales) * FULL) / 8


def hybrid_bytes(hybrid: Any, bits: Sequence[int]) -> float:
    """The resource `weight_bytes` of a discrete hybrid whose stages have these bits; see `BitCosts`."""
    segments = bit_segments(hybrid.model.stages, bits)
    rest = parameters(hybrid) - sum(parameters(segment) for segment, _ in segments)
    return rest * Resource("weight_bytes").itemsize + sum(segment_bytes(*pair) for pair in segments)


def bit_choices(choices: Choices, components: Sequence[str], bits: Sequence[int]) -> Choices:
    """The choices with each component once for each number of bits: `mamba:8`. Stages that share their choice share it
    with its bits. Ops and `skip` have none."""
    names = [
        [f"{name}{SEPARATOR}{number}" for number in bits] if name in components else [name]
        for name in choices.candidates
    ]
    starts = [sum(map(len, names[:index])) for index in range(len(names))]
    allowed = tuple(
        tuple(starts[index] + offset for index in own for offset in range(len(names[index]))) for own in choices.allowed
    )
    return Choices(tuple(name for group in names for name in group), allowed, choices.decisions)


class BitCosts(PathCosts):
    """What the paths of a supernet cost at each number of bits.

    Args:
        supernet: it may be on the meta device.
        length: tokens of a sequence, for resources that do not set it.
        bits: numbers of bits.
    """

    def __init__(self, supernet: Supernet, length: int, bits: Sequence[int]) -> None:
        super().__init__(supernet, length)
        self.net, self.plain = supernet, PathCosts(supernet, length)
        self.choices = bit_choices(supernet.choices, [*supernet.components], bits)
        view: Any = SimpleNamespace(
            choices=self.choices, candidates=self.choices.candidates, space=supernet.space, components={}
        )
        self.supernet = view

    def names(self, chosen: BitPath) -> list[str]:
        """The candidates of a path with bits."""
        pairs = zip(*chosen, strict=True)
        names = [(name, f"{name}{SEPARATOR}{bits}") for name, bits in pairs]
        return [name if name in self.choices.candidates else full for name, full in names]

    def table(self, resource: Resource) -> CostTable:
        """The table of a resource over candidates with their bits. Only `weight_bytes` depends on the bits."""
        resource = resource.at(self.length)
        if resource not in self._tables:
            self._tables[resource] = self._expand(self.plain.table(resource), resource)
        return self._tables[resource]

    def _expand(self, table: CostTable, resource: Resource) -> CostTable:
        plain = self.net.candidates
        origin = [plain.index(name_of(name)) for name in self.choices.candidates]
        stages = [[row[index] for index in origin] for row in table.stages]
        if resource.name == "weight_bytes":
            for stage, allowed in enumerate(self.choices.allowed):
                for index in allowed:
                    name, _, bits = self.choices.candidates[index].partition(SEPARATOR)
                    segment = getattr(self.net.branch(stage, name), "segment", None)
                    if bits and isinstance(segment, Segment):
                        full = path_parameters(segment) * resource.itemsize
                        stages[stage][index] += segment_bytes(segment, int(bits)) - full
        first = {source: index for index, source in reversed([*enumerate(origin)])}
        once = {first[source]: cost for source, cost in table.once.items()}
        return CostTable(tuple(map(tuple, stages)), table.fixed, once, tuple(first[source] for source in origin))


def name_of(candidate: str) -> str:
    """The component or op of a candidate with bits."""
    return candidate.partition(SEPARATOR)[0]


def bits_of(candidate: str) -> int:
    """The bits of a candidate."""
    return int(candidate.partition(SEPARATOR)[2] or FULL)


RiseTable = Mapping[tuple[int, str], float]
"""Rise of the validation loss in nats when a stage, counted from 0, runs a candidate with its bits."""


def best_with_bits(scores: PathScores, costs: BitCosts, rises: RiseTable, budget: Budget) -> BitPath:
    """The path and the bits with the best score within the limits, the rises of single stages subtracted. Exact.

    Args:
        scores: of paths without bits: minus a loss in nats.
        costs: of the same space.
        rises: by stage and candidate; of stages that share their choice under the first.
        budget: the limits.

    Raises ManticoreError if no path is within the limits; the message has the nearest.
    """
    bounds = [*budget.bounds(costs).values()]
    problems = _problems(scores, costs, rises, bounds)
    best = [(score, problem, problem.best()) for score, problem in problems]
    feasible = [
        (score + problem.score(chosen), problem, chosen) for score, problem, chosen in best if chosen is not None
    ]
    if not feasible:
        budget.check(costs)
        raise ManticoreError(f"no path that was scored has {budget.summary} with these bits")
    _, problem, chosen = max(feasible, key=lambda each: each[0])
    return _split(problem.choices, chosen)


def front_with_bits(
    scores: PathScores, costs: BitCosts, rises: RiseTable, resources: Sequence[Resource], budget: Budget
) -> list[BitPath]:
    """The paths with bits within the limits that no other dominates in score and costs, the rises of single stages
    subtracted. Exact. Sorted by the first cost.

    Args:
        scores, costs, rises, budget: as in `best_with_bits`.
        resources: the costs, of which smaller is better.
    """
    tables, points = [costs.table(resource) for resource in resources], list[FrontPoint]()
    for score, problem in _problems(scores, costs, rises, [*budget.bounds(costs).values()]):
        for chosen in problem.front(tables):
            path = tuple(problem.choices.candidates[index] for index in chosen)
            own = tuple(table.of(chosen) for table in tables)
            points.append(FrontPoint(path, score + problem.score(chosen), own))
    return [_split_names(point.path) for point in undominated(points)]


def _problems(
    scores: PathScores, costs: BitCosts, rises: RiseTable, bounds: Sequence[Bound]
) -> list[tuple[float, Problem]]:
    """Selections over candidates with bits, with the score that is added to those of each: one of the whole space, or
    one of the bits of each path where paths are scored one by one."""
    choices, plain = costs.choices, costs.net.candidates
    fall = [[-rises.get((stage, name), 0.0) for name in choices.candidates] for stage in range(choices.stages)]
    if isinstance(scores, ListedScores):
        return [
            (score, Problem(_bits_alone(choices, path), fall, (), bounds))
            for path, score in scores.values.items()
            if math.isfinite(score) and not skips_all(path)
        ]
    assert isinstance(scores, StageScoreTable | ChainScores)
    origin = [plain.index(name_of(name)) for name in choices.candidates]
    single = scores.values if isinstance(scores, StageScoreTable) else scores.stages
    pairs = () if isinstance(scores, StageScoreTable) else scores.pairs
    total = [
        [row[index] + own for index, own in zip(origin, falls, strict=True)]
        for row, falls in zip(single, fall, strict=True)
    ]
    expanded = [[[table[a][b] for b in origin] for a in origin] for table in pairs]
    return [(0.0, Problem(choices, total, expanded, bounds))]


def _bits_alone(choices: Choices, path: PathNames) -> Choices:
    """The choices of the bits of one path."""
    allowed = tuple(
        tuple(index for index in own if name_of(choices.candidates[index]) == name)
        for name, own in zip(path, choices.allowed, strict=True)
    )
    return Choices(choices.candidates, allowed, choices.decisions)


def _split(choices: Choices, chosen: Sequence[int]) -> BitPath:
    return _split_names([choices.candidates[index] for index in chosen])


def _split_names(path: Sequence[str]) -> BitPath:
    return BitPath(tuple(map(name_of, path)), tuple(map(bits_of, path)))


def measure_rises(
    costs: BitCosts, reference: Sequence[str], loss: Callable[[BitPath], float]
) -> dict[tuple[int, str], float]:
    """The rise of the loss when one stage of a path has fewer bits, for each stage, component and number of bits.

    Args:
        costs: of the space.
        reference: the path that runs all other stages.
        loss: of a path with bits, in nats. Called once for each component, stage and number of bits below 16, and once
            for each component and stage.
    """
    choices, plain = costs.choices, costs.net.choices
    rises: dict[tuple[int, str], float] = {}
    full: dict[PathNames, float] = {}
    for group in choices.decisions:
        for index in choices.allowed[group[0]]:
            candidate = choices.candidates[index]
            bits = bits_of(candidate)
            if bits >= FULL:
                continue
            path = tuple(name_of(candidate) if stage in group else own for stage, own in enumerate(reference))
            if path not in full:
                full[path] = loss(BitPath(path, (FULL,) * plain.stages))
            own = tuple(bits if stage in group else FULL for stage in range(plain.stages))
            rises[group[0], candidate] = loss(BitPath(path, own)) - full[path]
    return rises
