"""How many processes run the trials of a study, and what starts them. No part of a recipe: results are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import yaml

from manticore.errors import ManticoreError, shown
from manticore.utils.fields import Checked, PositiveInt, Repeated
from manticore.utils.yaml_loading import load_yaml


@dataclass(frozen=True)
class LaunchOptions(Checked):
    """The workers of a command that runs trials; see the guide on clusters."""

    workers: PositiveInt | Literal["auto"] = 1
    """Number of processes that run trials, or auto: one for each visible GPU, or for every two CPU cores."""

    launcher: str = "local"
    """What starts them: local (processes of this machine), ray (tasks of a Ray cluster), submitit (jobs of SLURM)."""

    settings: Annotated[tuple[str, ...], Repeated("KEY=VALUE")] = ()
    """Setting of the launcher, such as num_gpus=1 of ray or slurm_partition=gpu of submitit; may be repeated."""

    @property
    def values(self) -> dict[str, Any]:
        """The settings of the launcher by key, read as YAML. Raises ManticoreError."""
        return dict(map(_setting, self.settings))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.settings and self.launcher == "local":
            raise ManticoreError("--launcher-set goes with --launcher ray or submitit; local has no settings")
        _ = self.values


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise ManticoreError(f"--launcher-set takes KEY=VALUE, such as num_gpus=1, not {shown(text)}")
    try:
        return key, load_yaml(value)
    except yaml.YAMLError:
        raise ManticoreError(f"--launcher-set {key}: {shown(value)} is not a value") from None
