"""Supernets of sampled paths that are drawn by complexity, the less trained ones more often.

Uniform choices concentrate on paths of medium complexity. After ShiftNAS (arXiv 2307.08300) a step first draws one of B
intervals of equal width of the operations that a path takes, then a path in it. The probability of an interval grows
with the rate at which its training loss still falls. With a fast and a slow running mean of the losses of the paths of
interval b,

    u_b = max(0, slow_b - fast_b),   p_b = (1 - floor) u_b / sum u + floor / B,

and p_b = 1 / B as long as no loss falls. In the paper a generator that is trained together with the supernet draws the
paths of a complexity; here they are listed, or those of a sample in a space of more than `MAX_PATHS`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from manticore.nas.choices import Choices, PathNames, skips_all
from manticore.nas.strategies.base import Losses, Search, strategies
from manticore.nas.strategies.sampled_supernet import SampledSupernet, step_source
from manticore.tasks.dataset import Batch
from manticore.utils.fields import Checked, ClosedUnitInterval, PositiveInt

MAX_PATHS = 1024
"""Largest number of paths that are sorted by their operations."""

FAST, SLOW = 0.8, 0.95
"""Decay rates of the fast and the slow running mean of an interval's losses."""

FIRST_VISITS = 2
"""Number of steps of each interval before the losses are compared."""


@strategies.register("complexity-bins")
@dataclass(frozen=True)
class ComplexityBins(SampledSupernet, Checked):
    """One path, from an interval of complexity that is drawn by the rate at which its loss still falls."""

    bins: PositiveInt = 4
    """Number of intervals B; those without a path are left out."""

    floor: ClosedUnitInterval = 0.25
    """Share of the steps that are spread evenly over the intervals."""

    def step(self, search: Search, batches: dict[str, Batch]) -> Losses:
        rng = step_source()
        groups = paths_by_cost(search, self.bins)
        memory = search.memory
        for key in ("visits", "fast", "slow"):
            memory.setdefault(key, [0.0] * len(groups))
        shares = probabilities(memory["visits"], memory["fast"], memory["slow"], self.floor)
        (index,) = rng.choices(range(len(groups)), shares)
        loss = float(search.weight_step(batches["weights"], paths=[rng.choice(groups[index])]))
        for key, decay in (("fast", FAST), ("slow", SLOW)):
            first = memory["visits"][index] == 0
            memory[key][index] = loss if first else decay * memory[key][index] + (1 - decay) * loss
        memory["visits"][index] += 1
        return {"loss": loss}


def paths_by_cost(search: Search, bins: int) -> list[list[PathNames]]:
    """Paths of the network in intervals of equal width of their operations per token, from the cheapest; none empty."""
    paths = _listed(search.net.choices)
    costs = [search.path_cost(path) for path in paths]
    low, width = min(costs), (max(costs) - min(costs)) / bins
    groups: list[list[PathNames]] = [[] for _ in range(bins)]
    for path, cost in zip(paths, costs, strict=True):
        groups[min(bins - 1, int((cost - low) / width)) if width else 0].append(path)
    return [group for group in groups if group]


def _listed(choices: Choices) -> list[PathNames]:
    """All paths with a segment, or a sample that is the same for every step."""
    if choices.count <= MAX_PATHS:
        return [path for path in choices.paths() if not skips_all(path)]
    rng = random.Random(0)
    alone = [(name,) * choices.stages for name in choices.candidates if choices.has_alone(name)]
    drawn = (tuple(choices.random_path(rng)) for _ in range(2 * MAX_PATHS))
    sample = dict.fromkeys(path for path in (*alone, *drawn) if not skips_all(path))
    return list(islice(sample, MAX_PATHS))


def probabilities(visits: Sequence[float], fast: Sequence[float], slow: Sequence[float], floor: float) -> list[float]:
    """The probability of each interval; see the formula above. Intervals with too few visits come first."""
    rare = [float(count < FIRST_VISITS) for count in visits]
    if any(rare):
        return [share / sum(rare) for share in rare]
    falls = [max(0.0, late - now) for now, late in zip(fast, slow, strict=True)]
    total, count = sum(falls), len(falls)
    return [(1 - floor) * fall / total + floor / count if total else 1 / count for fall in falls]
