"""Grey pictures with one class each, as a task: which part they go into, and how large they are. Reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.base import Sheet, TaskOptions
from manticore.tasks.parts import PARTS, TWICE, PartedTask, Parts, first, named, number, refuse_shape
from manticore.tasks.pixels import PIXELS, Images, halved, mean_pixel, pack
from manticore.tasks.presets import choose_preset

Pictures = tuple[Images, NDArray[np.int64]]
"""Grey images (N, H, W) and their classes (N,)."""

FEWER = {"train": 8_000, "val": 1_000, "test": 2_000}
"""At most so many examples in preset `cpu`."""


def shape_of(options: TaskOptions, side: int) -> int:
    """The side pictures are to have: whole, or half of it, which is what preset `cpu` means. Raises ManticoreError."""
    refuse_shape(options)
    usual = side if choose_preset(options.preset)[0] == "paper" else side // 2
    return number(options, "side", usual, (side, side // 2))


def picture_sheet(
    options: TaskOptions, side: int, pictures: int, tests: int, label_names: Sequence[str], origin: str, files: str
) -> Sheet:
    """What is known of a task of pictures before any is read.

    Args:
        options: preset and settings are taken from here.
        side: of the pictures as they are.
        pictures, tests: how many there are to learn from, and to test on.
        label_names, origin, files: see `Sheet`.
    """
    wanted, most = shape_of(options, side), _most(options)
    middle = pictures * 9 // 10
    there_are = {"train": middle, "val": pictures - middle, "test": tests}
    return Sheet(
        kind="classification",
        metric="accuracy",
        label_names=label_names,
        settings={"side": wanted},
        vocabulary=PIXELS.size,
        max_length=wanted**2,
        sizes={part: min(most[part] or count, count) for part, count in there_are.items()},
        origin=origin,
        files=f"{files}; {TWICE}",
        helps={"side": f"pixels of a side: {side}, or {side // 2}, each the mean of four"},
    )


def picture_task(
    options: TaskOptions, side: int, train: Pictures, test: Pictures, label_names: Sequence[str], where: str
) -> PartedTask:
    """The task of telling what is in a picture.

    Args:
        options: sizes, seed and settings are taken from here.
        side: of the pictures as they are.
        train, test: the pictures; the last tenth of train is for the choice of models.
        label_names: see `Task`.
        where: where the pictures come from.

    Raises ManticoreError if there are fewer pictures than asked for.
    """
    wanted = shape_of(options, side)
    most = _most(options)
    middle = len(train[1]) * 9 // 10
    given = {"train": _part(train, 0, middle), "val": _part(train, middle, len(train[1])), "test": test}
    kept = {}
    for part, (images, labels) in given.items():
        asked = getattr(options, part)
        first(range(len(labels)), asked, part, where)
        count = asked or most[part]
        kept[part] = pack((images if wanted == side else halved(images))[:count], labels[:count])
    parts = Parts(**kept).distinct(options.base)
    held = {"side": wanted}
    words = f"read from {where}, {wanted}x{wanted} pixels"
    cues = {"mean pixel": mean_pixel}
    name = named(options, {"side": side}, held)
    return PartedTask(name, PIXELS, label_names, wanted**2, lambda: parts, options.seed, words, cues, held)


def _most(options: TaskOptions) -> Mapping[str, int | None]:
    """At most so many examples of each part; None means all there are."""
    return FEWER if choose_preset(options.preset)[0] == "cpu" else dict.fromkeys(PARTS)


def _part(pictures: Pictures, start: int, stop: int) -> Pictures:
    return pictures[0][start:stop], pictures[1][start:stop]
