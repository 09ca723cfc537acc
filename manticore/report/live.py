"""The page of a search, or of a study, that has not ended: what is known of it so far."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from manticore import __version__
from manticore.config.loading import read_recipe
from manticore.errors import ManticoreError
from manticore.nas.architecture import Architecture
from manticore.report.charts.curves import loss_panel, loss_range, weights_panel
from manticore.report.charts.palette import Palette
from manticore.report.rendering import render
from manticore.report.run.reading import Alphas, read_alphas, read_curves
from manticore.report.table import Row, Table
from manticore.training.callbacks import ProgressFile
from manticore.utils.formatting import DASH, count, counted, duration
from manticore.utils.io import read_json

Process = Literal["running", "stopped", "killed"]
"""Of a folder: a process writes it; the last one ended it, by an interrupt or an error; or was killed."""

SILENT_SECONDS = 60.0
"""Age of the last progress from which it is mentioned."""

TRIAL_COLUMNS = ("task", "model", "seed", "learning rate", "split", "score")

MAX_TRIALS = 200
"""Most trials that the page of a study lists, the last ones."""


@dataclass(frozen=True)
class Progress:
    """How far the phase is that was trained last; see `ProgressFile`.

    Attributes:
        phase, position: its name, and its number among the phases of the run; the latter may be empty.
        step, steps: the last logged step, and the number of steps.
        loss, tokens_per_second, seconds_left: None before the first logged step.
        age: seconds since it was written.
    """

    phase: str
    position: str
    step: int
    steps: int
    loss: float | None
    tokens_per_second: float | None
    seconds_left: float | None
    age: float

    @property
    def title(self) -> str:
        """The phase with its number, as in `search (3 of 5)`."""
        return f"{self.phase} ({self.position})" if self.position else self.phase

    @property
    def details(self) -> str:
        """Step, loss, speed and time left, as far as they are known."""
        parts = [f"step {self.step:,} of {self.steps:,}"]
        if self.loss is not None and self.tokens_per_second is not None and self.seconds_left is not None:
            parts += [f"loss {self.loss:.3f}", f"{self.tokens_per_second:,.0f} tokens/s"]
            parts += [f"{duration(self.seconds_left)} left"] if self.step < self.steps else []
        return " · ".join(parts)


def render_unfinished_run(folder: Path, process: Process) -> str:
    """The page of a search that is not complete.

    Raises ManticoreError if `folder` is none, or if a file cannot be read as what a search writes.
    """
    recipe = read_recipe(folder / "recipe.yaml")
    records = _finished_phases(folder / "checkpoints")
    progress = read_progress(folder / "logs" / ProgressFile.NAME)
    alphas = read_alphas(folder / "alphas.jsonl", recipe.space.stages)
    curves = [curve for curve in read_curves(folder / "logs" / "csv", list(records)) if len(curve.loss) > 1]
    palette = Palette(alphas.candidates if alphas else recipe.space.names)
    y_range = loss_range([curve.loss for curve in curves], [curve.alpha_loss for curve in curves]) if curves else (0, 1)
    architecture = folder / "architecture.json"
    title = f"{' + '.join(recipe.space.names)} on {recipe.task.name}"
    return render(
        "live.html.j2",
        title=f"{_short_state(process, progress)} – {title}",
        heading=title,
        facts=[f"manticore {__version__}", f"seed {recipe.run.seed}"],
        process=process,
        state=_state(process, progress),
        details=_details(process, progress),
        resume=f"manticore search --out {folder} --resume",
        path=Architecture.load(architecture).summary() if architecture.is_file() else "",
        phases=_phases(records, progress, process),
        leaders=_leaders(alphas),
        palette=palette,
        weight_panels=_weight_panels(alphas, palette),
        loss_panels=[loss_panel(curve.phase, curve.loss, curve.alpha_loss, y_range, palette) for curve in curves],
        has_alpha_loss=any(curve.alpha_loss for curve in curves),
        trials=None,
        recipe=(folder / "recipe.yaml").read_text(encoding="utf-8"),
        folder=folder.resolve().name,
    )


def render_unfinished_study(folder: Path, trials: Sequence[tuple[str, ...]], running: int, failed: int) -> str:
    """The page of a comparison or a transfer that is not complete.

    Args:
        folder: its folder.
        trials: the cells of `TRIAL_COLUMNS` of each finished trial, in the order in which they ended.
        running: trials that a living process has claimed.
        failed: trials that ended with an error.
    """
    numbers = [
        f"{counted(len(trials), 'trial')} finished",
        f"{running} running",
        *([f"{failed} failed"] if failed else []),
    ]
    process: Process = "running" if running else "stopped"
    state = "The study is running." if running else "No process runs a trial of this study."
    rows = tuple(map(Row, reversed(trials[-MAX_TRIALS:])))
    return render(
        "live.html.j2",
        title=f"{', '.join(numbers)} – {folder.resolve().name}",
        heading=folder.resolve().name,
        facts=[f"manticore {__version__}"],
        process=process,
        state=state,
        details=f"{', '.join(numbers)}. A round of trials begins when all of the round before have ended.",
        resume="",
        path="",
        phases=None,
        leaders=[],
        palette=Palette(()),
        weight_panels=[],
        loss_panels=[],
        has_alpha_loss=False,
        trials=Table(TRIAL_COLUMNS, rows) if rows else None,
        recipe="",
        folder=folder.resolve().name,
    )


def read_progress(file: Path) -> Progress | None:
    """The progress in a file; None if there is none, or if a process is writing it at this moment."""
    try:
        record, age = read_json(file), time.time() - file.stat().st_mtime
        numbers = {key: record.get(key) for key in ("loss", "tokens_per_second", "seconds_left")}
        return Progress(
            record["phase"], record["position"], record["step"], record["steps"], **numbers, age=max(0, age)
        )
    except (ManticoreError, OSError, KeyError, TypeError, AttributeError):
        return None


def _short_state(process: Process, progress: Progress | None) -> str:
    if process != "running":
        return process
    return f"{progress.phase} {100 * progress.step // max(1, progress.steps)} %" if progress else "running"


def _state(process: Process, progress: Progress | None) -> str:
    """What the process of the run does, as a sentence."""
    where = f" in {progress.title}" if progress else ""
    if process == "killed":
        return f"This run was killed{where}: its process has ended without leaving the folder."
    if process == "stopped":
        return f"This run has stopped{where}, by an interrupt or an error; no process is writing its folder."
    return f"Running: {progress.title}." if progress else "Running: data and models are prepared."


def _details(process: Process, progress: Progress | None) -> str:
    if progress is None:
        return ""
    if process != "running":
        return f"Last logged: step {progress.step:,} of {progress.steps:,}."
    silent = progress.age > SILENT_SECONDS
    return progress.details + (f" · logged {duration(progress.age)} ago" if silent else "")


def _finished_phases(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of finished phases by the names of their files, in the order in which they ended."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
    return {file.stem: read_json(file) for file in files}


def _phases(records: dict[str, dict[str, Any]], progress: Progress | None, process: Process) -> Table | None:
    """A row for each phase that has begun."""
    rows = [
        Row((name, f"{record.get('steps', 0):,}", count(record["tokens"]), duration(record["seconds"])))
        for name, record in records.items()
    ]
    if progress is not None and progress.step < progress.steps:
        rows.append(Row((progress.phase, f"{progress.step:,} of {progress.steps:,}", DASH, process), emphasized=True))
    return Table(("phase", "steps", "tokens", "time"), tuple(rows)) if rows else None


def _leaders(alphas: Alphas | None) -> list[str]:
    """The candidate with the largest mixing weight at each stage."""
    if alphas is None:
        return []
    return [alphas.candidates[row.index(max(row))] for row in alphas.weights[-1]]


def _weight_panels(alphas: Alphas | None, palette: Palette) -> list[Markup]:
    """One panel per stage, as on the page of a finished search; the line of the leader is thick."""
    if alphas is None or len(alphas.steps) < 2:
        return []
    return [
        weights_panel(stage, leader, {name: alphas.series(stage, name) for name in alphas.candidates}, palette)
        for stage, leader in enumerate(_leaders(alphas))
    ]
