"""The tables of a transfer: models on the target, predictive power of the proxies, costs, and all paths."""

from __future__ import annotations

from manticore.report.table import Row, Table
from manticore.report.transfer.summary import CHOSEN
from manticore.results.transfer import TransferArm, TransferResult
from manticore.training.metrics import ACCURACY
from manticore.utils.formatting import DASH, count, estimate, fixed
from manticore.utils.statistics import Interval


def target_table(result: TransferResult) -> Table:
    """The chosen path, the components, the best and the median path, and the target's own search if there was one."""
    arms = [*result.standings, *([result.search] if result.search else [])]
    rows = tuple(
        Row((_label(arm), *_cells(arm), DASH if arm.place is None else str(arm.place)), emphasized=arm.name == CHOSEN)
        for arm in arms
    )
    columns = ("model", result.metric, "lead over base", "below best")
    return Table((*columns, f"rank of {len(result.paths)}"), rows, result.task, (*columns, "rank"))


def proxy_table(result: TransferResult) -> Table:
    """How well each proxy, and all of them together, rank the paths of the target."""
    correlations = result.transfers if len(result.proxies) > 1 else result.transfers[:1]  # one proxy is all of them
    rows = (Row((row.proxy, _correlation(row.accuracy), _correlation(row.log_weight))) for row in correlations)
    columns = ("proxy", "by accuracy", "by the search's weights")
    return Table(columns, tuple(rows), "rank correlation with the target, over all paths")


def cost_table(result: TransferResult) -> Table:
    """Training cost of each way to choose a path."""
    rows = (Row((cost.name, count(cost.tokens), count(cost.flops))) for cost in result.costs)
    return Table(("one seed, one learning rate", "training tokens", "training FLOPs"), tuple(rows))


def path_table(result: TransferResult) -> Table:
    """All paths, the best on the target first, with their accuracy on every proxy."""
    several = len(result.proxies) > 1
    columns = ("path", result.task, *(["all proxies"] if several else []), *result.proxies, "log weight")
    rows = []
    for path in result.ranked:
        accuracies = [path.accuracy, *([path.proxy] if several else []), *path.proxies.values()]
        scores = (ACCURACY.format(accuracy.mean, accuracy.margin) for accuracy in accuracies)
        rows.append(Row((path.words, *scores, fixed(path.log_weight))))
    return Table(columns, tuple(rows))


def _label(arm: TransferArm) -> str:
    return f"{arm.name}: {arm.path}" if arm.path and not arm.name.endswith(" alone") else arm.name


def _cells(arm: TransferArm) -> tuple[str, str, str]:
    """Accuracy, lead over the base model alone, and distance to the best path."""
    lead = ACCURACY.format_change(arm.lead.mean, arm.lead.margin, unit=False)
    below = DASH
    if arm.regret is not None:
        below = ACCURACY.format_change(arm.regret.mean, arm.regret.margin, unit=False).lstrip("+")
    return ACCURACY.format(arm.accuracy.mean, arm.accuracy.margin), lead, below


def _correlation(interval: Interval | None) -> str:
    return "undefined" if interval is None else estimate(interval)
