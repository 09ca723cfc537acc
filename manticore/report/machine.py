"""The facts of a machine as names and values."""

from __future__ import annotations

from collections.abc import Mapping

from manticore.utils.formatting import counted, duration

LABELS = {"cpu": "processor", "gpu": "GPU", "python": "Python"}


def machine_facts(
    machine: Mapping[str, object], seconds: float | None = None, workers: float | None = None
) -> dict[str, object]:
    """Processor, cores, GPU and versions, and how long the work took.

    Args:
        machine: as `environment_info` records it.
        seconds: wall time; None leaves it out.
        workers: number of processes; None leaves it out.
    """
    facts = {LABELS.get(name, name): "none" if value is None else value for name, value in machine.items()}
    if seconds is not None:
        facts["time"] = duration(seconds) + ("" if workers is None else f" with {counted(workers, 'worker')}")
    return facts
