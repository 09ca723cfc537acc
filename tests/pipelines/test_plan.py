"""The plan of a search: its phases are those of the run, and nothing is trained or written."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any

import pytest

import manticore as mc
from manticore.errors import ManticoreError
from manticore.experiment.run_dir import RunDir
from manticore.utils.memory import peak_memory, reset_peak_memory
from tests.helpers.toy_task import NAME, QUICK

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("toy_task")]

SPACE = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba")


def test_the_phases_are_those_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = mc.plan(SPACE, NAME, quiet=True, **QUICK)
    assert not any(tmp_path.iterdir())
    result = mc.search(SPACE, NAME, out=tmp_path / "run", **QUICK)
    before = capsys.readouterr().out.partition("\nbase: mamba")[0]
    assert "what the search will do" in before
    assert "manticore plan, with the same flags, measures the time, memory and disk of these phases" in before
    rows = {re.split(r"\s{2,}", line.strip())[0] for line in before.splitlines()}
    assert rows >= {phase.name for phase in plan.phases if phase.steps}
    phases = {phase.name: phase for phase in plan.phases}
    for row in result.metrics.rows:
        if row.group == "component":
            phase = phases[f"alone {row.name.removesuffix(' alone')}"]
            assert phase.parameters == row.parameters
            assert phase.tokens == pytest.approx(row.train_tokens, rel=0.1)
    for name, planned in phases.items():
        record = RunDir(result.folder).finished_phase(name)
        if record is not None and name != "search":  # its warm-up is a phase of the plan
            assert planned.steps == record["steps"], name
            if name not in ("fine-tune", "random path"):  # whose path is not known before
                assert planned.flops == pytest.approx(record["flops"], rel=0.25), name
    assert phases["search, warm-up"].steps + phases["search"].steps == QUICK["search"]["steps"]
    assert plan.seconds == pytest.approx(sum(phase.seconds for phase in plan.phases))
    weights = sum(file.stat().st_size for file in (result.folder / "checkpoints").glob("*.safetensors"))
    weights += (result.folder / "hybrid" / "model.safetensors").stat().st_size
    assert plan.disk_bytes == pytest.approx(weights, rel=0.3)
    assert len(plan.notes) == 1
    assert "not known before training" in plan.notes[0]


@pytest.mark.parametrize("strategy", ["halving", "gaea"])
def test_other_strategies_have_a_plan(strategy: str) -> None:
    sections: dict[str, Any] = {**QUICK, "search": {**QUICK["search"], "steps": 24, "strategy": strategy}}
    plan = mc.plan(SPACE, NAME, quiet=True, **sections)
    search = next(phase for phase in plan.phases if phase.name == "search")
    assert search.steps == (24 if strategy == "halving" else 22)
    assert all(phase.peak_bytes > 0 for phase in plan.phases)


def test_a_plan_of_nothing_and_of_an_infeasible_search() -> None:
    with pytest.raises(ManticoreError, match="plan needs models and a task"):
        mc.plan(quiet=True)
    with pytest.raises(ManticoreError, match="no path has parameters of at most 9; the nearest, "):
        mc.plan(SPACE, NAME, max=["parameters=9"], quiet=True, **QUICK)


def test_the_memory_at_the_peak_is_that_since_the_last_reset() -> None:
    reset_peak_memory()
    before = peak_memory()
    size = 120 * 2**20
    with mmap.mmap(-1, size) as pages:  # an allocator may use memory that is resident already
        pages.write(b"1" * size)
    assert peak_memory() - before >= size - 2**20
