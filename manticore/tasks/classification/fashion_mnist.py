"""Fashion-MNIST: which of ten garments an image shows, read pixel by pixel. An alternative to CIFAR-10 without a hub.

Xiao et al., "Fashion-MNIST" (arXiv 1708.07747): 70,000 grey images of 28x28 pixels, in Debian's package
`dataset-fashion-mnist` or the same files in another folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manticore.errors import BadFile
from manticore.tasks.classification.images import ImageSource, image_info, image_task, side_setting
from manticore.tasks.data_files import read_bytes, stored_file
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SplitTask
from manticore.tasks.task import task_infos, tasks

NAME = "pixels-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")
CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
STEMS = {"train": "train", "test": "t10k"}
SIDE = 28
UNSIGNED_BYTES = 8
TRAIN_IMAGES, TEST_IMAGES = 60_000, 10_000


@tasks.register(NAME)
def pixels_fashion_mnist(options: TaskOptions) -> SplitTask:
    """Which of ten garments is in an image? Fashion-MNIST, pixel by pixel (Debian package dataset-fashion-mnist).

    Reads the installed package, or its four files in `options.data_dir`, with .gz or without. Raises ManticoreError.
    """
    side_setting(options, SIDE)  # refuses invalid settings before files are read
    folder = INSTALLED if options.data_dir is None else options.data_folder
    train, test = (read_split(folder, split) for split in STEMS)
    return image_task(options, SIDE, train, test, CLASSES, str(folder))


@task_infos.register(NAME)
def info(options: TaskOptions) -> TaskInfo:
    """The description of the task, without its images."""
    origin = f"{INSTALLED}, from Debian's package; run: apt-get install dataset-fashion-mnist"
    names = [f"{stem}-{rest}" for stem in STEMS.values() for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    files = f"{', '.join(names)}, as they are or with .gz, as https://github.com/zalandoresearch/fashion-mnist has them"
    return image_info(options, SIDE, TRAIN_IMAGES, TEST_IMAGES, CLASSES, origin, files)


def read_split(folder: Path, split: str) -> ImageSource:
    """The images of `train` or `test`. Raises BadFile."""
    images_file, images = _read_idx(folder, f"{STEMS[split]}-images-idx3-ubyte")
    labels_file, labels = _read_idx(folder, f"{STEMS[split]}-labels-idx1-ubyte")
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise BadFile(images_file, f"expected images of {SIDE}x{SIDE} pixels, found the shape {images.shape}")
    if labels.shape != images.shape[:1]:
        raise BadFile(labels_file, f"expected a label for each of {len(images)} images, found {len(labels)}")
    invalid = np.flatnonzero(labels >= len(CLASSES))
    if len(invalid):
        raise BadFile(labels_file, f"expected labels 0-9, found {labels[invalid[0]]} for image {invalid[0] + 1}")
    return images, labels.astype(np.int64)


def _read_idx(folder: Path, name: str) -> tuple[Path, NDArray[np.uint8]]:
    """An array in the format of MNIST: 0, 0, type, number of axes; the length of each axis in four bytes; the items."""
    hint = "; run: apt-get install dataset-fashion-mnist, or give --data-dir" if folder == INSTALLED else ""
    path = stored_file(folder / name, hint)
    content = read_bytes(path)
    axes = content[3] if content[:3] == bytes([0, 0, UNSIGNED_BYTES]) and len(content) > 3 else 0
    start = 4 + 4 * axes
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist()) if len(content) >= start else ()
    if not axes or not shape:
        raise BadFile(path, "expected an array of bytes in MNIST's format")
    items = np.frombuffer(content, np.uint8, offset=start)
    if len(items) != np.prod(shape):
        raise BadFile(path, f"expected {np.prod(shape)} bytes after the header, found {len(items)}")
    return path, items.reshape(shape)
