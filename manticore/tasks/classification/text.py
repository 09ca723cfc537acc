"""Classification of texts by bytes or characters: sizes of the splits, lengths, settings.

Benchmarks of this kind have no validation split; a part of train is held out for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from manticore.tasks.classification.char_tokenizer import (
    BYTES,
    MIN_COUNT,
    UNITS,
    CharTokenizer,
    RawText,
    check_unit,
    length,
)
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import DUPLICATES_NOTE, SplitTask, TrainValTest, drop_equal, shuffled, take_first
from manticore.utils.text_files import canonical_text

MAX_LENGTH = 1 << 20

Kind = TypeVar("Kind", bound=SplitTask)

SETTING_HELP = {
    "unit": f"what a token is: {' or '.join(UNITS)} (those that train has at least {MIN_COUNT} times)",
    "length": f"tokens at which a text is cut, EOS included: 2 to {MAX_LENGTH}",
}
"""Meaning of the settings."""


@dataclass(frozen=True)
class TextScale:
    """Largest numbers of tokens of a text, EOS included, and of examples of each split; None: all of the data set."""

    length: int
    train: int | None = None
    val: int | None = None
    test: int | None = None


@dataclass(frozen=True)
class TextSettings:
    """The settings of a task of texts: what a token is, and the largest number of tokens of a text."""

    unit: str
    length: int

    @classmethod
    def of(cls, options: TaskOptions, scales: Mapping[str, TextScale]) -> TextSettings:
        """The settings after `@`, with the preset's length as default. Raises ManticoreError."""
        unit = options.settings.get("unit", "bytes")
        check_unit(unit)
        default = scales[choose_preset(options.preset)[0]].length
        return cls(unit, options.int_setting("length", default, range(2, MAX_LENGTH + 1)))

    def task_name(self, options: TaskOptions, scales: Mapping[str, TextScale]) -> str:
        """The name of the task in results; the settings of the benchmark are bytes and the length of preset `paper`."""
        return options.name_with(vars(self), official={"unit": "bytes", "length": scales["paper"].length})


def text_info(
    options: TaskOptions,
    scales: Mapping[str, TextScale],
    available: Mapping[str, int],
    label_names: Sequence[str],
    origin: str,
    files: str,
    kind: str = "classification",
) -> TaskInfo:
    """The description of a task of texts, without the texts.

    Args:
        options: preset and settings.
        scales: scales by preset.
        available: number of examples of train, val and test in the data set.
        label_names, origin, files, kind: see `TaskInfo`.
    """
    scale, settings = scales[choose_preset(options.preset)[0]], TextSettings.of(options, scales)
    return TaskInfo(
        kind=kind,
        metric="accuracy",
        label_names=label_names,
        settings=vars(settings),
        vocabulary=BYTES.size if settings.unit == "bytes" else None,
        max_length=settings.length,
        sizes={split: min(getattr(scale, split) or count, count) for split, count in available.items()},
        origin=origin,
        files=f"{files}; {DUPLICATES_NOTE}",
        setting_help=SETTING_HELP,
    )


def text_task(
    options: TaskOptions,
    scales: Mapping[str, TextScale],
    train: Sequence[RawText],
    test: Sequence[RawText],
    label_names: Sequence[str],
    source: str,
) -> SplitTask:
    """A task of classifying texts.

    Args:
        options: sizes, seed and settings.
        scales: scales by preset.
        train, test: texts in any order; the splits depend on the texts, the seed and the sizes alone.
        label_names: see `Task`.
        source: where the texts come from.

    Raises ManticoreError if there are fewer texts than requested.
    """
    scale = scales[choose_preset(options.preset)[0]]
    mixed = shuffled(sorted(train), options.seed)
    val = options.val or min(scale.val or len(mixed), max(1, len(mixed) // 10))
    texts = {
        "val": take_first(mixed, val, "val", source),
        "train": take_first(mixed[val:], options.train, "train", source)[: options.train or scale.train],
        "test": take_first(shuffled(sorted(test), 0), options.test, "test", source)[: options.test or scale.test],
    }
    examples = {split: [((text,), label) for text, label in rows] for split, rows in texts.items()}
    return encoded_task(SplitTask, options, scales, examples, label_names, source, "length")


def encoded_task(
    kind: type[Kind],
    options: TaskOptions,
    scales: Mapping[str, TextScale],
    examples: Mapping[str, Sequence[tuple[Sequence[bytes], int]]],
    label_names: Sequence[str],
    source: str,
    length_name: str,
) -> Kind:
    """A task of examples that have one or more texts, by bytes or by the characters of its training texts.

    Args:
        kind: class of the task.
        options, scales, label_names, source: see `text_task`.
        examples: texts and label of every example of `train`, `val` and `test`.
        length_name: name of the length of an example, by which a heuristic classifies.
    """
    settings = TextSettings.of(options, scales)
    examples = drop_equal(examples, _canonical, f"{options.bare_name} examples")
    training_texts = (text for texts, _ in examples["train"] for text in texts)
    tokenizer = CharTokenizer(settings.unit, settings.length, training_texts)
    encoded = {split: tokenizer.encode_all(rows) for split, rows in examples.items()}
    splits = TrainValTest(**encoded).without_duplicates(options.bare_name)
    task = kind(
        settings.task_name(options, scales),
        tokenizer.vocabulary,
        label_names,
        settings.length,
        lambda: splits,
        options.seed,
        origin=f"read from {source}, cut to {settings.length} {settings.unit}",
        features={length_name: length},
        settings=vars(settings),
    )
    task.text_unit = settings.unit
    return task


def _canonical(example: tuple[Sequence[bytes], int]) -> tuple[str, ...]:
    """The texts of an example; those that differ in white space or the composition of characters alone are equal."""
    return tuple(canonical_text(text.decode("utf-8", "surrogateescape")) for text in example[0])
