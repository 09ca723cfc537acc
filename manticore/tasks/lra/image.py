"""The Image task of the Long Range Arena: what is in a small grey picture, read pixel by pixel? Knows no model.

Pictures are those of CIFAR-10 (Krizhevsky 2009), turned grey, a token a pixel; train is the first nine tenths of the
official training pictures, val the last tenth. `lra-image` has 32x32 pixels, `lra-image@side=16` a quarter of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.errors import BadFile
from manticore.tasks.classification.images import Images, ImageSource, grey, image_info, image_task, shape_of
from manticore.tasks.hub import from_hub
from manticore.tasks.info import TaskInfo
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SplitTask
from manticore.tasks.task import task_infos, tasks

NAME = "lra-image"
SOURCE = "uoft-cs/cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": [f"data_batch_{number}.bin" for number in range(1, 6)], "test": ["test_batch.bin"]}
LAYOUT = "the binary version's folder cifar-10-batches-bin with data_batch_1.bin to data_batch_5.bin and test_batch.bin"
SIDE = 32
RECORD = 1 + 3 * SIDE**2
ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
PICTURES, TESTS = 50_000, 10_000


@tasks.register(NAME)
def lra_image(options: TaskOptions) -> SplitTask:
    """Which of ten things is in a picture? CIFAR-10 in grey, pixel by pixel.

    Read from the hub, or from CIFAR-10's binary files in `options.data_dir`. Raises ManticoreError.
    """
    shape_of(options, SIDE)
    if options.data_dir is not None:
        folder = Path(options.data_dir).expanduser()
        train, test, where = read_folder(folder, "train"), read_folder(folder, "test"), str(folder)
    else:
        ways_out = f"unpack cifar-10-binary.tar.gz and give --data-dir: {LAYOUT}"
        train, test = (_from_rows(rows) for rows in from_hub(SOURCE, ("train", "test"), ways_out))
        where = SOURCE
    return image_task(options, SIDE, train, test, CLASSES, where)


@task_infos.register(NAME)
def sheet(options: TaskOptions) -> TaskInfo:
    """What is known without a picture."""
    origin, files = f"{SOURCE} from the Hugging Face hub or its cache", f"{LAYOUT}; unpack {ARCHIVE}"
    return image_info(options, SIDE, PICTURES, TESTS, CLASSES, origin, files)


def read_folder(folder: Path, part: str) -> ImageSource:
    """The pictures of `train` or `test` in the binary files, one after another. Raises BadFile."""
    above = folder / "cifar-10-batches-bin" if (folder / "cifar-10-batches-bin").is_dir() else folder
    images, labels = zip(*(_read(above / name) for name in FILES[part]), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _read(path: Path) -> ImageSource:
    """A file of records: the class in one byte, then a plane of bytes for each of red, green and blue."""
    try:
        held = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror}); expected {LAYOUT}") from None
    if not len(held) or len(held) % RECORD:
        raise BadFile(path, f"expected whole records of {RECORD} bytes, found {len(held)} bytes")
    records = held.reshape(-1, RECORD)
    wrong = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if len(wrong):
        raise BadFile(path, f"expected a label 0-9 in record {wrong[0] + 1}, found {records[wrong[0], 0]}")
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return grey(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def _from_rows(rows: Any) -> ImageSource:
    images: Images = np.stack([np.asarray(image.convert("RGB")) for image in rows["img"]])
    labels: NDArray[np.int64] = np.array(rows["label"], dtype=np.int64)
    return grey(images), labels
