"""A run folder as a search leaves it: three stages, two components and skip, a resumed phase."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from manticore.nas.architecture import Architecture
from manticore.results.search import ComponentInfo, DiscretizationGap, ModelRow, SearchResult, SplitScore
from manticore.training.metrics import ACCURACY
from manticore.utils.io import write_text

RECIPE = """models: [mamba, gpt-neo]
task:
  name: lra-listops  # <short>
space:
  stages: 3
  skip: true
"""


def row(name: str, group: str, accuracy: float, *costs: float) -> ModelRow:
    """A row of the comparison on 4000 examples; a heuristic has no costs and no loss."""
    margin = 1.96 * math.sqrt(accuracy * (1 - accuracy) / 4000)
    return ModelRow(name, group, SplitScore(accuracy, margin, 1.1 if costs else None, 4000), *costs)


def search_result(task: str, path: Sequence[str], base: str) -> SearchResult:
    """The result of a search on `task` that chose `path`."""
    cuts = layer_boundaries(max(4, len(path)), len(path))
    return SearchResult(
        version="0.2.0",
        task=task,
        metric=ACCURACY,
        kind="classification",
        example=None,
        seed=0,
        preset="cpu",
        preset_reason="no CUDA device here",
        base=base,
        base_reason="best alone on the validation split: mamba 57.9 %, gpt-neo 52.2 %",
        path=tuple(path),
        summary="in words",
        best_model="hybrid",
        best_reason="validation accuracy 62.4 %, best component mamba 57.9 %",
        gap=DiscretizationGap(soft=0.612, discrete=0.581, finetuned=0.63),
        components={
            "gpt-neo": ComponentInfo("gpt-neo (from scratch)", None, 205_312, 4, 64, cuts),
            "mamba": ComponentInfo("state-spaces/mamba-130m-hf", REVISION, 130_112, 4, 64, cuts),
        },
        alignment=None,
        machine={
            "cpu": "x86_64",
            "cores": 2,
            "gpu": None,
            "python": "3.11.2",
            "torch": "2.13.0",
            "transformers": "5.23.0",
        },
        seconds={
            "alone gpt-neo": 171.2,
            "alone mamba": 263.0,
            "search": 412.7,
            "fine-tune": 88.4,
            "uniform mixture": 390.0,
            "random path": 61.0,
        },
        rows=(
            row("soft supernet", "search", 0.612, 412_345, 934_000, 4_120_000),
            row("discretized, before fine-tuning", "search", 0.581, 171_200, 402_000, 4_120_000),
            row("discretized, after fine-tuning", "search", 0.63, 171_200, 402_000, 5_480_000),
            row("gpt-neo alone", "component", 0.5322, 205_312, 480_000, 5_480_000),
            row("mamba alone", "component", 0.588, 130_112, 310_000, 5_480_000),
            row("uniform mixture", "baseline", 0.604, 412_345, 934_000, 5_480_000),
            row("random path", "baseline", 0.571, 188_000, 411_000, 5_480_000),
            row("majority class", "heuristic", 0.1755),
            row("root operator", "heuristic", 0.379),
        ),
    )


REVISION = "1e76775f628fb1ff8f1cc7ca1ea4b4ddad9ab6f6"


def layer_boundaries(layers: int, stages: int) -> tuple[int, ...]:
    return tuple((2 * stage * layers + stages) // (2 * stages) for stage in range(stages + 1))


def write_alphas(file: Path, candidates: Sequence[str], path: Sequence[str], steps: range) -> None:
    """Weights that drift from uniform towards the path; a last line cut short by a kill."""
    rng = random.Random(1)
    final = [[rng.uniform(-0.6, 0.6) + (1.4 if name == choice else 0) for name in candidates] for choice in path]
    lines = []
    for step in steps:
        share = (step - steps.start) / len(steps)
        alphas = [[share * value + rng.gauss(0, 0.02) for value in stage] for stage in final]
        sums = [sum(map(math.exp, stage)) for stage in alphas]
        weights = [[math.exp(a) / total for a in stage] for stage, total in zip(alphas, sums, strict=True)]
        lines.append(
            json.dumps(
                {"step": step, "tokens": 64 * step, "candidates": candidates, "alphas": alphas, "weights": weights}
            )
        )
    write_text(file, "\n".join(lines) + '\n{"step": 401, "wei')


def write_log(folder: Path, steps: range, start: float, end: float, alpha: bool = False) -> None:
    """A CSV log as Lightning writes it; the first line has an empty loss."""
    rng = random.Random(str(folder))
    lines = ["alpha_loss,epoch,loss,lr,step,tokens", f",0,,0.001,{steps.start},0"]
    for step in steps:
        loss = end + (start - end) * math.exp(-step / 130) + rng.gauss(0, 0.09)
        other = f"{loss + 0.06 + rng.gauss(0, 0.05):.5f}" if alpha and step > 100 else ""
        lines.append(f"{other},0,{loss:.5f},0.001,{step},{step * 64}")
    write_text(folder / "metrics.csv", "\n".join(lines) + "\n")


def write_run(
    folder: Path,
    task: str = "lra-listops@short",
    path: Sequence[str] = ("mamba", "gpt-neo", "skip"),
    base: str = "mamba",
) -> Path:
    """A complete run folder."""
    search_result(task, path, base).save(folder)
    write_text(folder / "recipe.yaml", RECIPE)
    Architecture(("gpt-neo", "mamba"), tuple(path), base).save(folder / "architecture.json")
    write_alphas(folder / "alphas.jsonl", ["gpt-neo", "mamba", "skip"], path, range(101, 401))
    logs = folder / "logs" / "csv"
    write_log(logs / "search", range(10, 260, 2), 2.3, 1.2, alpha=True)
    write_log(logs / "search.2", range(200, 401, 2), 2.3, 1.2, alpha=True)
    for phase, end in {
        "fine-tune": 0.9,
        "alone-gpt-neo": 1.4,
        "alone-mamba": 1.1,
        "uniform-mixture": 1.2,
        "random-path": 1.25,
    }.items():
        write_log(logs / phase, range(10, 401, 2), 2.3, end)
    return folder


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.fixture
def result(run_folder: Path) -> SearchResult:
    """The result of the run in `run_folder`."""
    return SearchResult.load(run_folder)


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """A run folder with another task, path or base."""
    return lambda **options: write_run(tmp_path / "other", **options)
