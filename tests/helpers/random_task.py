"""A task of random sequences and labels that the pico models of `search_module` read."""

from __future__ import annotations

import random

from manticore.tasks.options import TaskOptions
from manticore.tasks.sampled import SampledTask
from manticore.tasks.vocabulary import Vocabulary
from tests.helpers.search_module import LABELS

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def random_task() -> SampledTask:
    """Sequences of 3 to 9 letters with one of the labels of the pico supernet."""

    def draw(rng: random.Random) -> tuple[list[str], int]:
        return rng.choices(LETTERS, k=rng.randint(3, 9)), rng.randrange(LABELS)

    sizes = {"train": 80, "val": 20, "test": 20}
    labels = tuple(f"label {index}" for index in range(LABELS))
    return SampledTask("random", Vocabulary.of(LETTERS), labels, 10, draw, TaskOptions("random"), sizes)
