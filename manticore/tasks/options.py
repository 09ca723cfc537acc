"""What a user may say about a task's data. The strings under the fields are the help texts."""

from __future__ import annotations

from dataclasses import dataclass

from manticore.errors import ManticoreError, UnknownName

PRESETS = ("auto", "cpu", "paper")


@dataclass(frozen=True)
class TaskOptions:
    """What a user may say about a task's data."""

    name: str = "lra-listops"
    """Name of the task; settings of its own go after `@`, as in `mad-memorization@vocab_size=512,seq_len=64`."""

    preset: str = "auto"
    """Scale of the task: `paper` (the official one), `cpu` (a short variant), or `auto`: paper where there is a GPU."""

    data_dir: str | None = None
    """Folder with the task's official files. Default: generate the data."""

    cache_dir: str | None = None
    """Folder that keeps generated data. Default: $MANTICORE_CACHE or ~/.cache/manticore."""

    train: int | None = None
    """Number of training examples, halved into weights and alphas. Default: the preset's, or all of the file."""

    val: int | None = None
    """Number of validation examples. Default: the preset's, or all of the file."""

    test: int | None = None
    """Number of test examples. Default: the preset's, or all of the file."""

    min_length: int | None = None
    """Tokens, exclusive: sequences are longer than this. Default: the preset's."""

    max_length: int | None = None
    """Tokens, exclusive: sequences are shorter than this. Default: the preset's."""

    max_depth: int | None = None
    """Levels of an expression, the root included. Default: the preset's."""

    max_args: int | None = None
    """Most arguments of an operator. Default: the preset's."""

    seed: int = 0
    """Seed of the generator and of the split into weights and alphas."""

    workers: int = 0
    """Number of processes that generate data; 0 means all cores where it pays. Does not change the data."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise UnknownName("preset", self.preset, PRESETS)
        _ = self.settings
        least = {"train": 2, "val": 1, "test": 1, "workers": 0}
        for field, bound in least.items():
            given = getattr(self, field)
            if given is not None and given < bound:
                raise ManticoreError(f"task option '{field}' must be at least {bound}, got {given}")

    @property
    def bare_name(self) -> str:
        """The task's name without settings."""
        return self.name.partition("@")[0]

    @property
    def settings(self) -> dict[str, str]:
        """What was set after `@` in the name, as it was written. Raises ManticoreError if it is not `key=value,...`."""
        base, _, rest = self.name.partition("@")
        held: dict[str, str] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = (word.strip() for word in part.partition("="))
            if not (key and equals and value):
                raise ManticoreError(f"expected key=value after '{base}@', got '{part}'")
            if key in held:
                raise ManticoreError(f"'{base}@' is given '{key}' twice")
            held[key] = value
        return held


def choose_preset(preset: str) -> tuple[str, str]:
    """The preset meant by `preset`, `cpu` or `paper`, and the reason in words. Raises UnknownName."""
    if preset not in PRESETS:
        raise UnknownName("preset", preset, PRESETS)
    if preset != "auto":
        return preset, "you asked for it"
    import torch  # here, so that a list of tasks needs no torch

    if torch.cuda.is_available():
        return "paper", f"there is a GPU ({torch.cuda.get_device_name()})"
    return "cpu", "there is no CUDA GPU on this machine"
