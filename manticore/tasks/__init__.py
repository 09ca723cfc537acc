"""Tasks: labelled token sequences in four disjoint splits. Knows nothing of models.

Names are looked up when first used, so that the processes that draw ListOps expressions import neither torch nor NumPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manticore.tasks.base import Examples as Examples
    from manticore.tasks.base import Sheet as Sheet
    from manticore.tasks.base import Splits as Splits
    from manticore.tasks.base import Task as Task
    from manticore.tasks.base import TaskOptions as TaskOptions
    from manticore.tasks.base import Vocabulary as Vocabulary
    from manticore.tasks.base import check_disjoint as check_disjoint
    from manticore.tasks.base import halves as halves
    from manticore.tasks.catalog import load_task as load_task
    from manticore.tasks.catalog import sheet_of as sheet_of
    from manticore.tasks.catalog import tasks as tasks
    from manticore.tasks.catalog import write_task as write_task
    from manticore.tasks.presets import choose_preset as choose_preset
    from manticore.tasks.sampled import SampledTask as SampledTask

_HOMES = {
    "base": ("Examples", "Sheet", "Splits", "Task", "TaskOptions", "Vocabulary", "check_disjoint", "halves"),
    "catalog": ("load_task", "sheet_of", "tasks", "write_task"),
    "presets": ("choose_preset",),
    "sampled": ("SampledTask",),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
