"""`manticore bench latency`, and a search and a selection with limits of latency."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.cli import main
from manticore.nas.latency import VARIABLE, LatencyTable
from tests.helpers.cli import refusal

SPACE = ("--stages", "2", "--set", "scratch.attention={width: 16, layers: 2, heads: 2}")
SPACE += ("--set", "scratch.recurrent={width: 16, layers: 2}", "--set", "task.train=100", "--set", "task.val=10")
MODELS = ("--task", "lra-listops", "--preset", "cpu", *SPACE, "--set", "task.test=10")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "latency.json"))
    return tmp_path / "latency.json"


def test_parts_are_measured_and_limit_a_search(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure = ["bench", "latency", "gpt-neo,mamba", *MODELS, "--repeats", "1"]
    assert main([*measure, "--lengths", "16,32"]) == 0
    shown = capsys.readouterr().out
    assert f"latency table of {LatencyTable.load(table).machine}" in " ".join(shown.split())
    entries = LatencyTable.load(table).entries.values()
    assert {entry.kind for entry in entries} == {"segment", "projectors", "ends"}
    assert {entry.mode for entry in entries} == {"forward"}
    assert all([*entry.ms] == [16, 32] for entry in entries)
    plan = ["plan", "--models", "gpt-neo,mamba", *MODELS, "--max"]
    infeasible = refusal(capsys, *plan, "prefill_ms=1us@24")
    assert "no path has prefill_ms@24 of at most 0.001 ms; the nearest, " in infeasible
    unmeasured = refusal(capsys, *plan, "prefill_ms=40@64")
    assert "at 16, 32 tokens, not at 64; measure it: manticore bench latency gpt-neo,mamba" in unmeasured


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["latency"], "bench latency needs a run folder, or models and a task"),
        (["latency", "gpt-neo,mamba", "--dtypes", "int3"], "unknown type of numbers 'int3'"),
        (["kernels", "--lengths", "64"], "bench kernels does not take --lengths; bench latency does"),
        (["latency", ".", "--task", "text"], "bench latency RUN measures the run's own search space"),
        (["latency", "."], "is no run folder: there is no recipe.yaml in it"),
        (["latency", "gpt-neo,mamba", *MODELS, "--lengths", "100000"], "'gpt-neo' has "),
    ],
)
def test_wrong_use_is_one_line(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, "bench", *args)
