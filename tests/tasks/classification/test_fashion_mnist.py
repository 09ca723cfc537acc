"""Fashion-MNIST from files in MNIST's format, compressed or not, and from the Debian package if it is installed."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from manticore.errors import BadFile
from manticore.tasks import Task, TaskOptions, load_task
from manticore.tasks.classification.fashion_mnist import INSTALLED


def idx(array: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(length.to_bytes(4, "big") for length in array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for stem, count in (("train", 40), ("t10k", 10)):
        images, labels = rng.integers(0, 256, (count, 28, 28)), rng.integers(0, 10, count)
        (tmp_path / f"{stem}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx(labels))
    return tmp_path


def fashion(folder: Path, preset: str = "paper") -> Task:
    return load_task(TaskOptions("pixels-fashion-mnist", preset=preset, data_dir=str(folder)))


def test_files_are_read_compressed_or_not(folder: Path) -> None:
    task = fashion(folder)
    splits = task.splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [18, 18, 4, 10]
    assert (task.name, task.max_length, task.num_labels) == ("pixels-fashion-mnist", 784, 10)
    packed = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert splits.test[1][0].tolist() == list(packed[16 + 784 : 16 + 2 * 784])
    assert fashion(folder, "cpu").name == "pixels-fashion-mnist@side=14"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", b"not packed", "damaged, or not compressed"),
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(idx(np.zeros((3, 28, 28))))[:-20],
            "damaged, or not compressed",
        ),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(np.zeros((3, 20, 28)))), "expected images of 28x28 pixels"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(np.zeros((0, 28, 28)))), "expected images of 28x28 pixels"),
        (
            "train-images-idx3-ubyte.gz",
            gzip.compress(b"\0\0\x0d\x03" + bytes(12)),
            "an array of bytes in MNIST's format",
        ),
        ("train-labels-idx1-ubyte", b"", "an array of bytes in MNIST's format"),
        ("train-labels-idx1-ubyte", idx(np.zeros(39)), "expected a label for each of 40 images, found 39"),
        ("train-labels-idx1-ubyte", idx(np.zeros(40))[:-1], "expected 40 bytes after the header, found 39"),
        ("t10k-labels-idx1-ubyte", idx(np.full(10, 10)), "expected labels 0-9, found 10 for image 1"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,  # compressed bytes contain the time
)
def test_damage_is_reported(folder: Path, name: str, content: bytes, message: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(BadFile, match=message) as failure:
        fashion(folder)
    assert str(failure.value).startswith(f"{folder / name}: ")
    assert "\n" not in str(failure.value)


def test_a_missing_package_is_reported_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manticore.tasks.classification.fashion_mnist.INSTALLED", tmp_path)
    with pytest.raises(BadFile, match="apt-get install dataset-fashion-mnist"):
        load_task(TaskOptions("pixels-fashion-mnist", preset="paper"))
    with pytest.raises(BadFile, match=r"train-images-idx3-ubyte: no such file$"):
        fashion(tmp_path / "elsewhere")


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="the Debian package dataset-fashion-mnist is not installed")
def test_the_installed_package_is_read() -> None:
    task = load_task(TaskOptions("pixels-fashion-mnist", preset="cpu"))
    assert [len(getattr(task.splits(), split)) for split in ("train", "val", "test")] == [4000, 1000, 2000]
    assert task.heuristic_baselines()["mean pixel"] > 0.2
