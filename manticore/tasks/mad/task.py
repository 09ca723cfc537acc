"""A MAD task, generated or read from files: the four splits of a puzzle.

Its name has every setting that differs from the benchmark's baseline: `mad-in-context-recall@seq_len=32`. The splits
train and train_arch have the targets of training; val and test have those of a test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError
from manticore.tasks.cache import cached_arrays
from manticore.tasks.dataset import Examples
from manticore.tasks.heuristics import Feature
from manticore.tasks.info import TaskInfo
from manticore.tasks.mad.files import InputsTargets, find_folders, folder_name, read_name, read_split, write_splits
from manticore.tasks.mad.puzzle import Puzzle
from manticore.tasks.options import TaskOptions, choose_preset, format_settings, name_with_settings
from manticore.tasks.splits import SPLIT_NAMES, Loader, SplitTask, TrainValTest
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.arrays import Arrays
from manticore.utils.fields import field_helps
from manticore.utils.io import cache_folder

DATA_VERSION = 1
"""Version of the generated data; incremented when the data changes, to invalidate cached files."""

TEST_EXAMPLES = 1_280
"""Number of test examples of the benchmark, and of validation examples, of which the benchmark has none."""

ROWS = 1_024
"""Number of sequences that are drawn at once; the first ones are the same for any number of examples."""

DRAWS_PER_EXAMPLE = 50

FILES = (
    "one folder t-{code}_vs-..._sl-..., or several of them, with train/, test/ and, if there is one, val/, each with "
    "inputs.npy and targets.npy, as https://github.com/athms/mad-lab writes them, or: manticore data {name} --out DIR"
)
"""The files that a task can be read from."""


@dataclass(frozen=True)
class MadFamily:
    """A MAD task with all its settings.

    Attributes:
        name: name of the task.
        code: short name of the task in MAD's folders.
        paper: the benchmark's baseline.
        cpu: settings that a small model learns in minutes on a CPU.
        sweep: by setting, the values that the benchmark tries, all other settings being those of the baseline.
        features: see `Task`.
    """

    name: str
    code: str
    paper: Puzzle
    cpu: Puzzle
    sweep: Mapping[str, Sequence[int | float]]
    features: Mapping[str, Feature] = field(default_factory=dict)


class MadTask(SplitTask):
    """A MAD task at some settings.

    Args:
        family: the task.
        puzzle: its settings.
        load: see `SplitTask`.
        seed: seed of the examples and of the halves of train.
        source: where the examples come from, without the settings.
        sizes: see `Task`.
    """

    def __init__(
        self,
        family: MadFamily,
        puzzle: Puzzle,
        load: Loader,
        seed: int,
        source: str,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        vocabulary, settings = Vocabulary.plain(puzzle.vocab_size), asdict(puzzle)
        super().__init__(
            name_with_settings(family.name, settings, asdict(family.paper)),
            vocabulary,
            label_names=vocabulary.tokens,
            max_length=puzzle.length,
            load=load,
            seed=seed,
            origin=f"{source}: {format_settings(settings)}{puzzle.remark}",
            features=family.features,
            settings=settings,
            sizes=sizes,
        )
        self.kind = puzzle.kind
        self.files = FILES.format(code=family.code, name=family.name)
        self._family, self._puzzle, self._examples_origin = family, puzzle, source

    def info(self) -> TaskInfo:
        """The description of the task without examples, with the settings, their meaning and the benchmark's values."""
        return replace(
            super().info(),
            origin=self._examples_origin + self._puzzle.remark,
            setting_help=field_helps(type(self._puzzle)),
            sweep=self._family.sweep,
        )

    def shorter_settings(self) -> dict[str, object]:
        own = asdict(self._puzzle)
        return {key: value for key, value in asdict(self._puzzle.shorter()).items() if value != own[key]}

    def write(self, folder: Path) -> list[Path]:
        loaded = self._load()
        splits = {name: _unpack(getattr(loaded, name), self.max_length) for name in SPLIT_NAMES}
        name = folder_name(self._family.code, self._puzzle, len(splits["test"][0]), self._seed)
        return write_splits(folder, name, splits)


def mad_task(family: MadFamily, options: TaskOptions) -> MadTask:
    """The task from MAD's files in `options.data_dir`, or generated if there is none.

    Raises ManticoreError (or BadFile) for settings that contradict each other and for files that are not the task's.
    """
    if "train" in options.settings and options.train is not None and options.settings["train"] != str(options.train):
        raise ManticoreError(f"train is {options.train} and, after @, {options.settings['train']}; give one of them")
    return generated(family, options) if options.data_dir is None else from_files(family, options)


def generated(family: MadFamily, options: TaskOptions) -> MadTask:
    """The task at the settings of the preset and the options."""
    preset = {"paper": family.paper, "cpu": family.cpu}[choose_preset(options.preset)[0]]
    puzzle = preset.with_settings(options.settings, family.name)
    puzzle = replace(puzzle, train=options.train or puzzle.train)
    sizes = {
        "train": puzzle.train,
        "val": options.val or TEST_EXAMPLES,
        "test": options.test or TEST_EXAMPLES,
    }

    def load() -> TrainValTest:
        parameters = {**asdict(puzzle), **sizes, "seed": options.seed, "version": DATA_VERSION}
        generate = partial(draw_splits, puzzle, sizes, options.seed)
        full = cached_arrays(cache_folder(options.cache_dir), family.name, parameters, generate)
        pairs = {
            split: puzzle.inputs_and_targets(full[split].astype(np.int64), split == "train") for split in SPLIT_NAMES
        }
        return TrainValTest(**{split: _pack(pair) for split, pair in pairs.items()})

    return MadTask(family, puzzle, load, options.seed, f"drawn with seed {options.seed}", sizes)


def draw_splits(puzzle: Puzzle, sizes: Mapping[str, int], seed: int) -> Arrays:
    """Full sequences (N, S) of each split; no two have the same input.

    Each split has its own random stream. Test is drawn first and train last, so that test is the same for any number of
    training examples. Raises ManticoreError if there are too few distinct sequences.
    """
    seen: set[bytes] = set()
    splits = {}
    for split in reversed(SPLIT_NAMES):
        rng = np.random.default_rng([seed, SPLIT_NAMES.index(split)])
        splits[split] = _draw_distinct(puzzle, rng, sizes[split], split == "train", seen)
    return splits


def _draw_distinct(
    puzzle: Puzzle, rng: np.random.Generator, count: int, training: bool, seen: set[bytes]
) -> NDArray[np.uint16]:
    """`count` full sequences whose inputs are not in `seen`; they are added to it."""
    kept: list[NDArray[np.uint16]] = []
    for _ in range(DRAWS_PER_EXAMPLE * count // ROWS + DRAWS_PER_EXAMPLE):
        for full_S in puzzle.draw(rng, ROWS, training).astype(np.uint16):
            ids = full_S[: puzzle.length].tobytes()
            if ids not in seen:
                seen.add(ids)
                kept.append(full_S)
            if len(kept) == count:
                return np.stack(kept)
    settings = format_settings(asdict(puzzle))
    raise ManticoreError(f"too few distinct sequences with {settings}: found {len(seen)}; ask for fewer")


def from_files(family: MadFamily, options: TaskOptions) -> MadTask:
    """The task from MAD's files, which are read and checked now.

    The release has no validation split. Without one, the end of train is used, with the targets of a test.
    """
    folder, puzzle = _find(family, options)
    settings = family.paper.with_settings(options.settings, family.name)
    limit = options.train or (settings.train if "train" in options.settings else None)
    test = read_split(folder / "test", puzzle, training=False, limit=options.test)
    if (folder / "val").is_dir():
        train = read_split(folder / "train", puzzle, training=True, limit=limit)
        val = read_split(folder / "val", puzzle, training=False, limit=options.val)
        source = f"read from {folder}"
    else:
        train = read_split(folder / "train", puzzle, training=True)
        train, val = _hold_out(folder, puzzle, train, options.val or min(len(test[0]), len(train[0]) // 10), limit)
        source = f"read from {folder}, val from the end of train"
    splits = TrainValTest(_pack(train), _pack(val), _pack(test)).without_duplicates(family.name)
    puzzle = replace(puzzle, train=len(splits.train))
    return MadTask(family, puzzle, lambda: splits, options.seed, source)


def _find(family: MadFamily, options: TaskOptions) -> tuple[Path, Puzzle]:
    """The one folder with the settings of the options, and all its settings."""
    data_dir = options.data_folder
    required = {key: value for key, value in options.settings.items() if key != "train"}
    matches = {}
    for folder in find_folders(data_dir, family.code):
        named = {key: value for key, value in read_name(folder.name).items() if key in asdict(family.paper)}
        puzzle = family.paper.with_settings({**required, **named}, family.name)
        if puzzle.with_settings(required, family.name) == puzzle:
            matches[folder] = puzzle
    if len(matches) != 1:
        names = ", ".join(folder.name for folder in matches) or "none of them has it"
        raise ManticoreError(f"{data_dir}: expected one folder of {options.name}, found {len(matches)} ({names})")
    return matches.popitem()


def _hold_out(
    folder: Path, puzzle: Puzzle, train: InputsTargets, count: int, limit: int | None
) -> tuple[InputsTargets, InputsTargets]:
    """Train without its last `count` examples, and these with the targets of a test."""
    left = len(train[0]) - count
    if count < 1 or left < (limit or 2):
        raise ManticoreError(f"{folder} has no val, and {len(train[0])} training examples are too few to spare {count}")
    inputs_NL, targets_NL = train
    kept = slice(limit or left)
    full_NS = puzzle.full_sequences(inputs_NL[left:], targets_NL[left:])
    val = puzzle.inputs_and_targets(full_NS, training=False)
    return (inputs_NL[:left][kept], targets_NL[:left][kept]), val


def _pack(pair: InputsTargets) -> Examples:
    inputs_NL, targets_NL = pair
    return Examples.from_arrays(inputs_NL.astype(np.uint16), targets_NL.astype(np.int16))


def _unpack(examples: Examples, length: int) -> InputsTargets:
    shape = (len(examples), length)
    return examples.flat.astype(np.int64).reshape(shape), examples.labels.astype(np.int64).reshape(shape)
