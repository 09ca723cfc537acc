"""Texts with one class each, from anywhere, as a task: which go into which part, and how long they are. Reads nothing.

Benchmarks of this kind have no validation split of their own: a part of train is held out for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manticore.tasks.classification.char_tokenizer import (
    BYTES,
    COMMON,
    UNITS,
    RawText,
    char_encoder,
    check_unit,
    length,
    pack_encoded,
)
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import TWICE, SplitTask, TrainValTest, first, number, refuse_shape, shuffled, with_settings

LONGEST = 1 << 20

HELPS = {
    "unit": f"what a token is: {' or '.join(UNITS)}, of which there are those that train has {COMMON} times",
    "length": f"tokens at which a text is cut, EOS included: 2 to {LONGEST}",
}
"""What the settings mean."""


@dataclass(frozen=True)
class TextScale:
    """How long a text may be in tokens, EOS included, and at most how many there are; None means all there are."""

    length: int
    train: int | None = None
    val: int | None = None
    test: int | None = None


def scale_of(options: TaskOptions, scales: Mapping[str, TextScale]) -> tuple[TextScale, dict[str, object]]:
    """The preset's scale and the settings the task has: `unit` and `length`. Raises ManticoreError."""
    refuse_shape(options)
    scale = scales[choose_preset(options.preset)[0]]
    unit = options.settings.get("unit", "bytes")
    check_unit(unit)
    return scale, {"unit": unit, "length": number(options, "length", scale.length, range(2, LONGEST + 1))}


def text_info(
    options: TaskOptions,
    scales: Mapping[str, TextScale],
    there_are: Mapping[str, int],
    label_names: Sequence[str],
    origin: str,
    files: str,
    kind: str = "classification",
) -> TaskInfo:
    """What is known of a task of texts before any is read.

    Args:
        options: preset and settings are taken from here.
        scales: by preset.
        there_are: examples of train, val and test in all.
        label_names, origin, files, kind: see `Sheet`.
    """
    scale, held = scale_of(options, scales)
    return TaskInfo(
        kind=kind,
        metric="accuracy",
        label_names=label_names,
        settings=held,
        vocabulary=BYTES.size if held["unit"] == "bytes" else None,
        max_length=int(str(held["length"])),
        sizes={part: min(getattr(scale, part) or count, count) for part, count in there_are.items()},
        origin=origin,
        files=f"{files}; {TWICE}",
        helps=HELPS,
    )


def text_task(
    options: TaskOptions,
    scales: Mapping[str, TextScale],
    train: Sequence[RawText],
    test: Sequence[RawText],
    label_names: Sequence[str],
    where: str,
) -> SplitTask:
    """The task of telling texts' classes.

    Args:
        options: sizes, seed and settings are taken from here.
        scales: by preset.
        train, test: texts in any order: who goes where depends on the texts, the seed and the sizes alone.
        label_names: see `Task`.
        where: where the texts come from.

    Raises ManticoreError if there are fewer texts than asked for.
    """
    scale, held = scale_of(options, scales)
    mixed = shuffled(sorted(train), options.seed)
    val = options.val or min(scale.val or len(mixed), max(1, len(mixed) // 10))
    kept = {
        "val": first(mixed, val, "val", where),
        "train": first(mixed[val:], options.train, "train", where)[: options.train or scale.train],
        "test": first(shuffled(sorted(test), 0), options.test, "test", where)[: options.test or scale.test],
    }
    cut = number(options, "length", scale.length, range(2, LONGEST + 1))
    vocabulary, spell = char_encoder(str(held["unit"]), cut, (text for text, _ in kept["train"]))
    packed = {part: pack_encoded([((text,), label) for text, label in texts], spell) for part, texts in kept.items()}
    parts = TrainValTest(**packed).distinct(options.bare_name)
    name = with_settings(options, {"unit": "bytes", "length": scales["paper"].length}, held)
    words = f"read from {where}, cut to {cut} {held['unit']}"
    return SplitTask(name, vocabulary, label_names, cut, lambda: parts, options.seed, words, {"length": length}, held)
