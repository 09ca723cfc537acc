"""The tables of programming, for the terminal and for the page. Knows nothing of the page around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.markup import escape
from rich.table import Table

from manticore.report.markup import Html, el
from manticore.report.run.table import bare
from manticore.report.transfer.summary import signed
from manticore.results.transfer import ProxyCorrelation, TransferArm, TransferResult
from manticore.utils.formatting import DASH, count, percent, points
from manticore.utils.statistics import Interval

OURS = "programmed path"
TRANSFER = ("proxy", "by accuracy", "by the search's weights")


def standings_table(told: TransferResult) -> Table:
    """The target for the terminal."""
    table = bare(told.task, "model", *_headings(told), "place")
    for held in _rows(told):
        style = "bold" if held.name == OURS else None
        table.add_row(escape(_named(held)), *_cells(held), _place(held), style=style)
    return table


def transfer_table(told: TransferResult) -> Table:
    """For the terminal, how well each proxy ranks the target's paths."""
    table = bare("rank correlation with the target, over all paths", *TRANSFER)
    for held in _transfers(told):
        table.add_row(escape(held.proxy), *(_correlation(one) for one in (held.accuracy, held.log_weight)))
    return table


def standings_html(told: TransferResult) -> Html:
    """The target for the page."""
    rows = ((_named(held), *_cells(held), _place(held)) for held in _rows(told))
    return _table(("model", *_headings(told), f"place of {len(told.paths)}"), rows)


def transfer_html(told: TransferResult) -> Html:
    """For the page, how well each proxy ranks the target's paths."""
    rows = ((held.proxy, _correlation(held.accuracy), _correlation(held.log_weight)) for held in _transfers(told))
    return _table(TRANSFER, rows)


def costs_html(told: TransferResult) -> Html:
    """What each way costs."""
    rows = ((held.name, count(held.tokens), count(held.flops)) for held in told.costs)
    return _table(("with one seed and one learning rate", "training tokens", "training FLOPs"), rows)


def paths_html(told: TransferResult) -> Html:
    """All paths, best on the target first, with what they reach on each proxy."""
    shown = [told.task, *(["all proxies"] if len(told.proxies) > 1 else []), *told.proxies, "log weight"]
    rows = []
    for held in told.ranked:
        accuracies = [held.accuracy, *([held.proxy] if len(told.proxies) > 1 else []), *held.proxies.values()]
        scores = (percent(one.mean, one.margin) for one in accuracies)
        rows.append((held.words, *scores, f"{held.log_weight:.2f}".replace("-", "−")))
    return _table(("path", *shown), rows)


def _rows(told: TransferResult) -> list[TransferArm]:
    return [*told.standings, *([told.search] if told.search else [])]


def _transfers(told: TransferResult) -> Sequence[ProxyCorrelation]:
    """With one proxy, all proxies are that one."""
    return told.transfers if len(told.proxies) > 1 else told.transfers[:1]


def _headings(told: TransferResult) -> tuple[str, ...]:
    return (told.metric, "lead over base", "below best")


def _named(held: TransferArm) -> str:
    return f"{held.name}: {held.path}" if held.path and not held.name.endswith(" alone") else held.name


def _cells(held: TransferArm) -> tuple[str, ...]:
    below = DASH if held.regret is None else points(held.regret.mean, held.regret.margin).lstrip("+")
    return percent(held.accuracy.mean, held.accuracy.margin), points(held.lead.mean, held.lead.margin), below


def _place(held: TransferArm) -> str:
    return DASH if held.place is None else str(held.place)


def _correlation(held: Interval | None) -> str:
    return DASH if held is None else signed(held)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """The first column is of names, the others are of numbers."""
    first, *others = head
    top = el("tr", el("th", first, scope="col"), *(el("th", text, scope="col", class_="number") for text in others))
    body = (
        el(
            "tr",
            el("td", name),
            *(el("td", text, class_="number") for text in cells),
            class_="ours" if name.startswith(OURS) else None,
        )
        for name, *cells in rows
    )
    return el("div", el("table", el("thead", top), el("tbody", *body)), class_="scroll")
