"""Pathfinder's folders: written completely, read back exactly; damage is reported with file, line and expectation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks.lra.pathfinder.files import level_folder, list_images, read_images, write_folder
from manticore.tasks.lra.pathfinder.settings import DrawnImages, settings_of

EASY = settings_of(32, "easy")
SIZES = {"train": 14, "val": 3, "test": 3}


def drawn(count: int = 20) -> DrawnImages:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32), dtype=np.uint8)
    return DrawnImages(images, np.arange(count) % 2, np.ones(count, dtype=np.int64))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pathfinder32" / "curv_baseline", EASY, drawn(), SIZES)


def test_the_released_layout_is_written(folder: Path) -> None:
    lines = (folder / "metadata" / "0.npy").read_text().splitlines()
    assert lines[1] == "imgs/0 sample_1.png 1 1 1.0 6 2 2 0.5 1 1"
    with Image.open(folder / "imgs" / "0" / "sample_7.png") as image:
        assert (image.mode, image.size, image.format) == ("L", (32, 32), "PNG")
    assert sorted(entry.name for entry in folder.parent.iterdir()) == ["curv_baseline"]


def test_written_files_are_read_back(folder: Path) -> None:
    images_written = drawn()
    files = list_images(folder)
    assert {split: len(rows) for split, rows in files.items()} == SIZES
    images, labels = read_images([*files["train"], *files["val"], *files["test"]], 32)
    assert np.array_equal(images, images_written.images)
    assert np.array_equal(labels, images_written.labels)


def test_without_sizes_the_release_is_split_by_tenths_in_numeric_order(folder: Path) -> None:
    (folder / "splits.json").unlink()
    assert {split: len(rows) for split, rows in list_images(folder).items()} == {"train": 16, "val": 2, "test": 2}
    lines = (folder / "metadata" / "0.npy").read_text().splitlines(keepends=True)
    for number, span in ((2, slice(0, 9)), (10, slice(9, 20))):
        (folder / "metadata" / f"{number}.npy").write_text("".join(lines[span]))
    (folder / "metadata" / "0.npy").unlink()
    names = [path.name for rows in list_images(folder).values() for path, _ in rows]
    assert names == [f"sample_{index}.png" for index in range(20)]


def test_folders_are_found_from_anywhere_above(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for start in (folder, folder.parent, folder.parent.parent):
        assert level_folder(start, 32) == (start / folder.relative_to(start), "easy")
    monkeypatch.chdir(folder)
    assert level_folder(Path(), 32)[1] == "easy"
    hard = write_folder(folder.with_name("curv_contour_length_14"), settings_of(32, "hard"), drawn(), SIZES)
    assert level_folder(folder.parent, 32) == (hard, "hard")
    assert level_folder(folder.parent, 32, "easy") == (folder, "easy")
    with pytest.raises(
        BadFile, match=r"expected metadata/<number>.npy and imgs/ in pathfinder32/curv_contour_length_9"
    ):
        level_folder(folder.parent, 32, "intermediate")
    with pytest.raises(BadFile, match="pathfinder64"):
        level_folder(folder.parent.parent, 64)
    with pytest.raises(UnknownName, match="Pathfinder level"):
        level_folder(folder, 32, "harder")


LINE = "imgs/0 sample_{0}.png {0} {1} 1.0 6 2 2 0.5 1 1\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE.format(4, 2), "expected a label 0 or 1 in column 4, found '2'"),
        (LINE.format(4, ""), "expected a label 0 or 1 in column 4, found ''"),
        ("imgs/0 sample_4.png 4 1 1.0 6\n", "expected 11 columns between spaces, found 6"),
        ("\n", "expected 11 columns between spaces, found 1"),
        (LINE.format(99, 1), "names an image that does not exist"),
    ],
)
def test_a_malformed_line_is_reported(folder: Path, line: str, message: str) -> None:
    path = folder / "metadata" / "0.npy"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], line, *lines[5:]]))
    with pytest.raises(BadFile, match=message) as failure:
        list_images(folder)
    assert str(failure.value).startswith(f"{path}:5: ")
    assert "\n" not in str(failure.value)


def test_damaged_images_are_reported_and_empty_ones_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "imgs" / "0" / "sample_3.png"
    whole = path.read_bytes()
    for damage in (whole[: len(whole) // 2], b"not a png", whole[:20]):
        path.write_bytes(damage)
        with pytest.raises(BadFile, match=r"sample_3.png: expected a PNG image") as failure:
            read_images(list_images(folder)["train"], 32)
        assert "\n" not in str(failure.value)
    path.write_bytes(b"")
    assert len(list_images(folder)["train"]) == 13
    assert "left out 1 of 14 Pathfinder images" in caplog.text
    Image.new("L", (64, 32)).save(path)
    with pytest.raises(BadFile, match="expected 32x32 pixels, found 64x32"):
        read_images(list_images(folder)["train"], 32)


def test_damaged_metadata_raises_one_line(folder: Path) -> None:
    (folder / "splits.json").write_text(json.dumps({**SIZES, "test": 4}))
    with pytest.raises(BadFile, match="add up to the 20 images"):
        list_images(folder)
    (folder / "metadata" / "1.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(BadFile, match=r"1.npy: expected text, one line for each image"):
        list_images(folder)
    for path in (folder / "metadata").iterdir():
        path.write_text("")
    with pytest.raises(BadFile, match="expected 10 images or more"):
        list_images(folder)


def test_nothing_is_overwritten_or_left_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ManticoreError, match="exists and is not overwritten"):
        write_folder(folder, EASY, drawn(), SIZES)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("manticore.tasks.lra.pathfinder.files._write_batch", full)
    with pytest.raises(ManticoreError, match=r"cannot be written: No space left"):
        write_folder(folder.with_name("curv_contour_length_9"), EASY, drawn(), SIZES)
    assert [entry.name for entry in folder.parent.iterdir()] == ["curv_baseline"]
