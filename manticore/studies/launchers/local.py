"""Workers are processes of this machine."""

from __future__ import annotations

from pathlib import Path

from manticore.config.launching import LaunchOptions
from manticore.studies.launchers.base import Crew, launchers
from manticore.studies.pool import executor_for
from manticore.utils.cores import available_cores

CORES_PER_WORKER = 2
"""Cores for each of the workers whose number is chosen here: a training of small models does not use more of them."""


@launchers.register("local")
def processes(options: LaunchOptions, folder: Path) -> Crew:
    """Processes of this machine; `auto`: one for each visible GPU, without a GPU one for every two cores."""
    workers = _auto() if options.workers == "auto" else options.workers
    return Crew(executor_for(workers), workers, is_local=True)


def _auto() -> int:
    import torch  # here, because processes of a pool import this module too

    return torch.cuda.device_count() or max(1, available_cores() // CORES_PER_WORKER)
