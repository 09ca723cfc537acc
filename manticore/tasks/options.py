"""Options of a task's data. The string under a field is its help."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from manticore.errors import SHOWN, ManticoreError, UnknownName
from manticore.utils.fields import Checked, NonNegativeInt, PositiveInt, Range, Repeated

Preset = Literal["auto", "cpu", "paper"]
MOST_DIGITS = 18
"""Most digits of a whole number after @."""

PRESETS: tuple[str, ...] = get_args(Preset)


@dataclass(frozen=True)
class TaskOptions(Checked):
    """The task, and the amount of its data."""

    name: str = "lra-listops"
    """Name of the task; its own settings follow after @, as in mad-memorization@vocab_size=512,seq_len=64."""

    preset: Preset = "auto"
    """Scale of the task: paper (the official one), cpu (a short variant), or auto (paper where there is a GPU)."""

    data_dir: Annotated[tuple[str, ...], Repeated("PATH")] | str | None = None
    """Folder with the task's official files; for text one or more files or folders. Default: generate the data, or use
    the sample text."""

    cache_dir: str | None = None
    """Folder for generated data. Default: $MANTICORE_CACHE or ~/.cache/manticore."""

    train: Annotated[int, Range(least=2)] | None = None
    """Number of training examples, halved into train and train_arch. Default: the preset's, or all of the file."""

    val: PositiveInt | None = None
    """Number of validation examples. Default: the preset's, or all of the file."""

    test: PositiveInt | None = None
    """Number of test examples. Default: the preset's, or all of the file."""

    seed: NonNegativeInt = 0
    """Seed of the generator and of the split of train into train and train_arch."""

    workers: NonNegativeInt = 0
    """Number of processes that generate data; 0: all cores if that is faster. Does not change the data."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "data_dir", plain_paths(self.data_dir))
        super().__post_init__()
        _ = self.settings

    @property
    def data_paths(self) -> tuple[Path, ...]:
        """The files and folders of `data_dir`; empty without one."""
        paths = (self.data_dir,) if isinstance(self.data_dir, str) else self.data_dir or ()
        return tuple(Path(path).expanduser() for path in paths)

    @property
    def data_folder(self) -> Path:
        """The folder of a task's official files. Raises ManticoreError unless `data_dir` is a single path."""
        if len(self.data_paths) != 1:
            number = f"{len(self.data_paths)} paths" if self.data_paths else "no path"
            raise ManticoreError(f"{self.bare_name} reads one folder, and data_dir has {number}; give one")
        return self.data_paths[0]

    @property
    def bare_name(self) -> str:
        """The task's name without settings."""
        return self.name.partition("@")[0]

    @property
    def settings(self) -> dict[str, str]:
        """The settings after `@` in the name, as text. Raises ManticoreError unless they are `key=value,...`."""
        base, _, rest = self.name.partition("@")
        settings: dict[str, str] = {}
        for pair in filter(None, rest.split(",")):
            key, equals, value = (text.strip() for text in pair.partition("="))
            if not (key and equals and value):
                raise ManticoreError(f"expected key=value after '{base}@', got '{pair}'")
            if key in settings:
                raise ManticoreError(f"'{base}@' has '{key}' twice")
            settings[key] = value
        return settings

    def int_setting(self, key: str, default: int, allowed: Collection[int]) -> int:
        """A setting that is a whole number. Raises ManticoreError if it is not one of `allowed`."""
        text = self.settings.get(key, str(default))
        if not text.isdecimal() or len(text) > MOST_DIGITS or int(text) not in allowed:
            bounds = (
                f"{min(allowed)} to {max(allowed)}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
            )
            raise ManticoreError(f"'{key}' of {self.bare_name} must be {bounds}, got {text[:SHOWN]}")
        return int(text)

    def name_with(self, settings: Mapping[str, object], official: Mapping[str, object]) -> str:
        """The name of the task in results: after `@` it has every setting that differs from the benchmark's.

        Args:
            settings: all settings of the task.
            official: the same settings of the benchmark.
        """
        return name_with_settings(self.bare_name, settings, official)


def plain_paths(value: Any) -> Any:
    """A path, or a list of paths, as text; a list of one path becomes that path, other values are returned unchanged.

    Raises ManticoreError for an empty list.
    """
    if isinstance(value, list | tuple):
        if not value:
            raise ManticoreError("data_dir is an empty list; give a path, or leave it out")
        return plain_paths(value[0]) if len(value) == 1 else tuple(map(plain_paths, value))
    return str(value) if isinstance(value, Path) else value


def choose_preset(preset: Preset, device: str = "auto") -> tuple[Literal["cpu", "paper"], str]:
    """The preset that `preset` stands for on a device of this machine, and the reason as text. Raises UnknownName."""
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if preset != "auto":
        return preset, "set by the user"
    if device == "cpu":
        return "cpu", "the device is the CPU"
    import torch  # here, so that tasks can be listed without torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name() if device == "auto" else torch.cuda.get_device_name(device)
        return "paper", f"there is a GPU ({name})"
    return "cpu", "there is no CUDA GPU on this machine"


def name_with_settings(name: str, settings: Mapping[str, object], official: Mapping[str, object]) -> str:
    """A task's name, with every setting that differs from `official` after `@`."""
    own = {key: value for key, value in settings.items() if value != official[key]}
    return f"{name}@{format_settings(own)}" if own else name


def format_setting(value: object) -> str:
    """The value of a setting as a user writes it after `@`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def format_settings(settings: Mapping[str, object]) -> str:
    """Settings as a user writes them after `@`: `seq_len=256,multi_query=false`."""
    return ",".join(f"{key}={format_setting(value)}" for key, value in settings.items())
