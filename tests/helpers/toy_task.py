"""A task of a user's own, small enough to be searched in a second."""

from __future__ import annotations

import random
from typing import Any

from manticore.tasks.options import TaskOptions
from manticore.tasks.sampled import SampledTask
from manticore.tasks.vocabulary import Vocabulary

NAME = "which-end"

QUICK: dict[str, Any] = {
    "scratch": {
        "attention": {"width": 16, "layers": 2, "heads": 2},
        "recurrent": {"width": 12, "layers": 3, "state_size": 4},
    },
    "search": {"steps": 6, "warmup_steps": 2, "batch_size": 4},
    "finetune": {"steps": 3, "batch_size": 4},
    "run": {"checkpoint_every": 2, "log_every": 1, "device": "cpu"},
}


def which_end(options: TaskOptions) -> SampledTask:
    """Is the first letter the last?"""

    def draw(rng: random.Random) -> tuple[list[str], int]:
        letters = rng.choices("abcdef", k=rng.randint(4, 9))
        return letters, int(letters[0] == letters[-1])

    sizes = {"train": 120, "val": 30, "test": 30}
    return SampledTask(NAME, Vocabulary.of("abcdef"), ("no", "yes"), 10, draw, options, sizes)
