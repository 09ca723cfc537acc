"""Which scale a run has: the paper's, or one a laptop manages. Knows no task."""

from __future__ import annotations

from manticore.errors import UnknownName
from manticore.tasks.options import PRESETS


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
