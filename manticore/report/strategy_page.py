"""The page of `manticore bench strategies`: `report.html`, made from `strategies.json` in the same folder alone.

Its charts are also written as files, in `regret/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from manticore.nas.strategies import PathStrategy, SampledSupernet, Strategy, TrainingFree, strategies
from manticore.report.charts.palette import MUTED
from manticore.report.charts.regret import RegretDot, RegretPanel, regret_chart
from manticore.report.charts.svg import standalone
from manticore.report.hybridbench import strategy_table
from manticore.report.machine import machine_facts
from manticore.report.rendering import render, style_sheet
from manticore.results.strategies import SearchTrial, StrategyBench, TableFacts
from manticore.training.metrics import Metric
from manticore.utils.formatting import counted, listed, percent
from manticore.utils.io import slug, write_text

GRADIENTS, SAMPLED, PATHS, UNTRAINED, REFERENCE = (
    "gradients of alphas",
    "supernet of sampled paths",
    "paths by themselves",
    "without training",
    "no search",
)
"""The kinds of method."""

BY_PARENT: dict[type[Strategy], str] = {SampledSupernet: SAMPLED, PathStrategy: PATHS, TrainingFree: UNTRAINED}
"""The kind of method by the base class of its strategy."""

COLORS = {
    GRADIENTS: "var(--c1)",
    SAMPLED: "var(--c0)",
    PATHS: "var(--c2)",
    UNTRAINED: "var(--c3)",
    REFERENCE: MUTED,
}


@dataclass(frozen=True)
class KindLegend:
    """The legend of a page: (name, color) of every kind of method that it shows."""

    legend: list[tuple[str, str]]


def write_strategy_report(folder: Path | str) -> Path:
    """Write `report.html` and `regret/*.svg` beside `strategies.json`, and return the path of the page.

    Raises BadFile if `strategies.json` is missing or is not what `manticore bench strategies` writes.
    """
    result, folder = StrategyBench.load(folder), Path(folder)
    write_text(folder / "report.html", render_strategies(result))
    for panel in regret_panels(result):
        write_text(folder / "regret" / f"{slug(panel.title)}.svg", standalone(regret_chart(panel), style_sheet()))
    return folder / "report.html"


def render_strategies(result: StrategyBench) -> str:
    """The whole page."""
    seeds = len({trial.seed for trial in result.trials})
    kinds = {method_kind(method) for method in result.methods} | {REFERENCE}
    sizes = (counted(len(result.tables), "table"), counted(len(result.methods), "method"), counted(seeds, "seed"))
    return render(
        "strategies.html.j2",
        title="Search methods against HybridBench",
        facts=[f"manticore {result.version}", *sizes],
        file=StrategyBench.FILE,
        sentences=[_sentence(result, table) for table in result.tables],
        palette=KindLegend([(kind, color) for kind, color in COLORS.items() if kind in kinds]),
        chart_caption=_chart_caption(seeds),
        charts=[regret_chart(panel) for panel in regret_panels(result)],
        tables=[(name, _table_caption(facts), strategy_table(result, name)) for name, facts in result.tables.items()],
        setup={"tables": listed(list(result.tables)), **machine_facts(result.machine)},
    )


def method_kind(method: str) -> str:
    """The kind of a method, by its strategy."""
    name = method.partition("@")[0].partition("+")[0]
    strategy: type[Strategy] = strategies[name] if name in strategies else Strategy  # noqa: SIM401
    for parent, kind in BY_PARENT.items():
        if issubclass(strategy, parent):
            return kind
    return GRADIENTS


def regret_panels(result: StrategyBench) -> list[RegretPanel]:
    """For each metric of several tables a panel with means over them, then a panel for each table."""
    by_metric: dict[str, list[str]] = {}
    for name, facts in result.tables.items():
        by_metric.setdefault(facts.metric.name, []).append(name)
    means = [_mean_panel(result, names) for names in by_metric.values() if len(names) > 1]
    return [*means, *(_panel(result, name) for name in result.tables)]


def _panel(result: StrategyBench, table: str) -> RegretPanel:
    facts = result.tables[table]
    dots = [_dot(method, trials, facts.metric) for method in result.methods if (trials := result.of(table, method))]
    dots += [_reference(name, regret, facts.metric) for name, regret in facts.references.items()]
    return RegretPanel(table, facts.metric.unit, facts.metric.digits, tuple(dots))


def _mean_panel(result: StrategyBench, tables: list[str]) -> RegretPanel:
    """Means over tables, for the methods and the choices without a search that all of them have."""
    metric = result.tables[tables[0]].metric
    dots = []
    for method in result.methods:
        by_table = [result.of(table, method) for table in tables]
        if all(by_table):
            dots.append(_dot(method, [trial for trials in by_table for trial in trials], metric, spread=False))
    known = [result.tables[table].references for table in tables]
    for name in known[0]:
        if all(name in references for references in known):
            dots.append(_reference(name, fmean(references[name] for references in known), metric))
    return RegretPanel(f"mean over {len(tables)} tables", metric.unit, metric.digits, tuple(dots))


def _dot(method: str, trials: list[SearchTrial], metric: Metric, spread: bool = True) -> RegretDot:
    regrets, share = [trial.regret for trial in trials], fmean(trial.token_share for trial in trials)
    mean = fmean(regrets)
    tooltip = f"{method}: {mean:.{metric.digits}f} {metric.unit}, {percent(share)} of all tokens"
    low, high = (min(regrets), max(regrets)) if spread else (mean, mean)
    return RegretDot(method, share, mean, low, high, COLORS[method_kind(method)], tooltip)


def _reference(name: str, regret: float, metric: Metric) -> RegretDot:
    tooltip = f"{name}: {regret:.{metric.digits}f} {metric.unit}, without a search"
    return RegretDot(name, 0.0, regret, regret, regret, COLORS[REFERENCE], tooltip, hollow=True)


def _sentence(result: StrategyBench, table: str) -> str:
    """The best path of a table, and the method that comes closest to it."""
    facts = result.tables[table]
    regrets = {method: regret.mean for method in result.methods if (regret := result.regret(table, method))}
    text = f"{table}: the best of {facts.paths} paths is {' · '.join(facts.best)}"
    if not regrets:
        return f"{text}."
    least = min(regrets.values())
    best = [method for method, regret in regrets.items() if regret == least]
    verb = "comes" if len(best) == 1 else "come"
    return f"{text}; {listed(best)} {verb} closest, {least:.{facts.metric.digits}f} {facts.metric.unit} behind it."


def _table_caption(facts: TableFacts) -> str:
    return (
        f"{facts.task}, {counted(facts.paths, 'path')}; means over seeds. Tau and rho: rank correlations of a method's "
        "scores of all paths with the table."
    )


def _chart_caption(seeds: int) -> str:
    text = (
        "Regret: how far the path that a method selects is behind the best one of the table. Training that the "
        "selected path keeps does not count as spent. The vertical axis has a square-root scale."
    )
    return f"{text} Lines span the seeds." if seeds > 1 else text
