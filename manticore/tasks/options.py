"""Options of a task's data. The string under a field is its help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from manticore.errors import ManticoreError, UnknownName
from manticore.utils.fields import Checked, NonNegativeInt, PositiveInt, Range

Preset = Literal["auto", "cpu", "paper"]
PRESETS: tuple[str, ...] = get_args(Preset)


@dataclass(frozen=True)
class TaskOptions(Checked):
    """The task and its data."""

    name: str = "lra-listops"
    """Name of the task; its own settings follow after @, as in mad-memorization@vocab_size=512,seq_len=64."""

    preset: Preset = "auto"
    """Scale of the task: paper (the official one), cpu (a short variant), or auto (paper where there is a GPU)."""

    data_dir: str | None = None
    """Folder with the task's official files, or with text. Default: generate the data, or use the sample text."""

    cache_dir: str | None = None
    """Folder for generated data. Default: $MANTICORE_CACHE or ~/.cache/manticore."""

    train: Annotated[int, Range(least=2)] | None = None
    """Number of training examples, of which half are for weights and half for alphas. Default: the preset's, or all of
    the file."""

    val: PositiveInt | None = None
    """Number of validation examples. Default: the preset's, or all of the file."""

    test: PositiveInt | None = None
    """Number of test examples. Default: the preset's, or all of the file."""

    min_length: int | None = None
    """Tokens, exclusive: sequences are longer than this. Default: the preset's."""

    max_length: int | None = None
    """Tokens, exclusive: sequences are shorter than this. Default: the preset's."""

    max_depth: int | None = None
    """Levels of an expression, the root included. Default: the preset's."""

    max_args: int | None = None
    """Most arguments of an operator. Default: the preset's."""

    seed: NonNegativeInt = 0
    """Seed of the data generator and of the split into examples for weights and for alphas."""

    workers: NonNegativeInt = 0
    """Number of processes that generate data; 0: all cores where that is faster. Does not change the data."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.settings

    @property
    def bare_name(self) -> str:
        """The task's name without settings."""
        return self.name.partition("@")[0]

    @property
    def settings(self) -> dict[str, str]:
        """The settings after `@` in the name, as text. Raises ManticoreError unless they are `key=value,...`."""
        task, _, rest = self.name.partition("@")
        settings: dict[str, str] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = (word.strip() for word in part.partition("="))
            if not (key and equals and value):
                raise ManticoreError(f"expected key=value after '{task}@', got '{part}'")
            if key in settings:
                raise ManticoreError(f"'{task}@' has '{key}' twice")
            settings[key] = value
        return settings


def choose_preset(preset: Preset) -> tuple[Literal["cpu", "paper"], str]:
    """The preset that `preset` stands for on this machine, and the reason as text. Raises UnknownName."""
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if preset != "auto":
        return preset, "you asked for it"
    import torch  # here, so that a list of tasks needs no torch

    if torch.cuda.is_available():
        return "paper", f"there is a GPU ({torch.cuda.get_device_name()})"
    return "cpu", "there is no CUDA GPU on this machine"
