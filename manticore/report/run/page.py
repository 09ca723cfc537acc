"""The page of a result: one self-contained file, in light, dark and print. Reads a run folder and nothing else."""

from __future__ import annotations

from pathlib import Path

from manticore.report.charts import path_diagram
from manticore.report.charts.curves import loss_panel, loss_range, weights_panel
from manticore.report.charts.palette import Palette
from manticore.report.markup import Html, el
from manticore.report.paper import document, legend, section, unbroken
from manticore.report.run import sections
from manticore.report.run.reading import Run, read_run
from manticore.report.run.summary import figures, sentences
from manticore.utils.io import write_text


def write_run_report(folder: Path | str) -> Path:
    """Write `report.html` into a run folder, whole or not at all, and return where it is.

    Raises:
        ManticoreError: `folder` is not a finished run's.
        BadFile: one of its files is not what it should be.
    """
    run = read_run(folder)
    file = run.folder / "report.html"
    write_text(file, render_run(run))
    return file


def render_run(run: Run) -> str:
    """The whole page."""
    palette = Palette(run.candidates)
    title = f"{run.result.task}: {' + '.join(run.architecture.components)}"
    return document(
        title,
        _opening(run),
        _path(run, palette),
        section(
            "Comparison",
            "All on the same test split, which was read once. Margins are 95% intervals of the split's size, not of "
            f"the seed.{sections.heuristic_note(run.result)}",
            sections.comparison_table(run, palette),
        ),
        _weights(run, palette),
        _losses(run, palette),
        el(
            "div",
            el("div", section("Time", None, sections.time_table(run, palette))),
            el("div", section("Machine", None, sections.machine_facts(run))),
            class_="two",
        ),
        section("Components", None, sections.components_table(run, palette)),
        el("details", el("summary", "Recipe"), el("pre", run.recipe)) if run.recipe else None,
        _closing(run),
    )


def _opening(run: Run) -> Html:
    """Title, result in words and headline numbers."""
    models = " + ".join(run.architecture.components)
    large = (
        el("div", el("dt", figure.label), el("dd", figure.value, class_="value"), el("dd", figure.note, class_="note"))
        for figure in figures(run)
    )
    return el(
        "header",
        el("p", f"manticore {run.result.version} · seed {run.result.seed}", class_="over"),
        el("h1", f"{models} on {run.result.task}"),
        el("dl", *large, class_="figures"),
        el("p", unbroken(" ".join(sentences(run))), class_="result"),
    )


def _path(run: Run, palette: Palette) -> Html | None:
    """The diagram with its legend."""
    told = "The stream runs from left to right; what was chosen is filled. "
    if run.architecture.topology == "hub":
        told += "Every chosen segment carries the stream."
    else:
        told += (
            f"Segments of {run.architecture.base}, which is base, carry the stream itself; a donor segment reads it "
            "through P and adds its update through Q."
        )
    if run.alphas:
        told += " Numbers and tints are mixing weights when the search ended."
    drawn = el("div", path_diagram.draw_path(run, palette), class_="scroll")
    return section("The path", told, legend(palette), drawn, sections.run_facts(run))


def _weights(run: Run, palette: Palette) -> Html | None:
    """One panel per stage; nothing if nothing was searched."""
    if run.alphas is None:
        return None
    panels = (
        weights_panel(stage, chosen, {name: run.alphas.series(stage, name) for name in run.alphas.candidates}, palette)
        for stage, chosen in enumerate(run.architecture.path)
    )
    told = "Mixing weights over the search; the chosen candidate's line is the strong one, numbers are final weights."
    if run.alphas.late:
        told += " The lines begin where the warm-up ended."
    return section("How the weights moved", told, legend(palette), el("div", *panels, class_="panels"))


def _losses(run: Run, palette: Palette) -> Html | None:
    """One panel per phase, all on one scale; nothing if nothing was logged."""
    if not run.curves:
        return None
    y_range = loss_range([curve.loss for curve in run.curves], [curve.alpha_loss for curve in run.curves])
    told = "Training loss in nats, smoothed, with the raw values behind; all panels share one scale."
    if any(curve.alpha_loss for curve in run.curves):
        told += " Dashed: the loss on the examples that move the alphas."
    curves = (loss_panel(curve.phase, curve.loss, curve.alpha_loss, y_range, palette) for curve in run.curves)
    panels = el("div", *curves, class_="panels")
    return section("Training", told, panels)


def _closing(run: Run) -> Html:
    return el(
        "footer",
        "The method is that of “Pretrained Hybrids with MAD Skills” (arXiv 2406.00894). "
        f"Everything on this page is from the run folder {run.folder.resolve().name}.",
    )
