"""Pathfinder of the Long Range Arena: do two discs mark one contour? With 32, 64, 128 (Path-X) or 256 pixels a side.

Tay et al., "Long Range Arena" (arXiv 2011.04006). The model reads one token for each pixel, row by row; class 1 is yes.
The name of the task in results determines which results are comparable: `lra-pathfinder32` has the benchmark's contours
of 14 paddles, `@level=intermediate` has contours of 9, `@level=easy` of 6.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from manticore.tasks.cache import cached_arrays
from manticore.tasks.classification.images import PIXELS, mean_pixel, pack
from manticore.tasks.info import TaskInfo
from manticore.tasks.lra import ARCHIVE
from manticore.tasks.lra.pathfinder.files import level_folder, list_images, read_images, refuse_existing, write_folder
from manticore.tasks.lra.pathfinder.settings import LEVELS, PADDLES, DrawnImages, Settings, settings_of
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import SPLIT_NAMES, Loader, SplitTask, TrainValTest, take_first
from manticore.tasks.task import tasks
from manticore.utils.arrays import Arrays
from manticore.utils.io import cache_folder

DATA_VERSION = 1
"""Version of the generated data; incremented when the data changes, to invalidate cached files."""

OFFICIAL = {"train": 160_000, "val": 20_000, "test": 20_000}
SMALL = {32: 40_000, 64: 8_000, 128: 4_000, 256: 1_600}
"""Training examples of preset `cpu`, by size; half a minute on two cores. Val and test have a tenth each."""

LEVEL_HELP = f"{', '.join(LEVELS)}: contours of {', '.join(map(str, PADDLES.values()))} paddles"
"""Meaning of the setting `level`."""

FILES = (
    f"pathfinder{{size}}/ with {', '.join(f'{folder} ({name})' for name, folder in LEVELS.items())} or one of them, "
    f"each with metadata/<k>.npy and imgs/<k>/sample_<n>.png, as in {ARCHIVE}, "
    "or as this writes them: manticore data lra-pathfinder{size} --out DIR"
)
"""The files that a task can be read from."""


class Pathfinder(SplitTask):
    """Pathfinder, generated (`generated`) or read from files (`from_files`).

    Args:
        options: the name, and the seed of the halves of train.
        size: side of the images.
        level: `easy`, `intermediate` or `hard`.
        load, origin: see `SplitTask`.
        write: writes the task into a folder and returns the folder; None if the images are not generated.
        sizes: see `Task`.
    """

    def __init__(
        self,
        options: TaskOptions,
        size: int,
        level: str,
        load: Loader,
        origin: str,
        write: Callable[[Path], Path] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        settings = {"level": level}
        super().__init__(
            options.name_with(settings, official={"level": "hard"}),
            PIXELS,
            label_names=("apart", "joined"),
            max_length=size**2,
            load=load,
            seed=options.seed,
            origin=origin,
            features={"mean pixel": mean_pixel},
            settings=settings,
            sizes=sizes,
        )
        self.files = FILES.format(size=size)
        self._write = write

    def info(self) -> TaskInfo:
        """The description of the task without images, with the meaning of the levels."""
        return replace(super().info(), setting_help={"level": LEVEL_HELP})

    def write(self, folder: Path) -> list[Path]:
        return super().write(folder) if self._write is None else [self._write(folder)]


def pathfinder(options: TaskOptions, size: int) -> Pathfinder:
    """Pathfinder from the official folders in `options.data_dir`, or generated if there is none.

    Raises ManticoreError (or BadFile) for folders that are not Pathfinder's.
    """
    return from_files(options, size) if options.data_dir is not None else generated(options, size)


def generated(options: TaskOptions, size: int) -> Pathfinder:
    """Pathfinder drawn at the level and the scale of the preset and the options."""
    preset = choose_preset(options.preset)[0]
    level = options.settings.get("level", "hard" if preset == "paper" else "easy")
    small = {split: SMALL[size] // (1 if split == "train" else 10) for split in SPLIT_NAMES}
    default = OFFICIAL if preset == "paper" else small
    sizes = {split: getattr(options, split) or default[split] for split in SPLIT_NAMES}
    settings = settings_of(size, level)

    def images(counts: Mapping[str, int]) -> DrawnImages:
        parameters = {**asdict(settings), **counts, "seed": options.seed, "version": DATA_VERSION}
        generate = partial(_generate, settings, sum(counts.values()), options)
        folder = cache_folder(options.cache_dir)
        return DrawnImages(**cached_arrays(folder, f"pathfinder{size}-{level}", parameters, generate))

    def load() -> TrainValTest:
        drawn, splits, start = images(sizes), {}, 0
        for split, count in sizes.items():
            span = slice(start, start := start + count)
            splits[split] = pack(drawn.images[span], drawn.labels[span])
        return TrainValTest(**splits)

    def write(folder: Path) -> Path:
        target = folder / f"pathfinder{size}" / LEVELS[level]
        refuse_existing(target)
        counts = file_sizes(sizes, options)
        return write_folder(target, settings, images(counts), counts)

    origin = f"generated with seed {options.seed}: {size}x{size} pixels, contours of {settings.contour} paddles"
    return Pathfinder(options, size, level, load, origin, write, sizes)


def _generate(settings: Settings, count: int, options: TaskOptions) -> Arrays:
    from manticore.tasks.lra.pathfinder.generate import generate  # here, so that tasks can be listed without numba

    return dict(vars(generate(settings, count, options.seed, options.workers)))


def file_sizes(sizes: dict[str, int], options: TaskOptions) -> dict[str, int]:
    """Sizes of the splits to write: if only train is set, val and test follow the release's ratio 8 : 1 : 1."""
    if options.train is None:
        return sizes
    share = max(1, options.train * OFFICIAL["val"] // OFFICIAL["train"])
    return {"train": options.train, "val": options.val or share, "test": options.test or share}


def from_files(options: TaskOptions, size: int) -> Pathfinder:
    """Pathfinder from the official folders, which are read and checked now: of the set level, or of the hardest."""
    folder, level = level_folder(options.data_folder, size, options.settings.get("level"))
    read = {
        split: pack(*read_images(take_first(files, getattr(options, split), split, str(folder)), size))
        for split, files in list_images(folder).items()
    }
    splits = TrainValTest(**read).without_duplicates("Pathfinder")
    return Pathfinder(options, size, level, lambda: splits, f"read from {folder}")


def _register(name: str, size: int, note: str = "") -> None:
    def make(options: TaskOptions) -> Pathfinder:
        return pathfinder(options, size)

    make.__doc__ = f"Do two discs mark one contour? {size}x{size} grey pixels, {size**2:,} tokens{note}."
    tasks.register(name)(make)


for _size in SMALL:
    _register(f"lra-pathfinder{_size}", _size)
_register("lra-pathx", 128, " (Path-X: the images of lra-pathfinder128)")
