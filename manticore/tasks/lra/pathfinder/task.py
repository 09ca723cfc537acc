"""Pathfinder of the Long Range Arena: do two discs mark one contour? At 32, 64, 128 (Path-X) and 256 pixels a side.

Tay et al., "Long Range Arena" (arXiv 2011.04006). The model reads one token a pixel, row by row; class 1 is yes. Names
tell how comparable a number is: `lra-pathfinder32` has the benchmark's contours of 14 paddles, `@level=intermediate`
those of 9, `@level=easy` those of 6. Knows no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from manticore.tasks.cache import Arrays, cached_arrays
from manticore.tasks.classification.images import PIXELS, mean_pixel, pack
from manticore.tasks.info import TaskInfo
from manticore.tasks.lra.archive import ARCHIVE
from manticore.tasks.lra.pathfinder.files import level_folder, listed, read_images, refuse_existing, write_folder
from manticore.tasks.lra.pathfinder.settings import LEVELS, PADDLES, Drawn, Settings, settings
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import PARTS, Source, SplitTask, TrainValTest, first, refuse_shape, with_settings
from manticore.tasks.task import tasks
from manticore.utils.io import cache_folder

# Raised whenever the same parameters come to mean other data, so that no cache made before is believed.
DATA_VERSION = 1

OFFICIAL = {"train": 160_000, "val": 20_000, "test": 20_000}
SMALL = {32: 40_000, 64: 8_000, 128: 4_000, 256: 1_600}
"""Training examples of preset `cpu`, by size: half a minute on two cores. Val and test have a tenth each."""

LEVEL = f"{', '.join(LEVELS)}: contours of {', '.join(map(str, PADDLES.values()))} paddles"
"""What the setting means."""

FILES = (
    f"pathfinder{{size}}/ with {', '.join(f'{inside} ({name})' for name, inside in LEVELS.items())} or one of them, "
    f"each with metadata/<k>.npy and imgs/<k>/sample_<n>.png, as in {ARCHIVE}, "
    "or as this writes them: manticore data lra-pathfinder{size} --out DIR"
)
"""What files a task can be read from."""


class Pathfinder(SplitTask):
    """Pathfinder from either source; `generated` and `from_files` make the two kinds.

    Args:
        options: where the name comes from, and the seed of the division of train into weights and alphas.
        size: side of the images.
        level: `easy`, `intermediate` or `hard`.
        source: makes the three parts when they are first needed.
        words: where the images come from, for `describe`.
        writer: writes the task into a folder, where it has been generated.
        sizes: see `Task`.
    """

    def __init__(
        self,
        options: TaskOptions,
        size: int,
        level: str,
        source: Source,
        words: str,
        writer: Callable[[Path], Path] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        held = {"level": level}
        name = with_settings(options, {"level": "hard"}, held)
        cues = {"mean pixel": mean_pixel}
        classes = ("apart", "joined")
        super().__init__(name, PIXELS, classes, size**2, source, options.seed, words, cues, held, sizes=sizes)
        self.files = FILES.format(size=size)
        self._writer = writer

    def sheet(self) -> TaskInfo:
        """What is known without images, with what a level means."""
        return replace(super().sheet(), helps={"level": LEVEL})

    def write(self, folder: Path) -> list[Path]:
        return super().write(folder) if self._writer is None else [self._writer(folder)]


def pathfinder(options: TaskOptions, size: int) -> Pathfinder:
    """Pathfinder from the official folders in `options.data_dir`, or generated where none is given.

    Raises ManticoreError (or BadFile) for options it has no use for and for folders that are not Pathfinder's.
    """
    refuse_shape(options)
    return from_files(options, size) if options.data_dir is not None else generated(options, size)


def generated(options: TaskOptions, size: int) -> Pathfinder:
    """Pathfinder drawn at the preset's level and scale, except where the options say otherwise."""
    preset = choose_preset(options.preset)[0]
    level = options.settings.get("level", "hard" if preset == "paper" else "easy")
    usual = OFFICIAL if preset == "paper" else {part: SMALL[size] // (1 if part == "train" else 10) for part in PARTS}
    sizes = {part: getattr(options, part) or usual[part] for part in PARTS}
    held = settings(size, level)

    def drawn(counts: Mapping[str, int]) -> Drawn:
        parameters = {**asdict(held), **counts, "seed": options.seed, "version": DATA_VERSION}
        make = partial(_draw, held, sum(counts.values()), options)
        return Drawn(**cached_arrays(cache_folder(options.cache_dir), f"pathfinder{size}-{level}", parameters, make))

    def source() -> TrainValTest:
        made, parts, start = drawn(sizes), {}, 0
        for part, count in sizes.items():
            span = slice(start, start := start + count)
            parts[part] = pack(made.images[span], made.labels[span])
        return TrainValTest(**parts)

    def write(folder: Path) -> Path:
        target = folder / f"pathfinder{size}" / LEVELS[level]
        refuse_existing(target)
        written = in_proportion(sizes, options)
        return write_folder(target, held, drawn(written), written)

    words = f"generated with seed {options.seed}: {size}x{size} pixels, contours of {held.contour} paddles"
    return Pathfinder(options, size, level, source, words, write, sizes)


def _draw(held: Settings, wanted: int, options: TaskOptions) -> Arrays:
    from manticore.tasks.lra.pathfinder.generate import generate  # here, so that a list of tasks needs no numba

    return dict(vars(generate(held, wanted, options.seed, options.workers)))


def in_proportion(sizes: dict[str, int], options: TaskOptions) -> dict[str, int]:
    """Sizes of a folder to write: where train alone is asked for, val and test keep the release's 8 : 1 : 1 to it."""
    if options.train is None:
        return sizes
    share = max(1, options.train * OFFICIAL["val"] // OFFICIAL["train"])
    return {"train": options.train, "val": options.val or share, "test": options.test or share}


def from_files(options: TaskOptions, size: int) -> Pathfinder:
    """Pathfinder from the official folders, read and checked at once: of the level set, or the hardest there is."""
    folder, level = level_folder(Path(str(options.data_dir)).expanduser(), size, options.settings.get("level"))
    read = {
        part: pack(*read_images(first(files, getattr(options, part), part, str(folder)), size))
        for part, files in listed(folder).items()
    }
    parts = TrainValTest(**read).distinct("Pathfinder")
    return Pathfinder(options, size, level, lambda: parts, f"read from {folder}")


def _enter(name: str, size: int, note: str = "") -> None:
    def make(options: TaskOptions) -> Pathfinder:
        return pathfinder(options, size)

    make.__doc__ = f"Do two discs mark one contour? {size}x{size} grey pixels, {size**2:,} tokens{note}."
    tasks.register(name)(make)


for _size in SMALL:
    _enter(f"lra-pathfinder{_size}", _size)
_enter("lra-pathx", 128, " (Path-X: the images of lra-pathfinder128)")
