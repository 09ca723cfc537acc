"""The ListOps task of the Long Range Arena: nested list operations, ten classes.

Tay et al., "Long Range Arena" (arXiv 2011.04006). The model reads an expression without its parentheses, the closing
bracket as `X`, EOS at the end; the class is the value of the expression. The name of the task in results determines
which results are comparable: `lra-listops` has the official bounds, `lra-listops@short` those of the preset `cpu` (20
to 80 tokens); other bounds are settings after `@`, such as `lra-listops@max_depth=4,max_args=5`. Files with other
lengths than the presets' are `lra-listops@custom`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from manticore.errors import ManticoreError
from manticore.tasks.cache import cached_arrays
from manticore.tasks.dataset import Examples
from manticore.tasks.info import TaskInfo
from manticore.tasks.lra import ARCHIVE
from manticore.tasks.lra.listops.files import FILES, Expression, find_files, read_file, refuse_existing, write_files
from manticore.tasks.lra.listops.generate import generate
from manticore.tasks.lra.listops.grammar import CLOSE, DEEPEST, MIN_ARGS, WRITTEN, Grammar
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import Loader, SplitTask, TrainValTest
from manticore.tasks.task import tasks
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.arrays import Arrays
from manticore.utils.fields import field_helps
from manticore.utils.io import cache_folder

NAME = "lra-listops"
VOCABULARY = Vocabulary.of((*WRITTEN[:CLOSE], "X"))

DATA_VERSION = 1
"""Version of the generated data; incremented when the data changes, to invalidate cached files."""

ARRAYS = ("flat", "offsets", "labels")
"""Arrays of `Examples` that are cached."""

_FIRST_ID = VOCABULARY.ids["0"]
_TO_IDS = bytes((code + _FIRST_ID) % 256 for code in range(256))
_TO_CODES = bytes((token - _FIRST_ID) % 256 for token in range(256))
_EOS = bytes([VOCABULARY.eos])


@dataclass(frozen=True)
class ListOpsScale:
    """A grammar, the number of examples of each split, and the name of the task in results."""

    name: str
    grammar: Grammar
    train: int
    val: int
    test: int


OFFICIAL = ListOpsScale(NAME, Grammar(500, 2000, max_depth=10, max_args=10), train=96_000, val=2_000, test=2_000)
SHORT = ListOpsScale(f"{NAME}@short", Grammar(19, 81, max_depth=10, max_args=5), train=40_000, val=4_000, test=4_000)
PRESET_SCALES = {"paper": OFFICIAL, "cpu": SHORT}

ALLOWED = {
    "min_length": range(1_000_000),
    "max_length": range(2, 1_000_000),
    "max_depth": range(1, DEEPEST + 1),
    "max_args": range(MIN_ARGS, 1_000_000),
}
"""Values of the settings."""


class ListOps(SplitTask):
    """ListOps, generated (`generated`) or read from files (`from_files`).

    Args:
        name: see the module.
        max_length: largest number of tokens of an expression, EOS included.
        load, seed, origin: see `SplitTask`.
        grammar: the grammar of generated expressions; its bounds are the settings of the task.
        sizes: see `Task`.
    """

    files = (
        f"{', '.join(FILES.values())}, there or in listops-1000/, with columns Source and Target between tabs, as in "
        f"{ARCHIVE}, or as this writes them: manticore data {NAME} --out DIR"
    )

    def __init__(
        self,
        name: str,
        max_length: int,
        load: Loader,
        seed: int,
        origin: str,
        grammar: Grammar | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(
            name,
            VOCABULARY,
            label_names="0123456789",
            max_length=max_length,
            load=load,
            seed=seed,
            origin=origin,
            features={"root operator": lambda examples: examples.first_tokens},
            settings=asdict(grammar) if grammar else None,
            replacements=(("(", ""), (")", ""), ("]", "X")),
            sizes=sizes,
        )
        self._grammar = grammar

    def info(self) -> TaskInfo:
        """The description of the task without examples, with the meaning of the settings."""
        return replace(super().info(), setting_help=field_helps(Grammar))

    def shorter_settings(self) -> dict[str, object]:
        if self._grammar is None:
            return super().shorter_settings()
        shorter = self._grammar.shorter()
        return {"min_length": shorter.min_length, "max_length": shorter.max_length}

    def write(self, folder: Path) -> list[Path]:
        refuse_existing(folder)
        splits = self._load()
        return write_files(folder, {split: _unpack(getattr(splits, split)) for split in FILES})


@tasks.register(NAME)
def lra_listops(options: TaskOptions) -> ListOps:
    """What is the value of nested list operations? ListOps, such as [MAX 4 [MIN 2 3 ] 1 ], one of ten digits.

    Reads the official files in `options.data_dir`, or generates the data if there is none. Raises ManticoreError (or
    BadFile) for options that contradict each other and for files that are not ListOps.
    """
    return from_files(options) if options.data_dir is not None else generated(options)


def generated(options: TaskOptions) -> ListOps:
    """ListOps sampled from the grammar, at the scale of the preset and the options."""
    scale = scale_of(options)

    def make() -> Arrays:
        total = scale.train + scale.val + scale.test
        expressions = iter(generate(scale.grammar, total, options.seed, options.workers))
        packed = {split: _pack([next(expressions) for _ in range(getattr(scale, split))]) for split in FILES}
        return {f"{split}_{array}": getattr(packed[split], array) for split in FILES for array in ARRAYS}

    def load() -> TrainValTest:
        parameters = {**asdict(scale), "seed": options.seed, "version": DATA_VERSION}
        arrays = cached_arrays(cache_folder(options.cache_dir), NAME, parameters, make)
        return TrainValTest(*(Examples(*(arrays[f"{split}_{array}"] for array in ARRAYS)) for split in FILES))

    grammar = scale.grammar
    origin = (
        f"generated with seed {options.seed}: expressions of {grammar.min_length + 1}-{grammar.max_length - 1} tokens, "
        f"at most {grammar.max_depth} levels and {grammar.max_args} arguments"
    )
    sizes = {split: getattr(scale, split) for split in FILES}
    return ListOps(scale.name, grammar.max_length, load, options.seed, origin, grammar, sizes)


def scale_of(options: TaskOptions) -> ListOpsScale:
    """The preset's scale, with the settings after `@` and the sizes of `options`. Raises ManticoreError."""
    preset = PRESET_SCALES[choose_preset(options.preset)[0]]
    bounds = {key: options.int_setting(key, value, ALLOWED[key]) for key, value in asdict(preset.grammar).items()}
    grammar = Grammar(**bounds)
    sizes = {split: getattr(options, split) or getattr(preset, split) for split in FILES}
    preset_names = (scale.name for scale in PRESET_SCALES.values() if scale.grammar == grammar)
    name = next(preset_names, options.name_with(bounds, official=asdict(OFFICIAL.grammar)))
    return ListOpsScale(name, grammar, **sizes)


def from_files(options: TaskOptions) -> ListOps:
    """ListOps from the official files, which are read and checked now.

    An example that occurs in two splits is dropped from the one nearer to training, with a log message.
    """
    if options.settings:
        raise ManticoreError(f"{', '.join(options.settings)} shape generated data and cannot be combined with data_dir")
    folder = options.data_folder
    read = {split: _pack(read_file(path, getattr(options, split))) for split, path in find_files(folder).items()}
    splits = TrainValTest(**read).without_duplicates("ListOps")
    name, max_length = _name_by_lengths(splits)
    return ListOps(name, max_length, lambda: splits, options.seed, f"read from {folder}")


def _name_by_lengths(splits: TrainValTest) -> tuple[str, int]:
    """The name of data with these lengths, and the largest number of tokens of a sequence, EOS included."""
    lengths = np.concatenate([splits.train.lengths, splits.val.lengths, splits.test.lengths]) - len(_EOS)
    for scale in PRESET_SCALES.values():
        if lengths.min() > scale.grammar.min_length and lengths.max() < scale.grammar.max_length:
            return scale.name, scale.grammar.max_length
    return f"{NAME}@custom", int(lengths.max()) + len(_EOS)


def _pack(expressions: Iterable[Expression]) -> Examples:
    """Expressions as the model reads them."""
    codes, values = zip(*expressions, strict=True)
    ids = b"".join(expression.translate(_TO_IDS) + _EOS for expression in codes)
    offsets = np.cumsum([0, *(len(expression) + len(_EOS) for expression in codes)], dtype=np.int64)
    return Examples(np.frombuffer(ids, dtype=np.uint8), offsets, np.array(values, dtype=np.int64))


def _unpack(examples: Examples) -> list[Expression]:
    """Expressions in the codes of the grammar; the inverse of `_pack`."""
    flat, ends, drop = examples.flat.tobytes().translate(_TO_CODES), examples.offsets.tolist(), len(_EOS)
    codes = [flat[start : end - drop] for start, end in pairwise(ends)]
    return list(zip(codes, examples.labels.tolist(), strict=True))
