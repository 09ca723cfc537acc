"""The ListOps task of the Long Range Arena: nested list operations, ten classes. Knows no model.

Tay et al., "Long Range Arena" (arXiv 2011.04006). The model reads an expression without its parentheses, the closing
bracket written `X`, EOS at the end; the class is the expression's value. Names tell how comparable a number is:
`lra-listops` has the official lengths, `lra-listops@short` ours for a CPU, `lra-listops@custom` any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from manticore.errors import ManticoreError
from manticore.tasks.cache import Arrays, cached_arrays
from manticore.tasks.dataset import Examples
from manticore.tasks.lra.archive import ARCHIVE
from manticore.tasks.lra.listops.files import FILES, Expression, find_files, read_file, refuse_existing, write_files
from manticore.tasks.lra.listops.generate import generate
from manticore.tasks.lra.listops.grammar import CLOSE, WRITTEN, Grammar
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import Source, SplitTask, TrainValTest
from manticore.tasks.task import tasks
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.io import cache_folder

NAME = "lra-listops"
VOCABULARY = Vocabulary.of((*WRITTEN[:CLOSE], "X"))
# Raised whenever the same parameters come to mean other data, so that no cache made before is believed.
DATA_VERSION = 1

_FIRST_ID = VOCABULARY.ids["0"]
_TO_IDS = bytes((code + _FIRST_ID) % 256 for code in range(256))
_TO_CODES = bytes((token - _FIRST_ID) % 256 for token in range(256))
_EOS = bytes([VOCABULARY.eos])


ARRAYS = ("flat", "offsets", "labels")
"""What is kept of examples."""


@dataclass(frozen=True)
class ListOpsScale:
    """A grammar with how many examples to draw from it, and the name its results go by."""

    name: str
    grammar: Grammar
    train: int
    val: int
    test: int


OFFICIAL = ListOpsScale(NAME, Grammar(500, 2000, max_depth=10, max_args=10), train=96_000, val=2_000, test=2_000)
SHORT = ListOpsScale(f"{NAME}@short", Grammar(4, 32, max_depth=10, max_args=5), train=40_000, val=4_000, test=4_000)
PRESET_SCALES = {"paper": OFFICIAL, "cpu": SHORT}


class ListOps(SplitTask):
    """ListOps from either source; `generated` and `from_files` make the two kinds.

    Args:
        name: see the module.
        max_length: most tokens of an expression, EOS included.
        source: makes the three parts when they are first needed.
        seed: seed of the division of train into weights and alphas.
        words: where the examples come from, for `describe`.
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
        source: Source,
        seed: int,
        words: str,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(
            name,
            VOCABULARY,
            label_names="0123456789",
            max_length=max_length,
            source=source,
            seed=seed,
            words=words,
            cues={"root operator": lambda examples: examples.first_tokens},
            rewrites=(("(", ""), (")", ""), ("]", "X")),
            sizes=sizes,
        )

    def write(self, folder: Path) -> list[Path]:
        refuse_existing(folder)
        parts = self._source()
        return write_files(folder, {part: _unpack(getattr(parts, part)) for part in FILES})


@tasks.register(NAME)
def lra_listops(options: TaskOptions) -> ListOps:
    """What do nested list operations come to? ListOps, such as [MAX 4 [MIN 2 3 ] 1 ], one of ten digits.

    Read from the official files in `options.data_dir`, or generated where none is given. Raises ManticoreError (or
    BadFile) for options that contradict each other and for files that are not ListOps.
    """
    return from_files(options) if options.data_dir is not None else generated(options)


def generated(options: TaskOptions) -> ListOps:
    """ListOps drawn from the grammar at the preset's scale, except where the options say otherwise."""
    scale = scale_of(options)

    def make() -> Arrays:
        wanted = scale.train + scale.val + scale.test
        drawn = iter(generate(scale.grammar, wanted, options.seed, options.workers))
        packed = {part: _pack([next(drawn) for _ in range(getattr(scale, part))]) for part in FILES}
        return {f"{part}_{array}": getattr(packed[part], array) for part in FILES for array in ARRAYS}

    def source() -> TrainValTest:
        parameters = {**asdict(scale), "seed": options.seed, "version": DATA_VERSION}
        held = cached_arrays(cache_folder(options.cache_dir), NAME, parameters, make)
        return TrainValTest(*(Examples(*(held[f"{part}_{array}"] for array in ARRAYS)) for part in FILES))

    grammar = scale.grammar
    words = (
        f"generated with seed {options.seed}: expressions of {grammar.min_length + 1}-{grammar.max_length - 1} tokens, "
        f"at most {grammar.max_depth} levels and {grammar.max_args} arguments"
    )
    sizes = {part: getattr(scale, part) for part in FILES}
    return ListOps(scale.name, grammar.max_length, source, options.seed, words, sizes)


def scale_of(options: TaskOptions) -> ListOpsScale:
    """The scale that options ask for; its name says whether the grammar is a preset's or the user's own."""
    preset = PRESET_SCALES[choose_preset(options.preset)[0]]
    given = {
        key: getattr(options, key)
        for key in ("min_length", "max_length", "max_depth", "max_args", "train", "val", "test")
        if getattr(options, key) is not None
    }
    sizes = {key: given.pop(key) for key in FILES if key in given}
    grammar = replace(preset.grammar, **given)
    name = next((scale.name for scale in PRESET_SCALES.values() if scale.grammar == grammar), f"{NAME}@custom")
    return replace(preset, name=name, grammar=grammar, **sizes)


def from_files(options: TaskOptions) -> ListOps:
    """ListOps from the official files, read and checked at once.

    Examples that occur in two parts are dropped from the one nearer to training, with a note, never from test.
    """
    contradicting = [
        key for key in ("min_length", "max_length", "max_depth", "max_args") if getattr(options, key) is not None
    ]
    if contradicting:
        raise ManticoreError(f"{', '.join(contradicting)} shape generated data and cannot be combined with data_dir")
    folder = Path(str(options.data_dir)).expanduser()
    read = {part: _pack(read_file(path, getattr(options, part))) for part, path in find_files(folder).items()}
    parts = TrainValTest(**read).distinct("ListOps")
    name, longest = _name_by_lengths(parts)
    return ListOps(name, longest, lambda: parts, options.seed, f"read from {folder}")


def _name_by_lengths(parts: TrainValTest) -> tuple[str, int]:
    """The name that data of these lengths goes by, and the most tokens a sequence has, EOS included."""
    lengths = np.concatenate([parts.train.lengths, parts.val.lengths, parts.test.lengths]) - len(_EOS)
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
    """Expressions as the grammar has them; the inverse of `_pack`."""
    flat, ends, drop = examples.flat.tobytes().translate(_TO_CODES), examples.offsets.tolist(), len(_EOS)
    codes = [flat[start : end - drop] for start, end in pairwise(ends)]
    return list(zip(codes, examples.labels.tolist(), strict=True))
