"""The page of a study: `report.html` beside `comparison.json`, made of the data of that file alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from manticore.report.charts.palette import Palette
from manticore.report.charts.ranking import ranking_chart
from manticore.report.machine import machine_facts
from manticore.report.rendering import render
from manticore.report.study.charts import arm_color, leads_chart, task_chart
from manticore.report.study.summary import (
    BUDGETS,
    fairness,
    interval_note,
    leads_note,
    ranking_caption,
    ranking_sentence,
    scores_note,
    sentence,
    task_caption,
    task_sentences,
)
from manticore.report.study.tables import overview_table, task_table, with_leads, without_percent
from manticore.report.table import Table
from manticore.results.study import StudyResult, TaskResult
from manticore.utils.formatting import counted
from manticore.utils.io import write_text


@dataclass(frozen=True)
class Overview:
    """All tasks under one budget: the leads of the hybrid as charts, and the scores as a table."""

    budget: str
    caption: str
    charts: list[Markup]
    table: Table


@dataclass(frozen=True)
class TaskSection:
    """One task: its charts, a table for each budget, and sentences. Parts that were not measured are empty."""

    name: str
    caption: str
    chart: Markup
    tables: list[tuple[str, Table]]
    colors: dict[str, str]
    sentences: list[str]
    ranking: Markup | None
    ranking_caption: str
    ranking_sentence: str


def write_study_report(folder: Path | str) -> Path:
    """Write `report.html` beside `comparison.json`, and return its path.

    Raises BadFile if `comparison.json` is missing or is not what `manticore compare` writes.
    """
    file = Path(folder) / "report.html"
    write_text(file, render_study(StudyResult.load(folder)))
    return file


def render_study(study: StudyResult) -> str:
    """The whole page."""
    used = [name for task in study.tasks for path in task.paths for name in path.path]
    palette = Palette(tuple(dict.fromkeys((*study.components, *used))))
    models = len({name for budget in study.budgets for name in study.names(budget)})
    sizes = (counted(models, "model"), counted(len(study.tasks), "task"), counted(len(study.seeds), "seed"))
    tasks = f"{len(study.tasks)} tasks" if len(study.tasks) > 1 else study.tasks[0].task
    conclusions = {budget: list(map(sentence, study.conclusions.get(budget, ()))) for budget in study.budgets}
    return render(
        "study.html.j2",
        title=f"{' + '.join(study.components)} on {tasks}",
        facts=[f"manticore {study.version}", *sizes],
        file=StudyResult.FILE,
        conclusions={f"With the {BUDGETS[budget]}": texts for budget, texts in conclusions.items() if texts},
        single_seed=len(study.seeds) == 1,
        overviews=[_overview(study, budget) for budget in study.budgets],
        tasks=[_task_section(task, palette) for task in study.tasks],
        palette=palette,
        fairness=fairness(study),
        machine=machine_facts(study.machine, study.seconds, study.workers),
    )


def _overview(study: StudyResult, budget: str) -> Overview:
    charts = {metric: chart for metric in study.metrics if (chart := leads_chart(study, budget, metric))}
    notes = [*([leads_note(list(charts))] if charts else []), scores_note(study), interval_note(study)]
    table = overview_table(study, budget)
    # The caption says that accuracies are in percent; with two metrics each score needs its unit.
    table = without_percent(table) if len(study.metrics) == 1 else table
    return Overview(BUDGETS[budget], " ".join(filter(None, notes)), list(charts.values()), table)


def _task_section(task: TaskResult, palette: Palette) -> TaskSection:
    arms = [arm for arms in task.tables.values() for arm in arms]
    return TaskSection(
        name=task.task,
        caption=task_caption(task),
        chart=task_chart(task, palette),
        tables=[(BUDGETS[budget], with_leads(task_table(task, budget), task, budget)) for budget in task.tables],
        colors={arm.name: arm_color(arm, palette) for arm in arms},
        sentences=task_sentences(task),
        ranking=ranking_chart(task.ranked_paths, task.metric, palette) if task.paths else None,
        ranking_caption=ranking_caption(task) if task.paths else "",
        ranking_sentence=ranking_sentence(task),
    )
