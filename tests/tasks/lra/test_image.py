"""The Image task from CIFAR-10's binary files: grey levels, splits, sides, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from manticore.errors import BadFile, ManticoreError
from manticore.tasks import Task, TaskOptions, load_task
from manticore.tasks.classification.images import downscale, grey, mean_pixel, pack
from manticore.tasks.lra.image import RECORD_BYTES

PER_FILE = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """cifar-10-batches-bin with four images in each of its six files."""
    rng = np.random.default_rng(0)
    (tmp_path / "cifar-10-batches-bin").mkdir()
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = rng.integers(0, 256, (PER_FILE, RECORD_BYTES), dtype=np.uint8)
        records[:, 0] = rng.integers(0, 10, PER_FILE)
        records.tofile(tmp_path / "cifar-10-batches-bin" / f"{name}.bin")
    return tmp_path


def image(folder: Path, name: str = "lra-image", **more: object) -> Task:
    return load_task(TaskOptions(**{"name": name, "preset": "paper", "data_dir": str(folder), **more}))  # type: ignore[arg-type]


def sizes(task: Task) -> list[int]:
    return [len(getattr(task.splits(), split)) for split in ("train", "train_arch", "val", "test")]


def test_splits_tokens_and_names(folder: Path) -> None:
    task = image(folder)
    assert sizes(task) == [9, 9, 2, 4]
    assert (task.name, task.max_length, task.vocabulary.size, task.num_labels) == ("lra-image", 1024, 256, 10)
    small = image(folder / "cifar-10-batches-bin", preset="cpu")
    assert (small.name, small.max_length, sizes(small)) == ("lra-image@side=16", 256, [9, 9, 2, 4])
    assert sizes(image(folder, train=8, val=1, test=3)) == [4, 4, 1, 3]
    assert image(folder, "lra-image@side=32", preset="cpu").name == "lra-image"
    assert set(task.heuristic_baselines()) == {"majority class", "mean pixel"}
    assert "32x32 pixels" in task.describe()


def test_a_pixel_is_the_luminance_that_pillow_computes(folder: Path) -> None:
    record = np.fromfile(folder / "cifar-10-batches-bin" / "test_batch.bin", np.uint8)[:RECORD_BYTES]
    pixels = Image.fromarray(record[1:].reshape(3, 32, 32).transpose(1, 2, 0)).convert("L")
    ids, label = image(folder).splits().test[0]
    assert ids.tolist() == np.asarray(pixels).reshape(-1).tolist()
    assert label == record[0]


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_half_the_side_keeps_the_mean(count: int, half: int, seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (count, 2 * half, 2 * half), dtype=np.uint8)
    assert np.abs(downscale(images).mean(axis=(1, 2)) - images.mean(axis=(1, 2))).max() <= 0.5
    feature = mean_pixel(pack(images, np.zeros(count, dtype=np.int64)))
    assert feature.tolist() == (images.sum(axis=(1, 2), dtype=np.int64) // (4 * 4 * half * half)).tolist()
    assert np.array_equal(grey(np.repeat(images[..., None], 3, axis=-1)), images)


def test_from_the_hub_the_task_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def hub(source: str, splits: tuple[str, ...], hint: str) -> list[datasets.Dataset]:
        assert (source, splits) == ("uoft-cs/cifar10", ("train", "test"))
        out = []
        for names in ([f"data_batch_{number}" for number in range(1, 6)], ["test_batch"]):
            paths = [folder / "cifar-10-batches-bin" / f"{name}.bin" for name in names]
            records = np.concatenate([np.fromfile(path, np.uint8).reshape(-1, RECORD_BYTES) for path in paths])
            images = [Image.fromarray(row.reshape(3, 32, 32).transpose(1, 2, 0)) for row in records[:, 1:]]
            rows = datasets.Dataset.from_dict({"img": images, "label": records[:, 0].tolist()})
            out.append(rows.cast_column("img", datasets.Image()))
        return out

    monkeypatch.setattr("manticore.tasks.lra.image.load_hub_dataset", hub)
    there, here = load_task(TaskOptions("lra-image", preset="paper")).splits(), image(folder).splits()
    for split in ("train", "train_arch", "val", "test"):
        assert np.array_equal(getattr(there, split).flat, getattr(here, split).flat)
        assert np.array_equal(getattr(there, split).labels, getattr(here, split).labels)


def test_damage_and_invalid_options_raise_one_line(folder: Path, tmp_path: Path) -> None:
    path = folder / "cifar-10-batches-bin" / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(BadFile, match=f"data_batch_2.bin: expected whole records of {RECORD_BYTES} bytes"):
        image(folder)
    path.write_bytes(b"")
    with pytest.raises(BadFile, match="found 0 bytes"):
        image(folder)
    path.write_bytes(whole[:RECORD_BYTES] + b"\x0a" + whole[RECORD_BYTES + 1 :])
    with pytest.raises(BadFile, match="expected a label 0-9 in record 2, found 10"):
        image(folder)
    path.unlink()
    with pytest.raises(BadFile, match=r"data_batch_2.bin: no such file; expected the bin"):
        image(folder)
    path.write_bytes(whole)
    with pytest.raises(ManticoreError, match="'side' of lra-image must be 32 or 16, got 8"):
        image(folder, "lra-image@side=8")
    with pytest.raises(ManticoreError, match="3 val examples are requested, found 2"):
        image(folder, val=3)
