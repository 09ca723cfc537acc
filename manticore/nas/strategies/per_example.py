"""A supernet of sampled paths with a path of its own for each example of a batch (ViT-ResNAS, arXiv 2109.00642).

    L = 1 / N  sum_i L(x_i, z_i),   z_i drawn uniformly for every example i.

In one step as many paths are trained as there are examples, so the gradient depends less on the drawn paths than with
one path for the whole batch. At each stage the examples with the same candidate run together, so a step has as many
operations as a step of one path, in smaller batches. Modules that compute statistics over a batch see these smaller
batches.
"""

from __future__ import annotations

import random
from typing import ClassVar

import torch

from manticore.nas.choices import Choices
from manticore.nas.strategies.base import Losses, Search, strategies
from manticore.nas.strategies.sampled_supernet import Paths, SampledSupernet, step_source
from manticore.tasks.dataset import Batch


@strategies.register("per-example")
class PerExample(SampledSupernet):
    """A path for each example, each choice drawn uniformly."""

    runs_sharded: ClassVar[bool] = False

    def step(self, search: Search, batches: dict[str, Batch]) -> Losses:
        batch, choices = batches["weights"], search.net.choices
        rng = step_source()
        paths = [path for _ in range(search.num_examples(batch)) for path in self.draw(choices, rng)]
        chosen = [[choices.candidates.index(name) for name in path or ()] for path in paths]
        return {"loss": search.example_step(batch, torch.tensor(chosen, device=batch["labels"].device))}

    def draw(self, choices: Choices, rng: random.Random) -> Paths:
        return [choices.random_path(rng)]
