"""Which of ten garments is it, read pixel by pixel? In place of CIFAR-10 where there is no hub. Knows no model.

Xiao et al., "Fashion-MNIST" (arXiv 1708.07747): 70,000 grey pictures of 28x28 pixels, which Debian packs as
`dataset-fashion-mnist`. Read from its files, or the same files elsewhere.
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manticore.errors import BadFile
from manticore.tasks.classification.images import ImageSource, image_info, image_task, shape_of
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
PICTURES, TESTS = 60_000, 10_000


@tasks.register(NAME)
def pixels_fashion_mnist(options: TaskOptions) -> SplitTask:
    """Which of ten garments is in a picture? Fashion-MNIST, pixel by pixel (Debian package dataset-fashion-mnist).

    Read from the installed package, or from its four files in `options.data_dir`, packed or not. Raises ManticoreError.
    """
    shape_of(options, SIDE)
    folder = INSTALLED if options.data_dir is None else Path(options.data_dir).expanduser()
    train, test = (read_part(folder, part) for part in STEMS)
    return image_task(options, SIDE, train, test, CLASSES, str(folder))


@task_infos.register(NAME)
def sheet(options: TaskOptions) -> TaskInfo:
    """What is known without a picture."""
    origin = f"{INSTALLED}, where Debian's package has it; run: apt-get install dataset-fashion-mnist"
    names = [f"{stem}-{rest}" for stem in STEMS.values() for rest in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    files = f"{', '.join(names)}, as they are or with .gz, as https://github.com/zalandoresearch/fashion-mnist has them"
    return image_info(options, SIDE, PICTURES, TESTS, CLASSES, origin, files)


def read_part(folder: Path, part: str) -> ImageSource:
    """The pictures of `train` or `test`. Raises BadFile."""
    images_file, images = _read_idx(folder, f"{STEMS[part]}-images-idx3-ubyte")
    labels_file, labels = _read_idx(folder, f"{STEMS[part]}-labels-idx1-ubyte")
    if images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise BadFile(images_file, f"expected pictures of {SIDE}x{SIDE} pixels, found the shape {images.shape}")
    if labels.shape != images.shape[:1]:
        raise BadFile(labels_file, f"expected a label for each of {len(images)} pictures, found {len(labels)}")
    wrong = np.flatnonzero(labels >= len(CLASSES))
    if len(wrong):
        raise BadFile(labels_file, f"expected labels 0-9, found {labels[wrong[0]]} for picture {wrong[0] + 1}")
    return images, labels.astype(np.int64)


def _read_idx(folder: Path, name: str) -> tuple[Path, NDArray[np.uint8]]:
    """An array in the format of MNIST: 0, 0, type, number of axes; each axis' length in four bytes; then the items."""
    path = next((found for found in (folder / f"{name}.gz", folder / name) if found.is_file()), None)
    if path is None:
        way = "; run: apt-get install dataset-fashion-mnist, or give --data-dir" if folder == INSTALLED else ""
        raise BadFile(folder / f"{name}.gz", f"no such file{way}")
    try:
        held = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise BadFile(path, f"cannot be read ({error})") from None
    axes = held[3] if held[:3] == bytes([0, 0, UNSIGNED_BYTES]) and len(held) > 3 else 0
    start = 4 + 4 * axes
    shape = tuple(np.frombuffer(held[4:start], ">u4").tolist()) if len(held) >= start else ()
    if not axes or not shape:
        raise BadFile(path, "expected an array of bytes in MNIST's format")
    items = np.frombuffer(held, np.uint8, offset=start)
    if len(items) != np.prod(shape):
        raise BadFile(path, f"expected {np.prod(shape)} bytes after the header, found {len(items)}")
    return path, items.reshape(shape)
