"""A MAD task from either source, drawn or read: four splits of a puzzle. Knows no particular puzzle.

Its name tells what differs from the benchmark's own setting: `mad-in-context-recall@seq_len=32` is one of 32 tokens.
Weights and alphas have the targets of training; choice and test what a test asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError
from manticore.tasks.cache import Arrays, cached_arrays
from manticore.tasks.dataset import Examples, Splits, drop_repeated, halves
from manticore.tasks.heuristics import Feature
from manticore.tasks.info import TaskInfo
from manticore.tasks.mad.files import PARTS, Posed, find_folders, folder_name, read_name, read_part, write_parts
from manticore.tasks.mad.puzzle import Puzzle, told
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.fields import field_helps
from manticore.utils.io import cache_folder

# Raised whenever the same settings come to mean other data, so that no cache made before is believed.
DATA_VERSION = 1

TESTS = 1_280
"""Test examples, as the benchmark has them, and validation examples, of which it has none."""

ROWS = 1_024
"""Sequences that are drawn at once. The first so many are the same however many are wanted."""

DRAWS_PER_EXAMPLE = 50

FILES = (
    "one folder t-{code}_vs-..._sl-..., or several of them, with train/, test/ and, if there is one, val/, each with "
    "inputs.npy and targets.npy, as https://github.com/athms/mad-lab writes them, or: manticore data {name} --out DIR"
)
"""What files a task can be read from."""


@dataclass(frozen=True)
class MadFamily:
    """A MAD task at all its settings.

    Attributes:
        name: as results are filed under.
        code: as MAD's folders are called.
        paper: the benchmark's baseline.
        cpu: what a small model learns in minutes on a processor.
        sweep: by setting, the values that the benchmark tries with all others as in the baseline.
        cues: see `Task`.
    """

    name: str
    code: str
    paper: Puzzle
    cpu: Puzzle
    sweep: Mapping[str, Sequence[int | float]]
    cues: Mapping[str, Feature] = field(default_factory=dict)

    def name_of(self, puzzle: Puzzle) -> str:
        """The name with every setting that is not the baseline's."""
        baseline = asdict(self.paper)
        other = {key: value for key, value in asdict(puzzle).items() if value != baseline[key]}
        return f"{self.name}@{told(other)}" if other else self.name


MadSplits = dict[str, Examples]


class MadTask(Task):
    """A puzzle's four splits.

    Args:
        family: the task.
        puzzle: its settings.
        source: makes train, val and test when they are first needed.
        seed: seed of the division of train into weights and alphas.
        words: where the examples come from.
        sizes: see `Task`.
    """

    def __init__(
        self,
        family: MadFamily,
        puzzle: Puzzle,
        source: Callable[[], MadSplits],
        seed: int,
        words: str,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        vocabulary = Vocabulary.plain(puzzle.vocab_size)
        super().__init__(
            family.name_of(puzzle),
            vocabulary,
            label_names=vocabulary.tokens,
            max_length=puzzle.length,
            cues=family.cues,
            settings=asdict(puzzle),
            sizes=sizes,
        )
        self.kind = puzzle.kind
        self.files = FILES.format(code=family.code, name=family.name)
        self._family, self._puzzle, self._source, self._seed, self._words = family, puzzle, source, seed, words

    def build(self) -> Splits:
        parts = self._source()
        weights, alphas = halves(parts["train"], self._seed)
        return Splits(train=weights, train_arch=alphas, val=parts["val"], test=parts["test"])

    def sheet(self) -> TaskInfo:
        """What is known without examples, with what settings mean and which of their values the benchmark tries."""
        helps, origin = field_helps(type(self._puzzle)), self._words + self._puzzle.remark
        return replace(super().sheet(), origin=origin, helps=helps, sweep=self._family.sweep)

    def origin(self) -> str:
        return f"{self._words}: {told(self.settings)}{self._puzzle.remark}"

    def write(self, folder: Path) -> list[Path]:
        parts = {part: _unpack(examples, self.max_length) for part, examples in self._source().items()}
        name = folder_name(self._family.code, self._puzzle, len(parts["test"][0]), self._seed)
        return write_parts(folder, name, parts)


def mad_task(family: MadFamily, options: TaskOptions) -> MadTask:
    """The task from MAD's files in `options.data_dir`, or drawn where none is given.

    Raises ManticoreError (or BadFile) for settings that contradict each other and for files that are not the task's.
    """
    donor = [key for key in ("min_length", "max_length", "max_depth", "max_args") if getattr(options, key) is not None]
    if donor:
        known = ", ".join(asdict(family.paper))
        raise ManticoreError(f"{', '.join(donor)} is no option of {family.name}; set after @: {known}")
    if "train" in options.settings and options.train is not None and options.settings["train"] != str(options.train):
        raise ManticoreError(f"train is {options.train} and, after @, {options.settings['train']}; give one of them")
    return drawn(family, options) if options.data_dir is None else from_files(family, options)


def drawn(family: MadFamily, options: TaskOptions) -> MadTask:
    """The task at the preset's settings, except where the options say otherwise."""
    preset = {"paper": family.paper, "cpu": family.cpu}[choose_preset(options.preset)[0]]
    puzzle = preset.reset(options.settings, family.name)
    puzzle = replace(puzzle, train=options.train or puzzle.train)
    sizes = {"train": puzzle.train, "val": options.val or TESTS, "test": options.test or TESTS}

    def source() -> MadSplits:
        parameters = {**asdict(puzzle), **sizes, "seed": options.seed, "version": DATA_VERSION}
        make = partial(draw_parts, puzzle, sizes, options.seed)
        held = cached_arrays(cache_folder(options.cache_dir), family.name, parameters, make)
        return {part: _pack(puzzle.pose(held[part].astype(np.int64), part == "train")) for part in PARTS}

    return MadTask(family, puzzle, source, options.seed, f"drawn with seed {options.seed}", sizes)


def draw_parts(puzzle: Puzzle, sizes: Mapping[str, int], seed: int) -> Arrays:
    """Whole sequences (N, S) of each part, no input twice.

    Parts are drawn from streams of their own, those farther from training first, so that tests are the same however
    much there is to train on. Raises ManticoreError if there are too few sequences.
    """
    held: set[bytes] = set()
    parts = {}
    for part in reversed(PARTS):
        rng = np.random.default_rng([seed, PARTS.index(part)])
        parts[part] = _distinct(puzzle, rng, sizes[part], part == "train", held)
    return parts


def _distinct(
    puzzle: Puzzle, rng: np.random.Generator, wanted: int, training: bool, held: set[bytes]
) -> NDArray[np.uint16]:
    """`wanted` whole sequences whose inputs are not in `held`, which grows by them."""
    kept: list[NDArray[np.uint16]] = []
    for _ in range(DRAWS_PER_EXAMPLE * wanted // ROWS + DRAWS_PER_EXAMPLE):
        for whole_S in puzzle.draw(rng, ROWS, training).astype(np.uint16):
            seen = whole_S[: puzzle.length].tobytes()
            if seen not in held:
                held.add(seen)
                kept.append(whole_S)
            if len(kept) == wanted:
                return np.stack(kept)
    raise ManticoreError(f"too few distinct sequences with {told(asdict(puzzle))}: found {len(held)}; ask for fewer")


def from_files(family: MadFamily, options: TaskOptions) -> MadTask:
    """The task from MAD's files, read and checked at once.

    The release has no part to choose models on: without one, that is the end of train, with what a test asks for.
    """
    folder, puzzle = _find(family, options)
    given = family.paper.reset(options.settings, family.name).train if "train" in options.settings else None
    limit = options.train or given
    test = read_part(folder / "test", puzzle, training=False, limit=options.test)
    if (folder / "val").is_dir():
        train = read_part(folder / "train", puzzle, training=True, limit=limit)
        val = read_part(folder / "val", puzzle, training=False, limit=options.val)
        words = f"read from {folder}"
    else:
        train = read_part(folder / "train", puzzle, training=True)
        train, val = _held_out(folder, puzzle, train, options.val or min(len(test[0]), len(train[0]) // 10), limit)
        words = f"read from {folder}, choice from the end of train"
    parts = {"test": _pack(test)}
    parts["train"], parts["val"] = drop_repeated(family.name, _pack(train), _pack(val), parts["test"])
    puzzle = replace(puzzle, train=len(parts["train"]))
    return MadTask(family, puzzle, lambda: parts, options.seed, words)


def _find(family: MadFamily, options: TaskOptions) -> tuple[Path, Puzzle]:
    """The one folder that has what the options ask for, and the settings of what it holds."""
    inside = Path(str(options.data_dir)).expanduser()
    wanted = {key: value for key, value in options.settings.items() if key != "train"}
    found = {}
    for folder in find_folders(inside, family.code):
        told_there = {key: value for key, value in read_name(folder.name).items() if key in asdict(family.paper)}
        puzzle = family.paper.reset({**wanted, **told_there}, family.name)
        if puzzle.reset(wanted, family.name) == puzzle:
            found[folder] = puzzle
    if len(found) != 1:
        names = ", ".join(folder.name for folder in found) or "none of them has it"
        raise ManticoreError(f"{inside}: expected one folder of {options.name}, found {len(found)} ({names})")
    return found.popitem()


def _held_out(folder: Path, puzzle: Puzzle, train: Posed, wanted: int, limit: int | None) -> tuple[Posed, Posed]:
    """Train without its last examples, and those as a test poses them."""
    left = len(train[0]) - wanted
    if wanted < 1 or left < (limit or 2):
        raise ManticoreError(
            f"{folder} has no val, and {len(train[0])} training examples are too few to spare {wanted}"
        )
    inputs_NL, targets_NL = train
    kept = slice(limit or left)
    val = puzzle.pose(puzzle.whole(inputs_NL[left:], targets_NL[left:]), training=False)
    return (inputs_NL[:left][kept], targets_NL[:left][kept]), val


def _pack(posed: Posed) -> Examples:
    inputs_NL, targets_NL = posed
    return Examples.grid(inputs_NL.astype(np.uint16), targets_NL.astype(np.int16))


def _unpack(examples: Examples, length: int) -> Posed:
    shape = (len(examples), length)
    return examples.flat.astype(np.int64).reshape(shape), examples.labels.astype(np.int64).reshape(shape)
