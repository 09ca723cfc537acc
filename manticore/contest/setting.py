"""Where a contest is held: its folder, its processes, and a look at whether it can be before it begins."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from manticore.components.tokenizers import one_vocabulary
from manticore.contest.rounds import Crew
from manticore.contest.trials import Work
from manticore.errors import ManticoreError
from manticore.jobs import JobStore
from manticore.recipe import Recipe, RunOptions
from manticore.runs.aligning import check_projectors
from manticore.runs.choosing import settled_home
from manticore.runs.folder import RunFolder
from manticore.runs.workshop import Workshop
from manticore.tasks.base import Task
from manticore.tasks.language import LanguageTask
from manticore.training.fit import Machine

RESULTS = ("comparison.json", "program.json")
"""What a contest leaves, whichever it is."""


def check_out(out: Path, result: str) -> None:
    """Raises ManticoreError if `out` holds anything but trials and the `result` of a contest of the same kind."""
    if out.exists() and not out.is_dir():
        raise ManticoreError(f"{out} is a file; --out needs a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "trials").is_dir():
        raise ManticoreError(f"{out} already holds something else than trials; choose another --out")
    for other in RESULTS:
        if other != result and (out / other).exists():
            raise ManticoreError(f"{out} already holds {other}; choose another --out")


def crew_of(recipe: Recipe, out: Path, workers: int, console: Console) -> Crew:
    """Processes that keep their trials in `out/trials` and share the machine's cores."""
    work = Work(out / "models", shared(recipe.run, workers), recipe.task.cache_dir)
    return Crew(JobStore(out / "trials"), work, workers, console)


def shared(options: RunOptions, workers: int) -> RunOptions:
    """The machine's cores shared by the processes, unless threads were asked for."""
    return options if options.threads else replace(options, threads=max(1, (os.cpu_count() or 1) // workers))


def rehearse(recipe: Recipe, task: Task, machine: Machine) -> Workshop:
    """Build and read what would be trained, once, and return the means.

    Raises ManticoreError, with the task's name, if that cannot be.
    """
    try:
        shop = Workshop(recipe, task, machine, RunFolder(Path()), Console(quiet=True))
        check_projectors(shop)
        for name in shop.space.names:
            its = shop.read_as(name)
            its.supernet(name, recipe.search.relaxation, "rehearsal")
            its.task.splits()
        return shop
    except ManticoreError as error:
        raise ManticoreError(f"{task.name}: {error}") from None


def barred(shop: Workshop) -> dict[str, str]:
    """Contenders that were asked for but cannot take part in the task, each in words and with the reason."""
    out = {}
    if isinstance(shop.task, LanguageTask):
        out["designed"] = "MambaFormer and the striped hybrid, which have no pretrained weights to begin with"
        if not one_vocabulary([held.tokenizer for held in shop.components]):
            out["hub"] = "the hub, which mixes embeddings and heads and needs one tokenizer for all"
    return {name: words for name, words in out.items() if name in shop.recipe.contest.contenders}


def invited(shop: Workshop, console: Console) -> Recipe:
    """The recipe with those contenders that can take part in the task, and with home, if that is settled by now.

    There is a line on each contender that cannot.
    """
    recipe, contest, absent = shop.recipe, shop.recipe.contest, barred(shop)
    for words in absent.values():
        console.print(f"{shop.task.name}: without {words}", highlight=False, soft_wrap=True)
    able = tuple(name for name in contest.contenders if name not in absent)
    settled = settled_home(shop)
    if settled is not None and not shop.space.home:
        console.print(f"{shop.task.name}: home: {settled[0]} ({settled[1]})", highlight=False, soft_wrap=True)
        recipe = replace(recipe, space={**recipe.space, "home": settled[0]})
    return replace(recipe, contest=replace(contest, contenders=able))
