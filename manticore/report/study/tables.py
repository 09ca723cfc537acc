"""The tables of a study: one task under one budget, and all tasks under one budget."""

from __future__ import annotations

from dataclasses import replace

from manticore.report.run.tables import verdict
from manticore.report.study.summary import BUDGETS
from manticore.report.table import HEURISTIC, Row, Table
from manticore.results.study import ArmResult, StudyResult, TaskResult
from manticore.training.metrics import ACCURACY, Metric
from manticore.utils.formatting import DASH, count, duration

SPENT = {"tokens": "training tokens", "flops": "training FLOPs"}
SHORT_SPENT = {"tokens": "tokens\nseen", "flops": "FLOPs\nspent"}


def task_table(task: TaskResult, budget: str) -> Table:
    """Score and cost of every model on one task. Raises UnknownName if the task has no table of that budget."""
    metric, best = task.metric, task.best(budget)
    rows = [
        Row(
            cells=(arm.name, score_cell(arm, metric), *cost_cells(arm, budget)),
            group=arm.group,
            best=(1,) if arm.score.mean == best else (),
        )
        for arm in task.table(budget)
    ]
    for name, value in task.heuristics.items():
        rows.append(Row((name, metric.format(value, unit=False), *[DASH] * 5), group=HEURISTIC))
    label = metric.label
    columns = ("model", label, "parameters", "FLOPs/token", SPENT[budget], "wall time", "learning rate")
    short_columns = ("model", label, "params", "FLOPs\n/token", SHORT_SPENT[budget], "time", "lr")
    return Table(columns, tuple(rows), task.task, short_columns)


def with_leads(table: Table, task: TaskResult, budget: str) -> Table:
    """The table with the difference between the hybrid and every other model as its third column."""
    leads = task.leads.get(budget, {})

    def lead(name: str) -> str:
        interval = leads.get(name)
        return "" if interval is None else task.metric.format_lead(interval.mean, interval.margin, unit=False)

    columns = (*table.columns[:2], "the hybrid is", *table.columns[2:])
    rows = (
        replace(
            row,
            cells=(*row.cells[:2], lead(row.cells[0]), *row.cells[2:]),
            verdicts={2: verdict(leads[row.cells[0]])} if row.cells[0] in leads else {},
        )
        for row in table.rows
    )
    return Table(columns, tuple(rows))


def overview_table(study: StudyResult, budget: str) -> Table:
    """One row per task, one column per model. Raises UnknownName if no task has a table of that budget."""
    names = study.names(budget)
    tasks = [task for task in study.tasks if budget in task.tables]
    return Table(("task", *names), tuple(_overview_row(task, names, budget) for task in tasks))


def study_markdown(study: StudyResult) -> str:
    """All tables and conclusions as a Markdown document, for each budget an overview first."""
    parts = []
    for budget, sentences in study.conclusions.items():
        parts += [f"# With the {BUDGETS[budget]}", overview_table(study, budget).markdown()]
        parts += ["\n".join(f"- {sentence}" for sentence in sentences)]
        parts += [f"## {task.task}\n\n{task_table(task, budget).markdown()}" for task in study.tasks]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def without_percent(table: Table) -> Table:
    """The table with scores whose percent signs a caption replaces."""
    rows = (replace(row, cells=tuple(cell.removesuffix(ACCURACY.suffix) for cell in row.cells)) for row in table.rows)
    return replace(table, rows=tuple(rows))


def score_cell(arm: ArmResult, metric: Metric) -> str:
    """The mean score with its margin: `63.0 ± 1.5 %`."""
    return metric.format(arm.score.mean, arm.score.margin, unit=False)


def cost_cells(arm: ArmResult, budget: str) -> tuple[str, ...]:
    """Parameters, FLOPs per token, what was spent in training, wall time and learning rate."""
    spent = {"tokens": arm.train_tokens, "flops": arm.train_flops}[budget]
    return (
        count(arm.parameters),
        count(arm.flops_per_token),
        count(spent),
        duration(arm.seconds),
        f"{arm.lr:g}",
    )


def _overview_row(task: TaskResult, names: tuple[str, ...], budget: str) -> Row:
    """The scores on one task; a dash for a model that was not trained on it."""
    arms = {arm.name: arm for arm in task.table(budget)}
    scores = (score_cell(arms[name], task.metric) if name in arms else DASH for name in names)
    best = task.best(budget)
    winners = (index for index, name in enumerate(names, start=1) if name in arms and arms[name].score.mean == best)
    return Row((task.task, *scores), best=tuple(winners))
