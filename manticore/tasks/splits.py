"""Tasks whose examples come as train, validation and test split, as benchmarks are published.

Train is halved into the splits `train` and `train_arch`. Duplicates are dropped from train and validation, never from
test.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from manticore.errors import ManticoreError
from manticore.tasks.data_files import is_stored, stored_file
from manticore.tasks.dataset import Examples, Splits, drop_duplicates, drop_seen, halves
from manticore.tasks.heuristics import Feature
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary

log = logging.getLogger("manticore.tasks")

SPLIT_NAMES = ("train", "val", "test")

TRAIN_ARCH = "train_arch"
"""The split that architecture weights are trained on; half of train if the data has none."""

VAL_NAMES = ("val", "valid", "validation", "dev")
"""First words of the names of validation files."""

DUPLICATES_NOTE = "examples that occur twice are dropped from train and val"
"""Note on splits that are smaller than their files."""

T = TypeVar("T")


@dataclass(frozen=True)
class TrainValTest:
    """The three splits of a benchmark, and `train_arch` if the data has one."""

    train: Examples
    val: Examples
    test: Examples
    train_arch: Examples | None = None

    def without_duplicates(self, source: str) -> TrainValTest:
        """The same without duplicates, whose number is logged with the name `source`.

        Raises ManticoreError if a split becomes empty.
        """
        train, val = drop_duplicates(source, self.train, self.val, self.test)
        if self.train_arch is None:
            return TrainValTest(train, val, self.test)
        seen = {fingerprint for split in (train, val, self.test) for fingerprint in split.fingerprints()}
        return TrainValTest(train, val, self.test, drop_seen(seen, f"{source} examples", TRAIN_ARCH, self.train_arch))


Loader = Callable[[], TrainValTest]


class SplitTask(Task):
    """A task with three splits that are read or generated when they are first needed.

    Args:
        name, vocabulary, label_names, max_length, features, settings, replacements, sizes: see `Task`.
        load: returns the three splits; called when they are first needed.
        seed: seed of the halves of train.
        origin: where the examples come from; see `Task.origin`.
    """

    def __init__(
        self,
        name: str,
        vocabulary: Vocabulary,
        label_names: Iterable[str],
        max_length: int,
        load: Loader,
        seed: int,
        origin: str,
        features: Mapping[str, Feature] | None = None,
        settings: Mapping[str, object] | None = None,
        replacements: Iterable[tuple[str, str]] = (),
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(name, vocabulary, label_names, max_length, features, replacements, settings, sizes)
        self._load = load
        self._seed = seed
        self._origin = origin

    def build(self) -> Splits:
        splits = self._load()
        if splits.train_arch is None:
            train, train_arch = halves(splits.train, self._seed)
        else:
            train, train_arch = splits.train, splits.train_arch
        return Splits(train=train, train_arch=train_arch, val=splits.val, test=splits.test)

    def origin(self) -> str:
        return self._origin


def split_of_name(name: str) -> str:
    """The split by the first word of the name of a file or a split, such as `val` for `dev.jsonl`; empty if none."""
    lower = name.lower()
    if lower.startswith(("train_arch", "train-arch")):
        return TRAIN_ARCH
    word = re.split(r"[-_.\d]", lower, maxsplit=1)[0]
    return "val" if word in VAL_NAMES else word if word in SPLIT_NAMES else ""


def find_split_files(folder: Path, names: Mapping[str, str], subfolders: Sequence[str]) -> dict[str, Path]:
    """The file of each split, in the first subfolder that has any, or in `folder`; with .xz or .gz if compressed.

    Raises BadFile for a missing file, or one that is no regular file.

    Args:
        folder: the folder to search.
        names: file names by split.
        subfolders: paths below `folder`, in the order in which they are searched.
    """
    for subfolder in (*subfolders, "."):
        paths = {split: folder / subfolder / name for split, name in names.items()}
        if any(is_stored(path) for path in paths.values()):
            break
    hint = f"; expected {', '.join(names.values())} there"
    return {split: stored_file(path, hint) for split, path in paths.items()}


def drop_equal(splits: Mapping[str, Sequence[T]], key: Callable[[T], Hashable], source: str) -> dict[str, list[T]]:
    """The splits, by name, without what is equal by `key` within them or across them; test keeps all of its items.

    The numbers of dropped items are logged with the name `source`. Raises ManticoreError if a split becomes empty.
    """
    seen = {key(item) for item in splits["test"]}
    kept = {"test": list(splits["test"])}
    for name in (name for name in ("val", "train", TRAIN_ARCH) if name in splits):
        kept[name] = []
        for item in splits[name]:
            if (value := key(item)) not in seen:
                seen.add(value)
                kept[name].append(item)
        if dropped := len(splits[name]) - len(kept[name]):
            if not kept[name]:
                raise ManticoreError(f"all {dropped} {source} of {name} also occur in the splits it must not overlap")
            log.warning("dropped %d of %d %s from %s: duplicates", dropped, len(splits[name]), source, name)
    return kept


def shuffled(items: Sequence[T], seed: int) -> list[T]:
    """The items in a random order that depends on the seed and their number."""
    return [items[index] for index in np.random.default_rng(seed).permutation(len(items)).tolist()]


def take_first(items: Sequence[T], count: int | None, split: str, source: str) -> Sequence[T]:
    """The first `count` items, or all. Raises ManticoreError if there are fewer, or none."""
    if len(items) < (count or 1):
        raise ManticoreError(f"{source}: {count or 1} {split} examples are requested, found {len(items)}")
    return items[:count]
