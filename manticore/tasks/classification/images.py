"""Images as sequences: one token a pixel, row by row, its id the grey level. Knows no task.

There is no end-of-sequence token, nor any other besides the 256 levels: every image of a task has the same length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import Examples
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import PARTS, TWICE, SplitTask, TrainValTest, first, number, refuse_shape, with_settings
from manticore.tasks.vocabulary import Vocabulary

PIXELS = Vocabulary.plain(256)

Images = NDArray[np.uint8]


def pack(images: Images, labels: NDArray[np.integer]) -> Examples:
    """Examples from grey images (N, H, W) and their classes (N,)."""
    length = int(np.prod(images.shape[1:]))
    offsets = np.arange(len(images) + 1, dtype=np.int64) * length
    return Examples(np.ascontiguousarray(images).reshape(-1), offsets, labels.astype(np.int64))


def grey(images: Images) -> Images:
    """The luminance of RGB images (N, H, W, 3), 0.299 R + 0.587 G + 0.114 B, rounded: (N, H, W)."""
    weights = np.array([19595, 38470, 7471], dtype=np.uint32)
    # In blocks, as the sums need four bytes a pixel.
    blocks = [(images[at : at + 4096] @ weights + 0x8000) >> 16 for at in range(0, len(images), 4096)]
    return np.concatenate(blocks).astype(np.uint8)


def halved(images: Images) -> Images:
    """Grey images (N, 2H, 2W) at half the size, (N, H, W): each pixel the rounded mean of four."""
    count, height, width = images.shape
    squares = images.reshape(count, height // 2, 2, width // 2, 2)
    means: Images = ((squares.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)
    return means


def mean_pixel(examples: Examples) -> NDArray[np.int64]:
    """A cue: how bright each image is, in 64 steps."""
    sums = np.add.reduceat(examples.flat, examples.offsets[:-1], dtype=np.int64)
    return sums // (4 * examples.lengths)


ImageSource = tuple[Images, NDArray[np.int64]]
"""Grey images (N, H, W) and their classes (N,)."""

FEWER = {"train": 8_000, "val": 1_000, "test": 2_000}
"""At most so many examples in preset `cpu`."""


def shape_of(options: TaskOptions, side: int) -> int:
    """The side pictures are to have: whole, or half of it, which is what preset `cpu` means. Raises ManticoreError."""
    refuse_shape(options)
    usual = side if choose_preset(options.preset)[0] == "paper" else side // 2
    return number(options, "side", usual, (side, side // 2))


def image_info(
    options: TaskOptions, side: int, pictures: int, tests: int, label_names: Sequence[str], origin: str, files: str
) -> TaskInfo:
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
    return TaskInfo(
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


def image_task(
    options: TaskOptions, side: int, train: ImageSource, test: ImageSource, label_names: Sequence[str], where: str
) -> SplitTask:
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
    parts = TrainValTest(**kept).distinct(options.bare_name)
    held = {"side": wanted}
    words = f"read from {where}, {wanted}x{wanted} pixels"
    cues = {"mean pixel": mean_pixel}
    name = with_settings(options, {"side": side}, held)
    return SplitTask(name, PIXELS, label_names, wanted**2, lambda: parts, options.seed, words, cues, held)


def _most(options: TaskOptions) -> Mapping[str, int | None]:
    """At most so many examples of each part; None means all there are."""
    return FEWER if choose_preset(options.preset)[0] == "cpu" else dict.fromkeys(PARTS)


def _part(pictures: ImageSource, start: int, stop: int) -> ImageSource:
    return pictures[0][start:stop], pictures[1][start:stop]
