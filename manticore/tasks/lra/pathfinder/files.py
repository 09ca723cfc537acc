"""Pathfinder in the folders of the Long Range Arena release: writes them whole or not at all, reads and checks them.

    pathfinder32/curv_contour_length_14/imgs/<k>/sample_<n>.png
    pathfinder32/curv_contour_length_14/metadata/<k>.npy

The metadata are text in spite of their name, one line for each image: folder, file, number, label, continuity, paddles
in a long contour, in a short one, paddle length, thickness, margin, number of contrasts. The release divides the list,
metadata files in the order of their numbers, into train, val and test by 80, 10 and 10 per cent; a folder written here
says in a file of its own, `splits.json`, how many each part has.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks.lra.pathfinder.settings import LEVELS, Drawn, Settings
from manticore.tasks.splits import PARTS
from manticore.utils.console import progress_bar
from manticore.utils.io import read_json, write_json

log = logging.getLogger("manticore.tasks")

SPLITS = "splits.json"
PER_FOLDER = 1_000
MANY = 2_000
LABEL = 3

Listed = tuple[Path, int]
"""An image's file and its label."""


def level_folder(folder: Path, size: int, level: str | None = None) -> tuple[Path, str]:
    """The folder of one level's images, `folder` itself or below it, and the level's name.

    Args:
        folder: of a level, of a size, or of the whole release.
        size: side of the images.
        level: which level; by default the hardest that is there.

    Raises BadFile if there is none, UnknownName for a level there is not.
    """
    if level is not None and level not in LEVELS:
        raise UnknownName("Pathfinder level", level, LEVELS)
    wanted = {inside: name for name, inside in reversed(LEVELS.items()) if level in (None, name)}
    images = f"pathfinder{size}"
    if folder.absolute().name in wanted and (folder / "metadata").is_dir():
        return folder, wanted[folder.absolute().name]
    for above in (".", images, f"lra_release/{images}", f"lra_release/lra_release/{images}"):
        for inside, name in wanted.items():
            if (folder / above / inside / "metadata").is_dir():
                return folder / above / inside, name
    missing = " or ".join(f"{images}/{inside}" for inside in wanted)
    raise BadFile(folder, f"no Pathfinder images; expected metadata/<number>.npy and imgs/ in {missing} there")


def listed(folder: Path) -> dict[str, list[Listed]]:
    """The files of each part with their labels, in the release's order; none is opened.

    Empty image files, of which the release has one, are left out. Raises BadFile.
    """
    numbered = [path for path in (folder / "metadata").glob("*.npy") if path.stem.isdecimal()]
    rows = [row for path in sorted(numbered, key=lambda path: int(path.stem)) for row in _read_metadata(folder, path)]
    if len(rows) < 10:
        raise BadFile(folder / "metadata", f"expected 10 images or more in files <number>.npy, found {len(rows)}")
    train, val = _divide(folder, len(rows))
    parts = dict(zip(PARTS, (rows[:train], rows[train : train + val], rows[train + val :]), strict=True))
    return {part: _not_empty(held) for part, held in parts.items()}


def read_images(files: Sequence[Listed], size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey images (N, R, R) and labels (N,). Raises BadFile for one that is no image of this size."""
    images = np.empty((len(files), size, size), dtype=np.uint8)
    with progress_bar("reading Pathfinder images", len(files), shown=len(files) > MANY) as advance:
        for at, (path, _) in enumerate(files):
            images[at] = _read_image(path, size)
            advance(at)
    return images, np.array([label for _, label in files], dtype=np.int64)


def refuse_existing(folder: Path) -> None:
    """Raises ManticoreError if `folder` is already there."""
    if folder.exists():
        raise ManticoreError(f"{folder} exists and is not overwritten; choose another folder")


def write_folder(folder: Path, held: Settings, drawn: Drawn, sizes: dict[str, int]) -> Path:
    """Write images and metadata; the folder appears whole or not at all.

    Args:
        folder: of one level, such as `pathfinder32/curv_baseline`; must not exist.
        held: what the images have in common.
        drawn: the images, those of train first, then val, then test.
        sizes: how many each part has.

    Raises ManticoreError if the folder exists or cannot be written.
    """
    refuse_existing(folder)
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        (part / "metadata").mkdir(parents=True)
        with progress_bar(f"writing {folder.name}", len(drawn.labels), shown=len(drawn.labels) > MANY) as advance:
            for start in range(0, len(drawn.labels), PER_FOLDER):
                _write_batch(part, start // PER_FOLDER, held, drawn, range(len(drawn.labels))[start:][:PER_FOLDER])
                advance(start)
        write_json(part / SPLITS, sizes)
        part.rename(folder)
    except OSError as error:
        raise ManticoreError(f"cannot write to {folder}: {error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _write_batch(folder: Path, number: int, held: Settings, drawn: Drawn, chosen: Sequence[int]) -> None:
    inside = f"imgs/{number}"
    (folder / inside).mkdir(parents=True)
    common = f"{held.continuity} {held.contour} {held.distractor} {held.paddle} {held.thickness}"
    lines = []
    for place, index in enumerate(chosen):
        name = f"sample_{place}.png"
        Image.fromarray(drawn.images[index]).save(folder / inside / name)
        lines.append(f"{inside} {name} {place} {drawn.labels[index]} {common} {drawn.margins[index]} 1\n")
    (folder / "metadata" / f"{number}.npy").write_text("".join(lines), encoding="ascii")


def _read_metadata(folder: Path, path: Path) -> list[Listed]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError:
        raise BadFile(path, "expected text, one line for each image, as in the Long Range Arena release") from None
    except OSError as error:
        raise BadFile(path, f"cannot be read ({error.strerror})") from None
    columns = max(len(lines[0].split(" ")), LABEL + 1) if lines else 0
    rows = []
    for number, line in enumerate(lines, start=1):
        row = line.split(" ")
        if len(row) != columns:
            raise BadFile(path, f"expected {columns} columns between spaces, found {len(row)}", number)
        if row[LABEL] not in ("0", "1"):
            raise BadFile(path, f"expected a label 0 or 1 in column {LABEL + 1}, found '{row[LABEL][:20]}'", number)
        image = folder / row[0] / row[1]
        if not image.is_file():
            raise BadFile(path, f"names an image that is not there: {image}", number)
        rows.append((image, int(row[LABEL])))
    return rows


def _divide(folder: Path, count: int) -> tuple[int, int]:
    """How many images train and val have; the rest is test."""
    path = folder / SPLITS
    if not path.exists():
        return count * 8 // 10, count // 10
    sizes = read_json(path)
    whole = isinstance(sizes, dict) and all(type(sizes.get(part)) is int and sizes[part] > 0 for part in PARTS)
    if not whole or sum(sizes[part] for part in PARTS) != count:
        raise BadFile(path, f"expected sizes of {', '.join(PARTS)} that add up to the {count} images there are")
    return sizes["train"], sizes["val"]


def _not_empty(files: list[Listed]) -> list[Listed]:
    kept = [file for file in files if file[0].stat().st_size]
    if len(kept) < len(files):
        log.warning("left out %d of %d Pathfinder images: their files are empty", len(files) - len(kept), len(files))
    return kept


def _read_image(path: Path, size: int) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise BadFile(path, f"expected a PNG image ({str(error)[:80]})") from None
    if pixels.shape != (size, size):
        raise BadFile(path, f"expected {size}x{size} pixels, found {pixels.shape[1]}x{pixels.shape[0]}")
    return pixels
