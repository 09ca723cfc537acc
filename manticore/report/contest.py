"""The page of a contest: one self-contained file, in light, dark and print. Reads comparison.json and nothing else."""

from __future__ import annotations

from pathlib import Path

from manticore.files import write_text
from manticore.report.colours import Colours
from manticore.report.contest_tables import SAME, leads_chart, overview_table, task_chart, task_table
from manticore.report.contest_words import (
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
from manticore.report.markup import Html, el, joined
from manticore.report.match import Match
from manticore.report.paper import definitions, document, section, unbroken
from manticore.report.ranking import ranking
from manticore.report.record import Contest
from manticore.report.sections import machine_words
from manticore.report.units import counted


def write_contest(folder: Path | str) -> Path:
    """Write `report.html` beside `comparison.json`, whole or not at all, and return where it is.

    Raises BadFile if `comparison.json` is not there or is not the data of a contest.
    """
    file = Path(folder) / "report.html"
    write_text(file, contest_page(Contest.read(Path(folder))))
    return file


def contest_page(contest: Contest) -> str:
    """The whole page."""
    used = [name for match in contest.matches for tried in match.paths for name in tried.path]
    colours = Colours(tuple(dict.fromkeys((*contest.components, *used))))
    return document(
        _title(contest),
        _opening(contest),
        *(_overview(contest, budget) for budget in contest.budgets),
        *(_task(match, colours) for match in contest.matches),
        section("How it was made fair", None, definitions(fairness(contest))),
        _machine(contest),
        el("footer", "Everything on this page is from the comparison.json that lies beside it."),
    )


def _title(contest: Contest) -> str:
    tasks = f"{len(contest.matches)} tasks" if len(contest.matches) > 1 else contest.matches[0].task
    return f"{' + '.join(contest.components) or 'A contest'} on {tasks}"


def _opening(contest: Contest) -> Html:
    """Title, size and verdicts."""
    models = len({name for budget in contest.budgets for name in contest.names(budget)})
    facts = [f"manticore {contest.version}".strip(), counted(models, "model"), counted(len(contest.matches), "task")]
    facts += [counted(len(contest.seeds), "seed")] if contest.seeds else []
    return el(
        "header",
        el("p", " · ".join(facts), class_="over"),
        el("h1", _title(contest)),
        *(_verdicts(budget, contest.verdicts.get(budget, ())) for budget in contest.budgets),
    )


def _verdicts(budget: str, said: tuple[str, ...]) -> Html | None:
    if not said:
        return None
    items = (el("li", unbroken(sentence(text))) for text in said)
    return joined(el("p", f"Given {GIVEN[budget]}:", class_="result"), el("ul", *items, class_="verdicts"))


def _overview(contest: Contest, budget: str) -> Html | None:
    """Where the hybrid is ahead, and what everybody reached."""
    charts = {metric: leads_chart(contest, budget, metric) for metric in contest.metrics}
    shown = [metric for metric, chart in charts.items() if chart is not None]
    told = " ".join([*([leads(shown)] if shown else []), scores(contest), bars(contest)])
    return section(f"All tasks, {SAME[budget]}", told, *charts.values(), overview_table(contest, budget))


def _task(match: Match, colours: Colours) -> Html | None:
    """The chart, the tables, the gap and the paths of one task."""
    tokens, *others = match.tables or [None]
    chart = None if tokens is None else task_chart(match, colours)
    return section(
        match.task,
        unbroken(told_of_task(match)),
        chart,
        None if tokens is None else task_table(match, tokens, colours),
        *(_folded(match, budget, colours) for budget in others if budget),
        _said(told_of_hybrid(match)),
        _said(told_of_documents(match)),
        _paths(match, colours),
    )


def _folded(match: Match, budget: str, colours: Colours) -> Html:
    return el("details", el("summary", f"Table, {SAME[budget]}"), task_table(match, budget, colours), class_="more")


def _paths(match: Match, colours: Colours) -> Html | None:
    """What the search found among all paths."""
    told = told_of_paths(match)
    if not match.paths:
        return _said(told)
    return joined(
        el("h3", "The paths"),
        el("p", how_paths(match), class_="aside"),
        colours.legend(),
        ranking(match.paths, match.metric, colours),
        _said(told),
    )


def _said(told: str) -> Html | None:
    return el("p", unbroken(told)) if told else None


def _machine(contest: Contest) -> Html | None:
    facts = {**machine_words(contest.machine), **effort(contest)}
    return section("Machine", None, definitions(facts)) if facts else None
