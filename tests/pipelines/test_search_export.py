"""What a search exports if a component is better than the hybrid: the hybrid and the component, or the component."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import manticore as mc
from manticore.experiment import evaluation
from manticore.experiment.model_selection import Choice
from manticore.tasks.task import tasks
from tests.helpers.cli import call, refusal
from tests.helpers.toy_task import NAME, QUICK, which_end

pytestmark = pytest.mark.e2e


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    mc.register.task(NAME)(which_end)
    yield
    tasks._items.pop(NAME, None)


@pytest.fixture
def mamba_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the validation split Mamba alone is better than the hybrid."""
    monkeypatch.setattr(evaluation, "choose_best", lambda *_: Choice("mamba", "as the test says"))


@pytest.mark.usefixtures("mamba_wins")
def test_a_better_component_is_exported_beside_the_hybrid_or_in_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {**QUICK, "baselines": {"components": True, "uniform": False, "random": False}}
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, stage_candidates={1: "gpt-neo"}, base="gpt-neo")
    default = mc.search(space, NAME, out=tmp_path / "default", **options)
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == "Exported: the hybrid; mamba alone is better (as the test says)."
    assert default.metrics.exported == "hybrid"
    assert default.hybrid.config.path[0] == "gpt-neo"
    cards = [(tmp_path / "default" / name / "README.md").read_text() for name in ("hybrid", "best_component")]
    assert "Exported: the hybrid; mamba alone is better (as the test says)." in cards[0]
    assert "Exported beside the hybrid (as the test says)." in cards[1]

    copy = shutil.copytree(tmp_path / "default", tmp_path / "best")
    for file in ("metrics.json", "report.html"):
        (copy / file).unlink()
    for folder in ("hybrid", "best_component"):
        shutil.rmtree(copy / folder)
    recipe = (copy / "recipe.yaml").read_text()
    (copy / "recipe.yaml").write_text(recipe.replace("export: hybrid", "export: best"))
    best = mc.search(space, NAME, out=copy, resume=True, export="best", **options)
    printed = capsys.readouterr().out.splitlines()
    sentence = "Exported: mamba alone, which is better than the hybrid (as the test says)."
    assert printed[-1] == sentence
    assert f"  best component {copy / 'hybrid'}" in printed
    assert not any(line.startswith("  hybrid") for line in printed)
    assert not (copy / "best_component").exists()
    assert best.metrics.exported == "mamba"
    assert json.loads((copy / "metrics.json").read_text())["exported"] == "mamba"
    assert best.hybrid.config.path == ["mamba", "mamba"]
    weights = [folder / "model.safetensors" for folder in (copy / "hybrid", tmp_path / "default" / "best_component")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert sentence in (copy / "hybrid" / "README.md").read_text()
    assert sentence in (copy / "report.html").read_text().replace("\u00a0", " ")


def test_the_better_of_both_is_the_hybrid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "choose_best", lambda *_: Choice("hybrid", "as the test says"))
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, stage_candidates={1: "gpt-neo"}, base="gpt-neo")
    result = mc.search(space, NAME, out=tmp_path / "run", quiet=True, export="best", **QUICK)
    assert result.metrics.exported == "hybrid"
    assert result.hybrid.config.path == list(result.path)
    card = (tmp_path / "run" / "hybrid" / "README.md").read_text()
    assert "Exported: the hybrid, which is best (as the test says)." in card


def test_another_export_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refusal(capsys, "search", "--models", "gpt-neo,mamba", "--export", "bets", "--out", tmp_path / "run")
    assert "Did you mean 'best'?" in line
    assert not (tmp_path / "run").exists()
    status, text, _ = call(capsys, "search", "--help")
    assert status == 0
    assert "--export" in text
