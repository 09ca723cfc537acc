"""A run folder as data: its result, and what only the logs have, the alphas and the training losses."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.components.spec import SKIP
from manticore.errors import BadFile, ManticoreError
from manticore.nas.architecture import Architecture
from manticore.nas.topologies import topologies
from manticore.results.search import SearchResult


@dataclass(frozen=True)
class Alphas:
    """How the mixing weights moved.

    Attributes:
        candidates: the K names, in the order of the columns.
        steps: the T steps that were recorded.
        weights: T x S x K mixing weights.
    """

    candidates: tuple[str, ...]
    steps: tuple[float, ...]
    weights: tuple[tuple[tuple[float, ...], ...], ...]

    @property
    def late(self) -> bool:
        """Whether the record begins well after the first step: the alphas were frozen until then."""
        return len(self.steps) > 1 and self.steps[0] > 2 * (self.steps[1] - self.steps[0])

    def series(self, stage: int, name: str) -> list[tuple[float, float]]:
        """(step, weight) of one candidate at one stage (counted from 0)."""
        column = self.candidates.index(name)
        return [(step, weights[stage][column]) for step, weights in zip(self.steps, self.weights, strict=True)]


@dataclass(frozen=True)
class Curve:
    """Training losses of one phase, in nats.

    Attributes:
        phase: its name, without the number of a resumption.
        loss: (step, loss) of the weights.
        alpha_loss: (step, loss) of the alphas; empty where they do not move.
    """

    phase: str
    loss: list[tuple[float, float]]
    alpha_loss: list[tuple[float, float]]


@dataclass(frozen=True)
class Run:
    """A finished run, as its folder has it.

    Attributes:
        folder: the run folder.
        result: its metrics.json.
        architecture: the chosen path.
        alphas: how the search moved; None for a search that trains nothing.
        curves: training losses, one a phase; empty if nothing was logged.
        recipe: recipe.yaml as text; empty if there is none.
    """

    folder: Path
    result: SearchResult
    architecture: Architecture
    alphas: Alphas | None
    curves: tuple[Curve, ...]
    recipe: str

    @property
    def candidates(self) -> tuple[str, ...]:
        """What each stage could be, base first and skip last."""
        names = self.alphas.candidates if self.alphas else (*self.architecture.components, *self.architecture.path)
        base = self.architecture.base
        return tuple(sorted(dict.fromkeys(names), key=lambda name: (name == SKIP, name != base)))

    @property
    def has_base(self) -> bool:
        """Whether the base model owns the stream, so that donors add to it through projectors."""
        return topologies[self.architecture.topology].has_base

    def carries_stream(self, stage: int) -> bool:
        """Whether the segment at a stage (counted from 0) carries the stream itself, rather than adding to it."""
        name = self.architecture.path[stage]
        return name != SKIP and (name == self.architecture.base or not self.has_base)

    def layers(self, name: str, stage: int) -> str:
        """Layers that a component runs at a stage (counted from 0): `layers 3–4`."""
        if name == SKIP:
            return "no layers"
        boundaries = self.result.components[name].layer_boundaries
        first, last = boundaries[stage] + 1, boundaries[stage + 1]
        if first > last:
            return "no layers"
        return f"layer {first}" if first == last else f"layers {first}–{last}"

    def final_weight(self, stage: int, name: str) -> float | None:
        """Mixing weight of a candidate at a stage (counted from 0) at the end; None if nothing was searched."""
        if self.alphas is None or name not in self.alphas.candidates:
            return None
        return self.alphas.weights[-1][stage][self.alphas.candidates.index(name)]


def read_run(folder: Path | str, result: SearchResult | None = None) -> Run:
    """Everything a report needs.

    Args:
        folder: the run folder.
        result: the result of a run that has not written its metrics.json yet. Default: read the file.

    Raises:
        ManticoreError: `folder` is not a finished run's.
        BadFile: one of its files is not what it should be.
    """
    folder = Path(folder)
    for name in ("architecture.json", *(() if result else (SearchResult.FILE,))):
        if not (folder / name).is_file():
            raise ManticoreError(f"{folder}: not the folder of a finished run (it has no {name})")
    result = result or SearchResult.load(folder)
    architecture = Architecture.load(folder / "architecture.json")
    for name in architecture.components:
        component = result.components.get(name)
        if component is None or len(component.layer_boundaries) != architecture.stages + 1:
            raise BadFile(folder / SearchResult.FILE, f"not of the same run as architecture.json (component '{name}')")
    recipe = folder / "recipe.yaml"
    return Run(
        folder=folder,
        result=result,
        architecture=architecture,
        alphas=_read_alphas(folder / "alphas.jsonl", architecture.stages),
        curves=_read_curves(folder / "logs" / "csv", list(result.seconds)),
        recipe=recipe.read_text(encoding="utf-8") if recipe.is_file() else "",
    )


def _read_alphas(file: Path, stages: int) -> Alphas | None:
    """The records of a search; a last line that a kill cut short is left out."""
    if not file.is_file():
        return None
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    records: dict[float, Any] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            records[float(record["step"])] = tuple(tuple(map(float, row)) for row in record["weights"])
            candidates = tuple(map(str, record["candidates"]))
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break
            raise BadFile(file, "not a record of alphas", number) from None
    if not records:
        return None
    steps = tuple(sorted(records))
    weights = tuple(records[step] for step in steps)
    if any(len(at) != stages or any(len(row) != len(candidates) for row in at) for at in weights):
        raise BadFile(file, f"weights that are not {stages} stages x {len(candidates)} candidates")
    return Alphas(candidates, steps, weights)


def _read_curves(folder: Path, phases: list[str]) -> tuple[Curve, ...]:
    """The losses of every phase, in the order in which the phases ran; `phases` are their names where known."""
    titles = {re.sub(r"[^A-Za-z0-9_-]+", "-", phase).strip("-"): phase for phase in phases}
    logs = {file.parent.name: file for file in folder.glob("*/metrics.csv")}
    parts: dict[str, list[tuple[int, Path]]] = {}
    for name, file in logs.items():
        resumed = re.fullmatch(r"(.+)\.(\d+)", name)
        phase, number = (resumed[1], int(resumed[2])) if resumed and resumed[1] in logs else (name, 1)
        parts.setdefault(phase, []).append((number, file))
    curves = [
        _read_curve(titles.get(phase, phase), [file for _, file in sorted(files)]) for phase, files in parts.items()
    ]
    rank = {phase: place for place, phase in enumerate(phases)}
    curves.sort(key=lambda curve: (rank.get(curve.phase, len(rank)), curve.phase))
    return tuple(curve for curve in curves if curve.loss)


def _read_curve(phase: str, files: list[Path]) -> Curve:
    """One phase; where a resumed part repeats steps, the later part counts."""
    loss: dict[float, float] = {}
    alpha_loss: dict[float, float] = {}
    for file in files:
        with file.open(encoding="utf-8", newline="") as text:
            rows = [{key: _finite(cell) for key, cell in row.items() if key} for row in csv.DictReader(text)]
        first = next((row["step"] for row in rows if row.get("step") is not None), None)
        for held in (loss, alpha_loss):
            for repeated in [step for step in held if first is not None and step >= first]:
                del held[repeated]
        for place, row in enumerate(rows, start=1):
            step = row.get("step")
            at = float(place) if step is None else step
            for held, name in ((loss, "loss"), (alpha_loss, "alpha_loss")):
                value = row.get(name)
                if value is not None:
                    held[at] = value
    return Curve(phase, sorted(loss.items()), sorted(alpha_loss.items()))


def _finite(cell: object) -> float | None:
    """The number in a cell; None for an empty one, for text and for what is not finite."""
    try:
        value = float(str(cell))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
