"""Tasks: labelled token sequences in four disjoint splits.

Names are looked up when first used, so that the processes that draw ListOps expressions import neither torch nor NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from manticore.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from manticore.tasks.catalog import load_task as load_task
    from manticore.tasks.catalog import task_info as task_info
    from manticore.tasks.catalog import tasks as tasks
    from manticore.tasks.catalog import write_task as write_task
    from manticore.tasks.dataset import Examples as Examples
    from manticore.tasks.dataset import Splits as Splits
    from manticore.tasks.dataset import check_disjoint as check_disjoint
    from manticore.tasks.dataset import halves as halves
    from manticore.tasks.info import TaskInfo as TaskInfo
    from manticore.tasks.options import TaskOptions as TaskOptions
    from manticore.tasks.options import choose_preset as choose_preset
    from manticore.tasks.sampled import SampledTask as SampledTask
    from manticore.tasks.task import Task as Task
    from manticore.tasks.vocabulary import Vocabulary as Vocabulary

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "catalog": ("load_task", "task_info", "tasks", "write_task"),
        "dataset": ("Examples", "Splits", "check_disjoint", "halves"),
        "info": ("TaskInfo",),
        "options": ("TaskOptions", "choose_preset"),
        "sampled": ("SampledTask",),
        "task": ("Task",),
        "vocabulary": ("Vocabulary",),
    },
)
