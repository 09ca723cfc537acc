"""Tasks whose examples come as train, val and test, which is how benchmarks are handed out. Knows no benchmark.

Train is halved into weights and alphas, val becomes the validation split. What occurs twice is dropped on the
training side, never from test.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.dataset import Examples, Splits, drop_repeated, halves
from manticore.tasks.heuristics import Feature
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary

PARTS = ("train", "val", "test")

TWICE = "examples that occur twice are dropped from train and val"
"""What one should know about the sizes of parts that are read."""

T = TypeVar("T")


@dataclass(frozen=True)
class TrainValTest:
    """Train, val and test as a benchmark divides them."""

    train: Examples
    val: Examples
    test: Examples

    def distinct(self, what: str) -> TrainValTest:
        """The same without what occurs twice; what is dropped is logged under the name `what`.

        Raises ManticoreError if nothing is left of a part.
        """
        train, val = drop_repeated(what, self.train, self.val, self.test)
        return TrainValTest(train, val, self.test)


Source = Callable[[], TrainValTest]


class SplitTask(Task):
    """Examples from a source of three parts.

    Args:
        name, vocabulary, label_names, max_length, cues, settings, rewrites, sizes: see `Task`.
        source: makes the parts when they are first needed.
        seed: seed of the division of train into weights and alphas.
        words: where the examples come from, for `describe`.
    """

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        label_names: Iterable[str],
        max_length: int,
        source: Source,
        seed: int,
        words: str,
        cues: Mapping[str, Feature] | None = None,
        settings: Mapping[str, object] | None = None,
        rewrites: Iterable[tuple[str, str]] = (),
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(name, vocabulary, label_names, max_length, cues, rewrites, settings, sizes)
        self._source = source
        self._seed = seed
        self._words = words

    def build(self) -> Splits:
        parts = self._source()
        weights, alphas = halves(parts.train, self._seed)
        return Splits(train=weights, train_arch=alphas, val=parts.val, test=parts.test)

    def origin(self) -> str:
        return self._words


def find_splits(folder: Path, names: Mapping[str, str], inside: Sequence[str]) -> dict[str, Path]:
    """Each part's file, in the first place inside `folder` that has any of them. Raises BadFile if one is missing."""
    for below in (*inside, "."):
        paths = {part: folder / below / name for part, name in names.items()}
        if any(path.is_file() for path in paths.values()):
            break
    for path in paths.values():
        if not path.is_file():
            raise BadFile(path, f"no such file; expected {', '.join(names.values())} there")
    return paths


def refuse_shape(options: TaskOptions) -> None:
    """Raises ManticoreError if an option is given that shapes ListOps and nothing else."""
    given = [field for field in ("min_length", "max_length", "max_depth", "max_args") if getattr(options, field)]
    if given:
        raise ManticoreError(
            f"task '{options.bare_name}' takes no {', '.join(given)}; its settings go after '@' in its name"
        )


def number(options: TaskOptions, key: str, usual: int, allowed: Collection[int]) -> int:
    """A setting that is a whole number. Raises ManticoreError if it is none of those allowed."""
    given = options.settings.get(key, str(usual))
    if not given.isdecimal() or int(given) not in allowed:
        words = f"{min(allowed)} to {max(allowed)}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
        raise ManticoreError(f"'{key}' of {options.bare_name} must be {words}, got {given}")
    return int(given)


def with_settings(options: TaskOptions, official: Mapping[str, object], held: Mapping[str, object]) -> str:
    """The name results go by: the task's, and after `@` every setting in which it is not the benchmark's own."""
    own = ",".join(f"{key}={value}" for key, value in held.items() if value != official[key])
    return f"{options.bare_name}@{own}" if own else options.bare_name


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """The items in an order that looks at the seed and their number only."""
    return [items[index] for index in np.random.default_rng(seed).permutation(len(items)).tolist()]


def first(items: Sequence[T], wanted: int | None, part: str, where: str) -> Sequence[T]:
    """The first `wanted` items, or all. Raises ManticoreError if there are fewer, or none at all."""
    if len(items) < (wanted or 1):
        raise ManticoreError(f"{where}: {wanted or 1} {part} examples are asked for, found {len(items)}")
    return items[:wanted]
