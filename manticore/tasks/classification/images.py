"""Classification of images by pixels: one token for each pixel, row by row, whose id is the grey level.

The only tokens are the 256 grey levels. There is no end-of-sequence token: all images of a task have the same length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import Examples
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import DUPLICATES_NOTE, SPLIT_NAMES, SplitTask, TrainValTest, take_first
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
    # Fixed-point weights of 16 bits, as in Pillow. In blocks, because the sums take four bytes for each pixel.
    blocks = [(images[start : start + 4096] @ weights + 0x8000) >> 16 for start in range(0, len(images), 4096)]
    return np.concatenate(blocks).astype(np.uint8)


def downscale(images: Images) -> Images:
    """Grey images (N, 2H, 2W) at half the size, (N, H, W): each pixel is the rounded mean of four."""
    count, height, width = images.shape
    squares = images.reshape(count, height // 2, 2, width // 2, 2)
    means: Images = ((squares.sum(axis=(2, 4), dtype=np.uint16) + 2) // 4).astype(np.uint8)
    return means


def mean_pixel(examples: Examples) -> NDArray[np.int64]:
    """A feature: the mean brightness of each image, in 64 steps."""
    sums = np.add.reduceat(examples.flat, examples.offsets[:-1], dtype=np.int64)
    return sums // (4 * examples.lengths)


ImageSource = tuple[Images, NDArray[np.int64]]
"""Grey images (N, H, W) and their classes (N,)."""

CPU_SIZES = {"train": 8_000, "val": 1_000, "test": 2_000}
"""Largest number of examples of each split in preset `cpu`."""


def side_setting(options: TaskOptions, side: int) -> int:
    """Side of the images: `side`, or half of it, which is the default of preset `cpu`. Raises ManticoreError."""
    default = side if choose_preset(options.preset)[0] == "paper" else side // 2
    return options.int_setting("side", default, (side, side // 2))


def image_info(
    options: TaskOptions,
    side: int,
    train_images: int,
    test_images: int,
    label_names: Sequence[str],
    origin: str,
    files: str,
) -> TaskInfo:
    """The description of a task of images, without the images.

    Args:
        options: preset and settings.
        side: side of the images in the data set.
        train_images, test_images: number of images in the data set.
        label_names, origin, files: see `TaskInfo`.
    """
    final_side, most = side_setting(options, side), _most(options)
    train = train_images * 9 // 10
    available = {"train": train, "val": train_images - train, "test": test_images}
    return TaskInfo(
        kind="classification",
        metric="accuracy",
        label_names=label_names,
        settings={"side": final_side},
        vocabulary=PIXELS.size,
        max_length=final_side**2,
        sizes={split: min(most[split] or count, count) for split, count in available.items()},
        origin=origin,
        files=f"{files}; {DUPLICATES_NOTE}",
        setting_help={"side": f"pixels of a side: {side}, or {side // 2}, where each is the mean of four"},
    )


def image_task(
    options: TaskOptions, side: int, train: ImageSource, test: ImageSource, label_names: Sequence[str], source: str
) -> SplitTask:
    """A task of classifying images.

    Args:
        options: sizes, seed and settings.
        side: side of the images in the data set.
        train, test: the images; the last tenth of train is the validation split.
        label_names: see `Task`.
        source: where the images come from.

    Raises ManticoreError if there are fewer images than requested.
    """
    final_side, most = side_setting(options, side), _most(options)
    middle = len(train[1]) * 9 // 10
    images_of = {"train": _slice(train, 0, middle), "val": _slice(train, middle, len(train[1])), "test": test}
    packed = {}
    for split, (images, labels) in images_of.items():
        size = getattr(options, split)
        take_first(range(len(labels)), size, split, source)
        count = size or most[split]
        packed[split] = pack((images if final_side == side else downscale(images))[:count], labels[:count])
    splits = TrainValTest(**packed).without_duplicates(options.bare_name)
    settings = {"side": final_side}
    return SplitTask(
        options.name_with(settings, official={"side": side}),
        PIXELS,
        label_names,
        final_side**2,
        lambda: splits,
        options.seed,
        origin=f"read from {source}, {final_side}x{final_side} pixels",
        features={"mean pixel": mean_pixel},
        settings=settings,
    )


def _most(options: TaskOptions) -> Mapping[str, int | None]:
    """Largest number of examples of each split; None: all of the data set."""
    return CPU_SIZES if choose_preset(options.preset)[0] == "cpu" else dict.fromkeys(SPLIT_NAMES)


def _slice(source: ImageSource, start: int, stop: int) -> ImageSource:
    return source[0][start:stop], source[1][start:stop]
