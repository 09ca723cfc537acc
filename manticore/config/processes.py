"""How many processes train together, as the options of a command. They are no part of a recipe: results are equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from manticore.errors import ManticoreError
from manticore.utils.fields import Checked, PositiveInt


@dataclass(frozen=True)
class ProcessOptions(Checked):
    """The processes of a command that trains, each on a device of its own; see the guide on several processes."""

    devices: str | None = None
    """Number of processes on each machine that train together, each on a GPU or on the CPU, or auto (one for each
    visible GPU). Default: those that torchrun or SLURM has started, else 1."""

    num_nodes: PositiveInt = 1
    """Number of machines."""

    distributed: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes share the model: ddp (each has all of it), fsdp (each has a part of every weight) or auto
    (ddp)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices is not None and self.devices != "auto" and not (self.devices.isdecimal() and int(self.devices)):
            raise ManticoreError(f"--devices must be a number above 0 or auto, not '{self.devices}'")
