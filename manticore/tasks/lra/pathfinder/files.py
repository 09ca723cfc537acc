"""Reads, checks and atomically writes the folders of Pathfinder images in the format of the Long Range Arena.

    pathfinder32/curv_contour_length_14/imgs/<k>/sample_<n>.png
    pathfinder32/curv_contour_length_14/metadata/<k>.npy

Despite their suffix, the metadata are text, one line for each image: folder, file, number, label, continuity, paddles
of a long contour, paddles of a short one, paddle length, thickness, margin, number of contrasts. The release splits the
list, with metadata files in the order of their numbers, into 80, 10 and 10 per cent for train, val and test. A folder
that is written here has the sizes of its splits in `splits.json`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks.data_files import check_regular, read_bytes
from manticore.tasks.lra.pathfinder.settings import LEVELS, DrawnImages, Settings
from manticore.tasks.splits import SPLIT_NAMES
from manticore.utils.console import progress_bar
from manticore.utils.io import atomic_dir, read_json, write_json

log = logging.getLogger("manticore.tasks")

SIZES_FILE = "splits.json"
IMAGES_PER_FOLDER = 1_000
LABEL_COLUMN = 3

MANY_IMAGES = 2_000
"""Smallest number of images for which a progress bar is shown."""

ImageFile = tuple[Path, int]
"""The file of an image, and its label."""


def level_folder(folder: Path, size: int, level: str | None = None) -> tuple[Path, str]:
    """The folder of the images of one level, `folder` itself or below it, and the name of the level.

    Args:
        folder: folder of a level, of a size, or of the whole release.
        size: side of the images.
        level: name of the level; None: the hardest one that is there.

    Raises BadFile if there is no such folder, UnknownName for an unknown level.
    """
    if level is not None and level not in LEVELS:
        raise UnknownName("Pathfinder level", level, LEVELS)
    levels = {subfolder: name for name, subfolder in reversed(LEVELS.items()) if level in (None, name)}
    images = f"pathfinder{size}"
    if folder.absolute().name in levels and (folder / "metadata").is_dir():
        return folder, levels[folder.absolute().name]
    for above in (".", images, f"lra_release/{images}", f"lra_release/lra_release/{images}"):
        for subfolder, name in levels.items():
            if (folder / above / subfolder / "metadata").is_dir():
                return folder / above / subfolder, name
    missing = " or ".join(f"{images}/{subfolder}" for subfolder in levels)
    raise BadFile(folder, f"no Pathfinder images; expected metadata/<number>.npy and imgs/ in {missing} there")


def list_images(folder: Path) -> dict[str, list[ImageFile]]:
    """The image files of each split with their labels, in the order of the release. Opens no image.

    Empty image files, of which the release has one, are left out. Raises BadFile for metadata that cannot be read.
    """
    numbered = [path for path in (folder / "metadata").glob("*.npy") if path.stem.isdecimal()]
    rows = [row for path in sorted(numbered, key=lambda path: int(path.stem)) for row in _read_metadata(folder, path)]
    if len(rows) < 10:
        raise BadFile(folder / "metadata", f"expected 10 images or more in files <number>.npy, found {len(rows)}")
    train, val = _split_sizes(folder, len(rows))
    splits = dict(zip(SPLIT_NAMES, (rows[:train], rows[train : train + val], rows[train + val :]), strict=True))
    return {split: _without_empty(files) for split, files in splits.items()}


def read_images(files: Sequence[ImageFile], size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey images (N, R, R) and labels (N,). Raises BadFile for a file that is no image of this size."""
    images = np.empty((len(files), size, size), dtype=np.uint8)
    with progress_bar("reading Pathfinder images", len(files), shown=len(files) > MANY_IMAGES) as advance:
        for index, (path, _) in enumerate(files):
            images[index] = _read_image(path, size)
            advance(index)
    return images, np.array([label for _, label in files], dtype=np.int64)


def refuse_existing(folder: Path) -> None:
    """Raises ManticoreError if `folder` exists."""
    if folder.exists():
        raise ManticoreError(f"{folder} exists and is not overwritten; choose another folder")


def write_folder(folder: Path, settings: Settings, images: DrawnImages, sizes: dict[str, int]) -> Path:
    """Write images and metadata; the folder appears complete, or not at all.

    Args:
        folder: the folder of one level, such as `pathfinder32/curv_baseline`; must not exist.
        settings: settings that the images share.
        images: the images of train, then of val, then of test.
        sizes: number of images of each split.

    Raises ManticoreError if the folder exists, and CannotWrite.
    """
    refuse_existing(folder)
    total = len(images.labels)
    with atomic_dir(folder) as unfinished:
        (unfinished / "metadata").mkdir()
        with progress_bar(f"writing {folder.name}", total, shown=total > MANY_IMAGES) as advance:
            for start in range(0, total, IMAGES_PER_FOLDER):
                indices = range(total)[start:][:IMAGES_PER_FOLDER]
                _write_batch(unfinished, start // IMAGES_PER_FOLDER, settings, images, indices)
                advance(start)
        write_json(unfinished / SIZES_FILE, sizes)
    return folder


def _write_batch(folder: Path, number: int, settings: Settings, images: DrawnImages, indices: Sequence[int]) -> None:
    """Write the images at `indices` into folder `imgs/<number>`, and their metadata."""
    subfolder = f"imgs/{number}"
    (folder / subfolder).mkdir(parents=True)
    contours = f"{settings.continuity} {settings.contour} {settings.distractor} {settings.paddle} {settings.thickness}"
    lines = []
    for n, index in enumerate(indices):
        name = f"sample_{n}.png"
        Image.fromarray(images.images[index]).save(folder / subfolder / name)
        lines.append(f"{subfolder} {name} {n} {images.labels[index]} {contours} {images.margins[index]} 1\n")
    (folder / "metadata" / f"{number}.npy").write_text("".join(lines), encoding="ascii")


def _read_metadata(folder: Path, path: Path) -> list[ImageFile]:
    try:
        lines = read_bytes(check_regular(path)).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadFile(path, "expected text, one line for each image, as in the Long Range Arena release") from None
    columns = max(len(lines[0].split(" ")), LABEL_COLUMN + 1) if lines else 0
    rows = []
    for number, line in enumerate(lines, start=1):
        row = line.split(" ")
        if len(row) != columns:
            raise BadFile(path, f"expected {columns} columns between spaces, found {len(row)}", number)
        label = row[LABEL_COLUMN]
        if label not in ("0", "1"):
            raise BadFile(path, f"expected a label 0 or 1 in column {LABEL_COLUMN + 1}, found '{label[:20]}'", number)
        image = folder / row[0] / row[1]
        if ".." in image.parts[len(folder.parts) :] or not image.is_relative_to(folder):
            raise BadFile(path, f"names an image outside of {folder}: {image}", number)
        if not image.is_file():
            raise BadFile(path, f"names an image that does not exist: {image}", number)
        rows.append((image, int(label)))
    return rows


def _split_sizes(folder: Path, count: int) -> tuple[int, int]:
    """Number of images of train and of val; the rest is test."""
    path = folder / SIZES_FILE
    if not path.exists():
        return count * 8 // 10, count // 10
    sizes = read_json(path)
    valid = isinstance(sizes, dict) and all(type(sizes.get(name)) is int and sizes[name] > 0 for name in SPLIT_NAMES)
    if not valid or sum(sizes[name] for name in SPLIT_NAMES) != count:
        raise BadFile(path, f"expected sizes of {', '.join(SPLIT_NAMES)} that add up to the {count} images there are")
    return sizes["train"], sizes["val"]


def _without_empty(files: list[ImageFile]) -> list[ImageFile]:
    kept = [file for file in files if file[0].stat().st_size]
    if len(kept) < len(files):
        log.warning("left out %d of %d Pathfinder images: their files are empty", len(files) - len(kept), len(files))
    return kept


def _read_image(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG",)) as image:
                if image.size != (size, size):  # before it is decompressed
                    raise BadFile(path, f"expected {size}x{size} pixels, found {image.width}x{image.height}")
                return np.asarray(image.convert("L"))
    except BadFile:
        raise
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise BadFile(path, f"expected a PNG image ({str(error)[:80]})") from None
