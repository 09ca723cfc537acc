"""The Image task of the Long Range Arena: what a small grey image shows, read pixel by pixel.

The images are those of CIFAR-10 (Krizhevsky 2009) in grey, one token for each pixel. Train is the first nine tenths of
the official training images, val the last tenth. `lra-image` has 32x32 pixels, `lra-image@side=16` has 16x16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.errors import BadFile
from manticore.tasks.classification.images import Images, ImageSource, grey, image_info, image_task, side_setting
from manticore.tasks.data_files import read_bytes, stored_file
from manticore.tasks.hub import load_hub_dataset
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
RECORD_BYTES = 1 + 3 * SIDE**2
ARCHIVE = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
TRAIN_IMAGES, TEST_IMAGES = 50_000, 10_000


@tasks.register(NAME)
def lra_image(options: TaskOptions) -> SplitTask:
    """Which of ten things is in an image? CIFAR-10 in grey, pixel by pixel.

    Reads the hub, or CIFAR-10's binary files in `options.data_dir`. Raises ManticoreError.
    """
    side_setting(options, SIDE)  # refuses invalid settings before files are read
    if options.data_dir is not None:
        folder = options.data_folder
        train, test, source = read_folder(folder, "train"), read_folder(folder, "test"), str(folder)
    else:
        hint = f"unpack cifar-10-binary.tar.gz and give --data-dir: {LAYOUT}"
        train, test = (_from_rows(rows) for rows in load_hub_dataset(SOURCE, ("train", "test"), hint))
        source = SOURCE
    return image_task(options, SIDE, train, test, CLASSES, source)


@task_infos.register(NAME)
def info(options: TaskOptions) -> TaskInfo:
    """The description of the task, without its images."""
    origin, files = f"{SOURCE} from the Hugging Face hub or its cache", f"{LAYOUT}; unpack {ARCHIVE}"
    return image_info(options, SIDE, TRAIN_IMAGES, TEST_IMAGES, CLASSES, origin, files)


def read_folder(folder: Path, split: str) -> ImageSource:
    """The images of `train` or `test` in the binary files. Raises BadFile."""
    batches = folder / "cifar-10-batches-bin" if (folder / "cifar-10-batches-bin").is_dir() else folder
    images, labels = zip(*(_read(batches / name) for name in FILES[split]), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _read(path: Path) -> ImageSource:
    """A file of records: the class in one byte, then one plane of bytes each for red, green and blue."""
    path = stored_file(path, f"; expected {LAYOUT}")
    content = np.frombuffer(read_bytes(path), dtype=np.uint8)
    if not len(content) or len(content) % RECORD_BYTES:
        raise BadFile(path, f"expected whole records of {RECORD_BYTES} bytes, found {len(content)} bytes")
    records = content.reshape(-1, RECORD_BYTES)
    invalid = np.flatnonzero(records[:, 0] >= len(CLASSES))
    if len(invalid):
        raise BadFile(path, f"expected a label 0-9 in record {invalid[0] + 1}, found {records[invalid[0], 0]}")
    planes = records[:, 1:].reshape(-1, 3, SIDE, SIDE)
    return grey(planes.transpose(0, 2, 3, 1)), records[:, 0].astype(np.int64)


def _from_rows(rows: Any) -> ImageSource:
    images: Images = np.stack([np.asarray(image.convert("RGB")) for image in rows["img"]])
    labels: NDArray[np.int64] = np.array(rows["label"], dtype=np.int64)
    return grey(images), labels
