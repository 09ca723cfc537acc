"""The page of a study: one self-contained file, in light, dark and print. Reads comparison.json and nothing else."""

from __future__ import annotations

from pathlib import Path

from manticore.report.charts.palette import Palette
from manticore.report.charts.ranking import ranking_chart
from manticore.report.markup import Html, el, joined
from manticore.report.paper import definitions, document, legend, scroll, section, unbroken
from manticore.report.run.sections import machine_words
from manticore.report.study.summary import (
    GIVEN,
    bars,
    effort,
    fairness,
    how_paths,
    leads,
    scores,
    sentence,
    told_of_documents,
    told_of_hybrid,
    told_of_paths,
    told_of_task,
)
from manticore.report.study.tables import SAME, leads_chart, overview_table, task_chart, task_table
from manticore.results.study import StudyResult
from manticore.results.task_result import TaskResult
from manticore.utils.formatting import counted
from manticore.utils.io import write_text


def write_study_report(folder: Path | str) -> Path:
    """Write `report.html` beside `comparison.json`, whole or not at all, and return where it is.

    Raises BadFile if `comparison.json` is not there or is not the data of a study.
    """
    file = Path(folder) / "report.html"
    write_text(file, render_study(StudyResult.read(Path(folder))))
    return file


def render_study(study: StudyResult) -> str:
    """The whole page."""
    used = [name for match in study.matches for tried in match.paths for name in tried.path]
    palette = Palette(tuple(dict.fromkeys((*study.components, *used))))
    return document(
        _title(study),
        _opening(study),
        *(_overview(study, budget) for budget in study.budgets),
        *(_task(match, palette) for match in study.matches),
        section("How it was made fair", None, definitions(fairness(study))),
        _machine(study),
        el("footer", "Everything on this page is from the comparison.json that lies beside it."),
    )


def _title(study: StudyResult) -> str:
    tasks = f"{len(study.matches)} tasks" if len(study.matches) > 1 else study.matches[0].task
    return f"{' + '.join(study.components) or 'A study'} on {tasks}"


def _opening(study: StudyResult) -> Html:
    """Title, size and verdicts."""
    models = len({name for budget in study.budgets for name in study.names(budget)})
    facts = [f"manticore {study.version}".strip(), counted(models, "model"), counted(len(study.matches), "task")]
    facts += [counted(len(study.seeds), "seed")] if study.seeds else []
    return el(
        "header",
        el("p", " · ".join(facts), class_="over"),
        el("h1", _title(study)),
        *(_verdicts(budget, study.verdicts.get(budget, ())) for budget in study.budgets),
    )


def _verdicts(budget: str, said: tuple[str, ...]) -> Html | None:
    if not said:
        return None
    items = (el("li", unbroken(sentence(text))) for text in said)
    return joined(el("p", f"Given {GIVEN[budget]}:", class_="result"), el("ul", *items, class_="verdicts"))


def _overview(study: StudyResult, budget: str) -> Html | None:
    """Where the hybrid is ahead, and what everybody reached."""
    charts = {metric: leads_chart(study, budget, metric) for metric in study.metrics}
    shown = [metric for metric, chart in charts.items() if chart is not None]
    told = " ".join([*([leads(shown)] if shown else []), scores(study), bars(study)])
    return section(f"All tasks, {SAME[budget]}", told, *charts.values(), overview_table(study, budget))


def _task(match: TaskResult, palette: Palette) -> Html | None:
    """The chart, the tables, the gap and the paths of one task."""
    tokens, *others = match.tables or [None]
    chart = None if tokens is None else task_chart(match, palette)
    return section(
        match.task,
        unbroken(told_of_task(match)),
        chart,
        None if tokens is None else task_table(match, tokens, palette),
        *(_folded(match, budget, palette) for budget in others if budget),
        _said(told_of_hybrid(match)),
        _said(told_of_documents(match)),
        _paths(match, palette),
    )


def _folded(match: TaskResult, budget: str, palette: Palette) -> Html:
    return el("details", el("summary", f"Table, {SAME[budget]}"), task_table(match, budget, palette), class_="more")


def _paths(match: TaskResult, palette: Palette) -> Html | None:
    """What the search found among all paths."""
    told = told_of_paths(match)
    if not match.paths:
        return _said(told)
    return joined(
        el("h3", "The paths"),
        el("p", how_paths(match), class_="aside"),
        legend(palette),
        scroll(ranking_chart(match.paths, match.metric, palette)),
        _said(told),
    )


def _said(told: str) -> Html | None:
    return el("p", unbroken(told)) if told else None


def _machine(study: StudyResult) -> Html | None:
    facts = {**machine_words(study.machine), **effort(study)}
    return section("Machine", None, definitions(facts)) if facts else None
