"""Searches and comparisons whose space has ops as Python objects, fixed stages and shared choices."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from torch import nn

import manticore as mc
from manticore.config.launching import LaunchOptions
from manticore.config.loading import load_recipe
from manticore.errors import ManticoreError
from manticore.pipelines import compare
from manticore.results.study import StudyResult
from manticore.studies.launchers import start_crew
from manticore.studies.preflight import check_transfer
from manticore.tasks.task import tasks
from tests.helpers.cli import refusal
from tests.helpers.ops import ATTENTION, CONV, EMA, OPS, Conv, Mean
from tests.helpers.pico_study import KEYS
from tests.helpers.toy_task import NAME, QUICK, which_end

pytestmark = pytest.mark.e2e

SPACE: dict[str, Any] = {
    "stages": 2,
    "base": "gpt-neo",
    "ops": OPS,
    "skip": True,
    "stage_candidates": {1: CONV, 2: [ATTENTION, EMA, "mamba"]},
    "cuts": {"mamba": [0, 1, 3]},
}
NO_BASELINES = {"components": False, "uniform": False, "random": False}


@pytest.fixture(autouse=True)
def toy() -> Iterator[None]:
    """The toy task, for the time of one test."""
    mc.register.task(NAME)(which_end)
    yield
    tasks._items.pop(NAME, None)


def test_a_search_with_objects_is_resumed_with_them(tmp_path: Path) -> None:
    space = mc.SearchSpace(["gpt-neo", "mamba"], **SPACE)
    options = {**QUICK, "baselines": {"components": True, "uniform": True, "random": True}}
    result = mc.search(space, NAME, out=tmp_path / "run", quiet=True, **options)
    space.choices.check(result.architecture.path)
    assert result.architecture.path[0] == CONV
    rows = {row.name: row for row in result.metrics.rows}
    assert {"random path", "uniform mixture", "gpt-neo alone"} <= set(rows)
    recipe = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert recipe["space"]["ops"][0] == {
        "name": CONV,
        "factory": "tests.helpers.ops:Conv",
        "options": {"kernel": 4},
    }
    (tmp_path / "run" / "metrics.json").unlink()  # as if it had been killed before its end
    again = mc.search(space, NAME, out=tmp_path / "run", quiet=True, resume=True, **options)
    assert again.architecture == result.architecture
    assert [row.score for row in again.metrics.rows] == [row.score for row in result.metrics.rows]
    other = mc.SearchSpace(["gpt-neo", "mamba"], **{**SPACE, "ops": (mc.Op(CONV, Conv), *OPS[1:])})
    with pytest.raises(ManticoreError, match=r"another recipe: space\.ops was \[\{.* and is \[\{.* now;"):
        mc.search(other, NAME, out=tmp_path / "run", quiet=True, resume=True, **options)


def test_a_space_of_a_single_path_has_no_random_path(tmp_path: Path) -> None:
    space = mc.SearchSpace(
        ["gpt-neo", mc.Op("mean", Mean, causal=False)], stages=2, stage_candidates={1: "mean", 2: "gpt-neo"}
    )
    baselines = {"components": False, "uniform": False, "random": True}
    result = mc.search(space, NAME, out=tmp_path / "run", quiet=True, **QUICK, baselines=baselines)
    assert result.architecture.path == ("mean", "gpt-neo")
    assert "random path" not in {row.name for row in result.metrics.rows}


SCRIPT = """
import sys
import manticore as mc
from torch import nn
from tests.helpers.toy_task import NAME, QUICK, which_end

class Scale(nn.Linear):
    def __init__(self, width):
        super().__init__(width, width)

if __name__ == "__main__":
    mc.register.task(NAME)(which_end)
    space = mc.SearchSpace(["gpt-neo", mc.Op("scale", Scale)], stages=2, base="gpt-neo")
    baselines = {"components": False, "uniform": False, "random": False}
    for resume in (False, True):
        result = mc.search(space, NAME, out="run", quiet=True, resume=resume, **QUICK, baselines=baselines)
    print(type(result.hybrid).__name__)
"""


def test_an_op_of_a_script_resumes_from_the_script_and_says_so_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "HybridForSequenceClassification"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "metrics.json").unlink()
    err = refusal(capsys, "search", "--out", "run", "--resume", "--trust-code")
    assert "op 'scale' (__main__:Scale) was defined in a script, a notebook or a function" in err
    assert "resume from there with mc.search and the same arguments" in err


def study_recipe(**space: Any) -> Any:
    keys = {**KEYS, "space": {"components": ["gpt-neo", "mamba"], "stages": 2, **space}}
    study = {"seeds": 1, "learning_rates": [0.002], "budgets": ["tokens"], "paths": True}
    return load_recipe("search/mad", {**keys, "study": study}).recipe


def test_a_comparison_keeps_to_the_space(tmp_path: Path, cached: Path) -> None:
    recipe = study_recipe(ops=OPS[:2], stage_candidates={2: ["gpt-neo", "mamba", CONV]}, shared_stages=[[1, 2]])
    compare.run([recipe], tmp_path / "out", start_crew(LaunchOptions(), tmp_path), Console(quiet=True))
    (task,) = StudyResult.load(tmp_path / "out").tasks
    names = [arm.name for arm in task.tables["tokens"]]
    assert names[:3] == ["hybrid", "gpt-neo alone", "mamba alone"]
    assert "hub" not in names, "the hub has no ops"
    assert {path.path for path in task.paths} == {("gpt-neo",) * 2, ("mamba",) * 2, (CONV,) * 2}
    assert sum(path.times_chosen for path in task.paths) == 1


def test_studies_that_cannot_be_carried_out_are_refused_before_they_start(tmp_path: Path) -> None:
    class Local(nn.Linear):
        """Cannot be imported by another process."""

        def __init__(self, width: int) -> None:
            super().__init__(width, width)

    recipe = study_recipe(ops=[mc.Op("own", Local)])
    with pytest.raises(ManticoreError, match=r"op 'own' \(.*<locals>.Local\) cannot be imported by other processes"):
        compare.run([recipe], tmp_path / "out", start_crew(LaunchOptions(workers=2), tmp_path), Console(quiet=True))
    assert not (tmp_path / "out").exists()
    fixed = study_recipe(stage_candidates={2: "gpt-neo"}, base="mamba")
    with pytest.raises(ManticoreError, match="'mamba' is no candidate of stage 2; add it in stage_candidates"):
        check_transfer([fixed], fixed)
    with pytest.raises(ManticoreError, match="proxies and target must agree in candidates of stages"):
        check_transfer([study_recipe()], study_recipe(stage_candidates={2: "gpt-neo"}))
