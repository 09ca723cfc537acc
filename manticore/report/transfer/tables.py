"""The tables of a transfer: models on the target, predictive power of the proxies, costs, and all paths."""

from __future__ import annotations

from manticore.report.run.tables import verdict
from manticore.report.table import Row, Table
from manticore.results.transfer import TRANSFERRED, TargetSearch, TransferArm, TransferResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import DASH, count, estimate, fixed
from manticore.utils.path_text import path_text
from manticore.utils.statistics import Interval


def target_table(result: TransferResult) -> Table:
    """The chosen path, the components, the best and the median path, and the target's own search if there was one."""
    metric = result.target.metric
    rows = [
        Row(
            (_label(arm), *_cells(arm, metric), DASH if arm.rank is None else str(arm.rank)),
            emphasized=arm.name == TRANSFERRED,
            verdicts={2: verdict(arm.lead)},
        )
        for arm in result.arms
    ]
    if result.search is not None:
        name = f"search on the target: {result.search.path_summary}"
        rows.append(Row((name, *_cells(result.search, metric), DASH)))
    columns = ("model", metric.label, "than the base", f"{metric.worse} best")
    return Table((*columns, f"rank of {len(result.paths)}"), tuple(rows), result.target.task, (*columns, "rank"))


def proxy_table(result: TransferResult) -> Table:
    """How well each proxy, and all of them together, rank the paths of the target."""
    correlations = result.correlations if len(result.proxies) > 1 else result.correlations[:1]  # one proxy is all
    rows = (Row((row.proxy, _correlation(row.score), _correlation(row.search_score))) for row in correlations)
    columns = ("proxy", f"by {result.target.metric.label}", "by the search's scores")
    return Table(columns, tuple(rows), "rank correlation with the target, over all paths")


def cost_table(result: TransferResult) -> Table:
    """Training cost of each way to choose a path."""
    rows = (Row((cost.name, count(cost.tokens), count(cost.flops))) for cost in result.costs)
    return Table(("one seed, one learning rate", "training tokens", "training FLOPs"), tuple(rows))


def path_table(result: TransferResult) -> Table:
    """All paths, the best on the target first, with their score on every proxy."""
    several = len(result.proxies) > 1
    columns = ("path", result.target.task, *(["all proxies"] if several else []), *result.proxy_names, "search score")
    rows = []
    for path in result.ranked_paths:
        scores = [path.score, *([path.proxy] if several else []), *path.proxies.values()]
        cells = (result.target.metric.format(score.mean, score.margin, unit=False) for score in scores)
        rows.append(Row((path.summary, *cells, fixed(path.search_score))))
    return Table(columns, tuple(rows))


def _label(arm: TransferArm) -> str:
    path = path_text(arm.path or ())
    return f"{arm.name}: {path}" if path and not arm.name.endswith(" alone") else arm.name


def _cells(arm: TransferArm | TargetSearch, metric: Metric) -> tuple[str, str, str]:
    """Score, lead over the base model alone, and distance to the best path."""
    lead = metric.format_lead(arm.lead.mean, arm.lead.margin, unit=False)
    below = DASH
    if arm.regret is not None:
        below = metric.format_change(arm.regret.mean, arm.regret.margin, unit=False).lstrip("+")
    return metric.format(arm.score.mean, arm.score.margin, unit=False), lead, below


def _correlation(interval: Interval | None) -> str:
    return "undefined" if interval is None else estimate(interval)
