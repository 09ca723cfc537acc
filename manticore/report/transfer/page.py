"""The page of a transfer: `report.html` beside `transfer.json`, made of the data of that file alone."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from manticore.report.charts.palette import ACCENT, MUTED, Palette
from manticore.report.charts.scatter import Dot, scatter_chart
from manticore.report.machine import machine_facts
from manticore.report.rendering import render
from manticore.report.transfer.summary import sentences
from manticore.report.transfer.tables import cost_table, path_table, proxy_table, target_table
from manticore.results.transfer import TransferPath, TransferResult
from manticore.utils.formatting import counted, listed
from manticore.utils.io import write_text


def write_transfer_report(folder: Path | str) -> Path:
    """Write `report.html` beside `transfer.json`, and return its path.

    Raises BadFile if `transfer.json` is missing or is not what `manticore transfer` writes.
    """
    file = Path(folder) / "report.html"
    write_text(file, render_transfer(TransferResult.load(folder)))
    return file


def render_transfer(result: TransferResult) -> str:
    """The whole page."""
    proxies = f"{len(result.proxies)} {'proxy' if len(result.proxies) == 1 else 'proxies'}"
    sizes = (counted(len(result.paths), "path"), proxies, counted(len(result.seeds), "seed"))
    return render(
        "transfer.html.j2",
        title=f"{' + '.join(result.target.components)}: a path transferred to {result.target.task}",
        facts=[f"manticore {result.version}", *sizes],
        file=TransferResult.FILE,
        sentences=sentences(result),
        target=result.target,
        chart_caption=_chart_caption(result),
        chart=_chart(result),
        proxy_table=proxy_table(result),
        target_table=target_table(result),
        cost_table=cost_table(result),
        path_table=path_table(result),
        setup=_setup(result),
    )


def _chart_caption(result: TransferResult) -> str:
    """How the chart is read, and which components of the proxies stand for which of the target."""
    text = "One dot per path, trained from scratch on every task. "
    if len(result.seeds) > 1:
        text += f"Bars and margins are 95% confidence intervals over {len(result.seeds)} seeds (Student's t)."
    else:
        text += "There is one seed, so there are no intervals."
    if result.components != result.target.components:
        pairs = zip(result.components, result.target.components, strict=True)
        text += f" On the target, {listed([f'{proxy} is {target}' for proxy, target in pairs])}."
    return text


def _chart(result: TransferResult) -> Markup:
    """Score on the target against score on the proxies; the chosen path and the base model are labeled."""
    target, metric = result.target, result.target.metric
    palette = Palette(target.components)
    base = (target.base,) * len(result.path)
    chosen = f"chosen: {target.base} alone" if base == result.path else "chosen"
    labels = {base: (f"{target.base} alone", palette[target.base]), result.path: (chosen, ACCENT)}
    proxies = result.proxy_names[0] if len(result.proxies) == 1 else f"the {len(result.proxies)} proxies"

    def dot(path: TransferPath) -> Dot:
        name, color = labels.get(path.path, ("", MUTED))
        proxy, test = (metric.format(score.mean, score.margin) for score in (path.proxy, path.score))
        tooltip = f"{path.summary}: {proxy} on {proxies}, {test} on {target.task}"
        return Dot(path.proxy, path.score, color, tooltip, name)

    dots = [dot(path) for path in result.ranked_paths]
    return scatter_chart(dots, metric, f"{metric.label} on {proxies}", f"{metric.label} on {target.task}")


def _setup(result: TransferResult) -> dict[str, object]:
    """How the paths were trained and how one of them was selected, as names and values."""
    grid = listed([f"{lr:g}" for lr in result.learning_rates])
    return {
        "proxies": listed(result.proxy_names),
        "learning rate": (
            f"the best of {grid} on the validation split; all paths have that of {result.target.base} alone"
        ),
        "searches": listed(list(dict.fromkeys(proxy.method or "darts, largest-weight" for proxy in result.proxies))),
        "chosen path": "the largest sum of the searches' scores over all proxies, of their means over seeds",
        **machine_facts(result.machine, result.seconds, result.workers),
    }
