"""The page of programming: one self-contained file, in light, dark and print. Reads program.json and nothing else."""

from __future__ import annotations

from pathlib import Path

from manticore.report.charts.palette import ACCENT, MUTED, Palette
from manticore.report.charts.scatter import Dot, scatter_chart
from manticore.report.markup import Html, el
from manticore.report.paper import definitions, document, scroll, section, unbroken
from manticore.report.run.sections import machine_words
from manticore.report.transfer.summary import sentences
from manticore.report.transfer.tables import costs_html, paths_html, standings_html, transfer_html
from manticore.results.transfer import FILE, TransferResult, TriedPath
from manticore.utils.formatting import counted, duration, listed, percent
from manticore.utils.io import write_text

NOTE = (
    "Spearman's rank correlation over all paths, with Fisher's interval, which takes the paths to be independent. "
    "They share stages and every score has noise, so the intervals are a rough guide."
)


def write_transfer_report(folder: Path | str) -> Path:
    """Write `report.html` beside `program.json`, whole or not at all, and return where it is.

    Raises BadFile if `program.json` is not there or is not what `manticore transfer` leaves.
    """
    file = Path(folder) / "report.html"
    write_text(file, render_transfer(TransferResult.read(Path(folder))))
    return file


def render_transfer(told: TransferResult) -> str:
    """The whole page."""
    title = f"{' + '.join(told.target_components)} programmed for {told.task}"
    pairs = [f"{ours} is {theirs}" for ours, theirs in zip(told.components, told.target_components, strict=True)]
    others = f" On the target {listed(pairs)}." if told.components != told.target_components else ""
    bars = (
        f"Bars and margins are 95% intervals over {counted(len(told.seeds), 'seed')} (Student's t)."
        if len(told.seeds) > 1
        else "There is one seed, so there are no intervals."
    )
    return document(
        title,
        _opening(told, title),
        section(
            "Proxies and target",
            f"A dot is a path, trained from scratch on every task. {bars}{others}",
            _chart(told),
        ),
        section("How well proxies predict", NOTE, transfer_html(told)),
        section(
            f"On {told.task}",
            "Test split, read once. Differences in percentage points, paired over seeds; the best and the median path "
            "are picked by these very scores. Of two paths in the middle the better is the median.",
            standings_html(told),
        ),
        section("Cost", None, costs_html(told)),
        section(
            "All paths",
            "Accuracy on the target's test split and on the validation splits of the proxies; log weight: of the "
            "searches, summed over stages and proxies.",
            paths_html(told),
        ),
        section("How it was made", None, definitions(_facts(told))),
        el("footer", f"Everything on this page is from the {FILE} that lies beside it."),
    )


def _opening(told: TransferResult, title: str) -> Html:
    """Title, size and findings."""
    facts = [f"manticore {told.version}".strip(), counted(len(told.paths), "path")]
    facts += [f"{len(told.proxies)} {'proxy' if len(told.proxies) == 1 else 'proxies'}"]
    facts += [counted(len(told.seeds), "seed")] if told.seeds else []
    said = (el("li", unbroken(sentence)) for sentence in sentences(told))
    return el(
        "header", el("p", " · ".join(facts), class_="over"), el("h1", title), el("ul", *said, class_="verdicts result")
    )


def _chart(told: TransferResult) -> Html:
    """The programmed path and base alone are marked."""
    palette = Palette(told.target_components)
    base = (told.base,) * len(told.programmed)
    stays = f"programmed: {told.base} alone" if base == told.programmed else "programmed"
    marked = {base: (f"{told.base} alone", palette[told.base]), told.programmed: (stays, ACCENT)}

    def spot(tried: TriedPath) -> Dot:
        name, colour = marked.get(tried.path, ("", MUTED))
        reached = f"{percent(tried.accuracy.mean, tried.accuracy.margin)} on {told.task}"
        said = f"{tried.words}: {percent(tried.proxy.mean, tried.proxy.margin)} on {_across(told)}, {reached}"
        return Dot(tried.proxy, tried.accuracy, colour, said, name)

    spots = [spot(tried) for tried in told.ranked]
    return scroll(scatter_chart(spots, f"accuracy on {_across(told)}", f"accuracy on {told.task}"))


def _across(told: TransferResult) -> str:
    return told.proxies[0] if len(told.proxies) == 1 else f"the {len(told.proxies)} proxies"


def _facts(told: TransferResult) -> dict[str, object]:
    """How it was made, as names and words."""
    facts: dict[str, object] = {"proxies": listed(told.proxies)}
    if told.learning_rates:
        grid = listed([f"{rate:g}" for rate in told.learning_rates])
        facts["learning rate"] = f"of {grid} the best on the validation split; paths have that of {told.base} alone"
    facts["path"] = "the largest product of the searches' mixing weights over all proxies, geometric mean over seeds"
    facts |= machine_words(told.machine)
    if told.seconds is not None:
        workers = "" if told.workers is None else f" with {counted(told.workers, 'worker')}"
        facts["time"] = f"{duration(told.seconds)}{workers}"
    return facts
