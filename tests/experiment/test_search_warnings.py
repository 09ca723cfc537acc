"""A choice that is within noise is said to be so: on the console, in the result, the report and the card."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

import manticore as mc
from manticore.experiment.experiment import PhaseResult
from manticore.experiment.search_warnings import search_warnings
from manticore.nas.selection import Budget, Difference, StageScoreTable
from manticore.nas.stage_scores import StageScores
from manticore.pipelines import search as search_pipeline
from tests.helpers.ops import op_supernet
from tests.helpers.toy_task import NAME, QUICK


@pytest.mark.e2e
@pytest.mark.parametrize("strategy", ["uniform", "halving"])
def test_a_search_that_decides_on_noise_says_so_everywhere(
    toy_task: None, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Difference, "is_noise", property(lambda difference: True))
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba")
    options: dict[str, Any] = {**QUICK, "search": {**QUICK["search"], "strategy": strategy, "steps": 24}}
    options |= {"finetune": {"steps": 9, "batch_size": 4}, "baselines": {"components": False, "uniform": False}}
    result = mc.search(space, NAME, out=tmp_path / "run", quiet=True, **options)
    scores = result.metrics.stage_scores
    assert scores is not None
    (warning,) = scores.warnings
    assert warning.startswith("the search decides on noise: on the validation split the path is ")
    rival = warning.partition("runner-up, ")[2].partition(", with")[0].split(" · ")
    space.choices.check(rival)
    assert rival != list(result.path)
    for file in ("report.html", "hybrid/README.md"):
        assert f"Warning: {warning}." in (result.folder / file).read_text().replace("\N{NO-BREAK SPACE}", " "), file
    # Read again, it is the same; and it is printed.
    recipe, console = result.recipe, Console(record=True, width=400, file=io.StringIO())
    (result.folder / "metrics.json").unlink()
    search_pipeline.run(recipe, result.folder, console, resume=True)
    assert f"warning: {warning}" in console.export_text()


def choose(tmp_path: Path, lines: list[str] | None = None, **fields: Any) -> tuple[str, ...]:
    """The warnings of a search of two components and ops that chose the first candidate everywhere."""
    net = op_supernet("gpt2", "mamba", ops=())
    (tmp_path / "alphas.jsonl").write_text("".join(f"{line}\n" for line in lines or []))
    exp: Any = SimpleNamespace(
        run_dir=SimpleNamespace(alphas=tmp_path / "alphas.jsonl"),
        space=SimpleNamespace(stages=3),
        recipe=SimpleNamespace(search=SimpleNamespace(strategy="darts")),
    )
    table = StageScoreTable(net.candidates, [[1.0, 0.0], [1.0, 0.5], [1.0, 0.0]])
    task: Any = None
    search = PhaseResult(net, 0, 0.0, task, path_scores=table, **fields)
    return search_warnings(exp, search, ["base"] * 3, Budget())


@pytest.mark.parametrize(("std_error", "noisy"), [(0.005, False), (0.02, True)])
def test_the_runner_up_is_compared(std_error: float, noisy: bool, tmp_path: Path) -> None:
    compared = []

    def compare(path: Any, rival: Any) -> Difference:
        compared.append((path, rival))
        return Difference(-0.01, std_error)

    warnings = choose(tmp_path, compare=compare)
    assert compared == [(("base",) * 3, ("base", "donor", "base"))]
    assert warnings == (
        (
            "the search decides on noise: on the validation split the path is 0.01 nats better than the runner-up, "
            "base · donor · base, with a standard error of 0.02",
        )
        if noisy
        else ()
    )


@pytest.mark.parametrize("noisy", [False, True])
def test_mixing_weights_that_vary_more_than_they_differ(noisy: bool, tmp_path: Path) -> None:
    def line(step: int) -> str:
        first = 0.55 + (0.1 * (-1) ** (step + 1) if noisy else 0.001 * step)
        rows = [[0.9, 0.1], [first, 1 - first], [0.9, 0.1]]
        return f'{{"step": {step}, "candidates": ["base", "donor"], "weights": {rows}}}'

    warnings = choose(tmp_path, [line(step) for step in range(1, 41)])
    assert len(warnings) == noisy
    if noisy:
        assert "at stage 2 the mixing weights of base and donor differ by" in warnings[0]
        assert "over the last 10 recorded steps" in warnings[0]


@pytest.mark.parametrize(("value", "noisy"), [(0.3, False), (0.42, True)])
def test_a_divergence_at_the_limit(value: float, noisy: bool, tmp_path: Path) -> None:
    values, spread = ((0.0, 0.9), (0.0, value), (0.0, 0.9)), ((0.0, 0.05),) * 3
    scores = StageScores("KL divergence", "", True, ("base", "donor"), values, spread, threshold=0.45)
    warnings = choose(tmp_path, stage_scores=scores)
    assert len(warnings) == noisy
    if noisy:
        assert "the KL divergence of donor at stage 2 is 0.42 with a standard error of 0.05" in warnings[0]
