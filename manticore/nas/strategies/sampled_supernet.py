"""Supernets of sampled paths: weight steps train single paths, and no alphas. What differs is how paths are drawn.

The path is then selected by validation losses with the shared weights (`selection.selector=evaluated`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch

from manticore.nas.choices import Choices
from manticore.nas.strategies.base import Losses, Search, Strategy, check_single_paths, strategies
from manticore.tasks.dataset import Batch
from manticore.utils.rng import random_source

if TYPE_CHECKING:
    from manticore.nas.searchable import Searchable

Paths = Sequence[Sequence[str] | None]
"""Paths of one step; None stands for the mixture."""


def step_source() -> random.Random:
    """A source of random paths for one step, the same in all processes that train together; see `random_source`."""
    return random.Random(int(torch.randint(2**31, (), generator=random_source(torch.device("cpu")))))


class SampledSupernet(Strategy):
    """Trains paths of a supernet, drawn anew for every step; the gradients of the paths of a step are averaged."""

    streams: ClassVar[dict[str, tuple[str, ...]]] = {"weights": ("train", "train_arch")}
    selector: ClassVar[str] = "evaluated"

    def check(self, net: Searchable) -> None:
        check_single_paths(self, net)

    def step(self, search: Search, batches: dict[str, Batch]) -> Losses:
        paths = self.draw(search.net.choices, step_source())
        return {"loss": search.weight_step(batches["weights"], paths=paths)}

    def draw(self, choices: Choices, rng: random.Random) -> Paths:
        """The paths of one step."""
        raise NotImplementedError


@strategies.register("uniform")
class Uniform(SampledSupernet):
    """One path, each choice drawn uniformly (SPOS, arXiv 1904.00420)."""

    def draw(self, choices: Choices, rng: random.Random) -> Paths:
        return [choices.random_path(rng)]


@strategies.register("fair")
class Fair(SampledSupernet):
    """K paths in which every candidate runs every stage once (FairNAS, arXiv 1907.01845)."""

    def draw(self, choices: Choices, rng: random.Random) -> Paths:
        most = max(map(len, choices.allowed))
        orders = []
        for group in choices.decisions:
            allowed = choices.allowed[group[0]]
            order = rng.sample(allowed, len(allowed))
            orders.append([order[number % len(order)] for number in range(most)])
        return [[choices.candidates[index] for index in choices.expand(chosen)] for chosen in zip(*orders, strict=True)]


@strategies.register("full-layout")
class FullLayout(SampledSupernet):
    """One path, every composition of candidates being equally likely, so that paths of one candidate are trained too.

    How often each of K candidates occurs among S choices is drawn by stars and bars: K - 1 bars without replacement
    from S + K - 1 positions.
    """

    def draw(self, choices: Choices, rng: random.Random) -> Paths:
        count, free = len(choices.candidates), len(choices.decisions)
        bars = sorted(rng.sample(range(free + count - 1), count - 1))
        ends = [-1, *bars, free + count - 1]
        layout = [k for k in range(count) for _ in range(ends[k + 1] - ends[k] - 1)]
        rng.shuffle(layout)
        chosen = []
        for group, index in zip(choices.decisions, layout, strict=True):
            allowed = choices.allowed[group[0]]
            chosen.append(index if index in allowed else rng.choice(allowed))
        return [[choices.candidates[index] for index in choices.expand(chosen)]]


@strategies.register("sandwich")
class Sandwich(SampledSupernet):
    """The mixture and two uniform paths (after the sandwich rule of slimmable networks, arXiv 1903.05134)."""

    def draw(self, choices: Choices, rng: random.Random) -> Paths:
        return [None, choices.random_path(rng), choices.random_path(rng)]
