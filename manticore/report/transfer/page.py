"""The page of a transfer: `report.html` beside `program.json`, made of the data of that file alone."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from manticore.report.charts.palette import ACCENT, MUTED, Palette
from manticore.report.charts.scatter import Dot, scatter_chart
from manticore.report.machine import machine_facts
from manticore.report.rendering import render
from manticore.report.transfer.summary import sentences
from manticore.report.transfer.tables import cost_table, path_table, proxy_table, target_table
from manticore.results.transfer import FILE, TransferResult, TriedPath
from manticore.training.metrics import ACCURACY
from manticore.utils.formatting import counted, listed
from manticore.utils.io import write_text


def write_transfer_report(folder: Path | str) -> Path:
    """Write `report.html` beside `program.json`, and return its path.

    Raises BadFile if `program.json` is missing or is not what `manticore transfer` writes.
    """
    file = Path(folder) / "report.html"
    write_text(file, render_transfer(TransferResult.read(Path(folder))))
    return file


def render_transfer(result: TransferResult) -> str:
    """The whole page."""
    proxies = f"{len(result.proxies)} {'proxy' if len(result.proxies) == 1 else 'proxies'}"
    facts = [f"manticore {result.version}".strip(), counted(len(result.paths), "path"), proxies]
    facts += [counted(len(result.seeds), "seed")] if result.seeds else []
    return render(
        "transfer.html.j2",
        title=f"{' + '.join(result.target_components)}: a path transferred to {result.task}",
        facts=facts,
        file=FILE,
        sentences=sentences(result),
        result=result,
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
    if result.components != result.target_components:
        pairs = zip(result.components, result.target_components, strict=True)
        text += f" On the target, {listed([f'{proxy} is {target}' for proxy, target in pairs])}."
    return text


def _chart(result: TransferResult) -> Markup:
    """Accuracy on the target against accuracy on the proxies; the chosen path and the base model are labeled."""
    palette = Palette(result.target_components)
    base = (result.base,) * len(result.programmed)
    chosen = f"chosen: {result.base} alone" if base == result.programmed else "chosen"
    labels = {base: (f"{result.base} alone", palette[result.base]), result.programmed: (chosen, ACCENT)}
    proxies = result.proxies[0] if len(result.proxies) == 1 else f"the {len(result.proxies)} proxies"

    def dot(path: TriedPath) -> Dot:
        name, color = labels.get(path.path, ("", MUTED))
        proxy, target = (ACCURACY.format(score.mean, score.margin) for score in (path.proxy, path.accuracy))
        tooltip = f"{path.words}: {proxy} on {proxies}, {target} on {result.task}"
        return Dot(path.proxy, path.accuracy, color, tooltip, name)

    dots = [dot(path) for path in result.ranked]
    return scatter_chart(dots, f"accuracy on {proxies}", f"accuracy on {result.task}")


def _setup(result: TransferResult) -> dict[str, object]:
    """How the paths were trained and the path was chosen, as names and values."""
    facts: dict[str, object] = {"proxies": listed(result.proxies)}
    if result.learning_rates:
        grid = listed([f"{lr:g}" for lr in result.learning_rates])
        facts["learning rate"] = (
            f"the best of {grid} on the validation split; all paths have that of {result.base} alone"
        )
    facts["chosen path"] = (
        "the largest product of the searches' mixing weights over all proxies, as a geometric mean over seeds"
    )
    return facts | machine_facts(result.machine, result.seconds, result.workers)
