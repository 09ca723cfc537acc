"""The loss of a fine-tuning that learns the predictions of a teacher, such as the parent of a twin."""

from __future__ import annotations

from torch import nn

from manticore.components import Component, ComponentSpec, load
from manticore.components.tokenizers import same_vocabulary
from manticore.config.sections import MIXTURE
from manticore.errors import ManticoreError
from manticore.experiment.experiment import Experiment
from manticore.tasks.task import Task
from manticore.training.divergence import TeacherDivergence


def check_language_task(task: Task, option: str = "--teacher") -> None:
    """Raises ManticoreError if an option has no use on a task, because its models predict no next tokens."""
    if task.kind != "lm":
        raise ManticoreError(f"{option} is for language models, and {task.name} is learned by classification")


def divergence_from(teacher: Component, task: Task, rows: int) -> TeacherDivergence:
    """The divergence from a teacher, for a model of `rows` logits on a language task.

    Raises ManticoreError if the teacher has another tokenizer.
    """
    known = teacher.tokenizer is None or same_vocabulary(teacher.tokenizer, task.hf_tokenizer())
    if rows != teacher.head.out_features or not known:
        raise ManticoreError(f"the teacher '{teacher.name}' has another tokenizer than the hybrid; both must be equal")
    return TeacherDivergence(teacher.model)


def teacher_loss(exp: Experiment, supernet: nn.Module | None = None) -> TeacherDivergence | None:
    """The loss of the fine-tuning in a search; None: the cross-entropy of the labels.

    `finetune.teacher` is a component of the space by its name, whose weights the search does not change, another model,
    or `mixture`: the searched supernet itself, whose soft mixture teaches the discrete path. Raises as
    `check_language_task` and `divergence_from` do, and ManticoreError if the model cannot be loaded.
    """
    name = exp.recipe.finetune.teacher
    if name is None:
        return None
    if name == MIXTURE:
        return None if supernet is None else TeacherDivergence(supernet)
    check_language_task(exp.task)
    if name not in exp.cache.teachers:
        known = exp.component(name) if name in exp.space.names else load(ComponentSpec(name))
        exp.cache.teachers[name] = known
    teacher = exp.cache.teachers[name]
    base = exp.component(exp.space.base or exp.space.names[0])
    return divergence_from(teacher, exp.task, base.head.out_features)
