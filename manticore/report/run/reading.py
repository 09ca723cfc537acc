"""Reads a run folder: its result, and the mixing weights and training losses from its logs."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from manticore.components.spec import SKIP
from manticore.errors import BadFile, ManticoreError, UnfinishedRun
from manticore.nas.architecture import Architecture
from manticore.nas.choices import Choices
from manticore.nas.space import SearchSpace
from manticore.nas.topologies import topologies
from manticore.results.analysis import HybridAnalysis
from manticore.results.pareto import ParetoFront
from manticore.results.search import SearchResult
from manticore.utils.io import slug
from manticore.utils.text_files import read_text
from manticore.utils.yaml_loading import load_yaml


@dataclass(frozen=True)
class Alphas:
    """Mixing weights over the search.

    Attributes:
        candidates: the K names, in the order of the columns.
        steps: the T recorded steps.
        weights: mixing weights, (T, S, K).
        alphas: the alphas, (T, S, K); empty in a record that has none.
        curvatures: largest eigenvalue of the Hessian of the alphas at each step where it was computed.
    """

    candidates: tuple[str, ...]
    steps: tuple[float, ...]
    weights: tuple[tuple[tuple[float, ...], ...], ...]
    alphas: tuple[tuple[tuple[float, ...], ...], ...] = ()
    curvatures: tuple[float, ...] = ()

    @property
    def late(self) -> bool:
        """Whether the record begins well after the first step, because the alphas were frozen before."""
        return len(self.steps) > 1 and self.steps[0] > 2 * (self.steps[1] - self.steps[0])

    def series(self, stage: int, name: str) -> list[tuple[float, float]]:
        """(step, weight) of a candidate at a stage (counted from 0)."""
        column = self.candidates.index(name)
        return [(step, weights[stage][column]) for step, weights in zip(self.steps, self.weights, strict=True)]


@dataclass(frozen=True)
class Curve:
    """Training losses of one phase, in nats.

    Attributes:
        phase: its name.
        loss: (step, loss) on the examples that train the weights.
        alpha_loss: (step, loss) on the examples that train the alphas; empty in a phase without a search.
    """

    phase: str
    loss: list[tuple[float, float]]
    alpha_loss: list[tuple[float, float]]


@dataclass(frozen=True)
class Run:
    """The data of a finished run.

    Attributes:
        folder: the run folder.
        result: its metrics.json.
        architecture: the selected path.
        alphas: mixing weights over the search; None for a strategy that trains none.
        curves: training losses by phase; empty if nothing was logged.
        recipe: recipe.yaml as text; empty if there is none.
        front: the Pareto front; None if there is none.
        analysis: what the training has changed in each stage; None if it was not analyzed.
    """

    folder: Path
    result: SearchResult
    architecture: Architecture
    alphas: Alphas | None
    curves: tuple[Curve, ...]
    recipe: str
    front: ParetoFront | None = None
    analysis: HybridAnalysis | None = None

    @property
    def candidates(self) -> tuple[str, ...]:
        """The candidates of every stage, the base model first and skip last."""
        names = self.alphas.candidates if self.alphas else (*self.architecture.components, *self.architecture.path)
        base = self.architecture.base
        return tuple(sorted(dict.fromkeys(names), key=lambda name: (name == SKIP, name != base)))

    @cached_property
    def choices(self) -> Choices:
        """The candidates of each stage by the saved recipe; without a recipe, any of the candidates."""
        stages = self.architecture.stages
        try:
            choices = SearchSpace.from_dict(load_yaml(self.recipe)["space"]).choices
        except (yaml.YAMLError, TypeError, KeyError, ManticoreError):
            return Choices.free(self.candidates, stages)
        fits = choices.stages == stages and set(self.candidates) <= set(choices.candidates)
        return choices if fits else Choices.free(self.candidates, stages)

    @property
    def has_base(self) -> bool:
        """Whether the topology has a base model, to whose stream donors add their updates through projectors."""
        return topologies[self.architecture.topology].has_base

    def carries_stream(self, stage: int) -> bool:
        """Whether the segment at a stage (counted from 0) carries the stream itself, rather than adding to it."""
        name = self.architecture.path[stage]
        return name != SKIP and (name == self.architecture.base or not self.has_base)

    def has_projectors(self, stage: int) -> bool:
        """Whether a donor runs a stage (counted from 0), between projectors."""
        name = self.architecture.path[stage]
        return name != SKIP and name not in self.architecture.ops and not self.carries_stream(stage)

    def layers(self, name: str, stage: int) -> str:
        """Layers that a candidate runs at a stage (counted from 0): `layers 3–4`."""
        if name == SKIP:
            return "no layers"
        if name in self.architecture.ops:
            return "own module"
        boundaries = self.result.components[name].layer_boundaries
        first, last = boundaries[stage] + 1, boundaries[stage + 1]
        if first > last:
            return "no layers"
        return f"layer {first}" if first == last else f"layers {first}–{last}"

    def final_weight(self, stage: int, name: str) -> float | None:
        """Mixing weight of a candidate at a stage (counted from 0) at the end; None without mixing weights."""
        if self.alphas is None or name not in self.alphas.candidates:
            return None
        return self.alphas.weights[-1][stage][self.alphas.candidates.index(name)]


def read_run(folder: Path | str) -> Run:
    """Read the folder of a finished run.

    Raises:
        ManticoreError: `folder` is not the folder of a finished run.
        BadFile: a file cannot be read as what a run writes, or belongs to another run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ManticoreError(f"no such folder: {folder}")
    if (folder / "recipe.yaml").is_file() and not (folder / SearchResult.FILE).is_file():
        raise UnfinishedRun(folder)
    for name in ("architecture.json", SearchResult.FILE):
        if not (folder / name).is_file():
            raise ManticoreError(f"{folder}: not the folder of a finished run (it has no {name})")
    result, architecture = SearchResult.load(folder), Architecture.load(folder / "architecture.json")
    for name in architecture.components:
        component = result.components.get(name)
        if component is None or len(component.layer_boundaries) != architecture.stages + 1:
            raise BadFile(folder / SearchResult.FILE, f"not of the same run as architecture.json (component '{name}')")
    return add_logs(folder, result, architecture)


def read_alphas(file: Path, stages: int) -> Alphas | None:
    """The recorded mixing weights; None without a record. An incomplete last line, of a killed process, is ignored."""
    if not file.is_file():
        return None
    lines = [line for line in read_text(file).split("\n") if line.strip()]
    curvatures: dict[float, float] = {}
    records: dict[float, Any] = {}  # a resumed search repeats steps; the later record of a step counts
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            tables = [tuple(tuple(map(float, row)) for row in record.get(key, ())) for key in ("weights", "alphas")]
            records[float(record["step"])] = tables
            if "curvature" in record:
                curvatures[float(record["step"])] = float(record["curvature"])
            candidates = tuple(map(str, record["candidates"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            if number == len(lines):
                break
            raise BadFile(file, "not a record of mixing weights", number) from None
    if not records:
        return None
    steps = tuple(sorted(records))
    weights, alphas = (tuple(records[step][table] for step in steps) for table in (0, 1))
    if any(len(rows) != stages or any(len(row) != len(candidates) for row in rows) for rows in weights):
        raise BadFile(file, f"mixing weights that are not {stages} stages x {len(candidates)} candidates")
    return Alphas(candidates, steps, weights, alphas, tuple(curvatures[step] for step in sorted(curvatures)))


def add_logs(folder: Path, result: SearchResult, architecture: Architecture) -> Run:
    """The data of a run whose result is known: only its logs, recipe and front are read from the folder.

    Raises BadFile if a log cannot be read as what a run writes.
    """
    recipe = folder / "recipe.yaml"
    alphas = read_alphas(folder / "alphas.jsonl", architecture.stages)
    known = {*architecture.components, *architecture.ops, SKIP}
    if alphas is not None and (unknown := [name for name in alphas.candidates if name not in known]):
        raise BadFile(folder / "alphas.jsonl", f"not of the same run as architecture.json (candidate '{unknown[0]}')")
    return Run(
        folder=folder,
        result=result,
        architecture=architecture,
        alphas=alphas,
        curves=read_curves(folder / "logs" / "csv", list(result.seconds)),
        recipe=read_text(recipe) if recipe.is_file() else "",
        front=ParetoFront.load(folder) if (folder / ParetoFront.FILE).is_file() else None,
        analysis=HybridAnalysis.load(folder) if (folder / HybridAnalysis.FILE).is_file() else None,
    )


def read_curves(folder: Path, phases: Sequence[str]) -> tuple[Curve, ...]:
    """The losses of every phase.

    Args:
        folder: has one folder per phase, and `PHASE.2`, `PHASE.3` for its resumptions.
        phases: names of the phases in the order in which they ran.
    """
    names = {slug(phase): phase for phase in phases}
    files = {file.parent.name: file for file in folder.glob("*/metrics.csv")}
    parts: dict[str, list[tuple[int, Path]]] = {}
    for name, file in files.items():
        resumed = re.fullmatch(r"(.+)\.(\d+)", name)
        # A phase whose own name ends in a number, such as `alone-qwen2.5`, is not a resumption.
        phase, number = (resumed[1], int(resumed[2])) if resumed and resumed[1] in files else (name, 1)
        parts.setdefault(phase, []).append((number, file))
    curves = [_read_curve(names.get(phase, phase), [file for _, file in sorted(part)]) for phase, part in parts.items()]
    order = {phase: index for index, phase in enumerate(phases)}
    curves.sort(key=lambda curve: (order.get(curve.phase, len(order)), curve.phase))
    return tuple(curve for curve in curves if curve.loss)


def _read_curve(phase: str, files: Sequence[Path]) -> Curve:
    """One phase. A resumption replaces what was logged from its first step on."""
    loss: dict[float, float] = {}
    alpha_loss: dict[float, float] = {}
    for file in files:
        try:
            table = csv.DictReader(io.StringIO(read_text(file), newline=""))
            rows = [{key: _finite(cell) for key, cell in row.items() if key} for row in table]
        except csv.Error as error:
            raise BadFile(file, f"not a table of losses ({error})") from None
        start = next((step for row in rows if (step := row.get("step")) is not None), math.inf)
        for name, curve in (("loss", loss), ("alpha_loss", alpha_loss)):
            for step in [step for step in curve if step >= start]:
                del curve[step]
            for number, row in enumerate(rows, start=1):
                value, step = row.get(name), row.get("step")
                if value is not None:
                    curve[float(number) if step is None else step] = value
    return Curve(phase, sorted(loss.items()), sorted(alpha_loss.items()))


def _finite(cell: object) -> float | None:
    """The number in a cell; None for an empty cell, for text, and for infinity and NaN."""
    try:
        value = float(str(cell))
    except ValueError:
        return None
    return value if math.isfinite(value) else None
