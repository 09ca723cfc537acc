"""`manticore compare` through the command line, at pico size."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from manticore.results.study import StudyResult
from manticore.training.metrics import ACCURACY
from tests.helpers.cli import call, refusal
from tests.helpers.pico_study import KEYS

pytestmark = pytest.mark.e2e


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The pico recipe as a file."""
    keys = {**KEYS, "study": {"seeds": 2, "learning_rates": [0.002]}}
    file = tmp_path / "pico.yaml"
    file.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return file


def compare_args(config: Path, out: Path, *extra: object) -> list[object]:
    """A comparison of the pico recipe."""
    return ["compare", "--config", config, "--out", out, *extra]


def test_compare_and_resume(config: Path, tmp_path: Path, cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    status, stdout, stderr = call(capsys, *compare_args(config, out, "--all-paths", "--path-seeds", 1, "--seeds", 1))
    assert (status, stderr) == (0, "")
    assert "with the same training tokens: the hybrid " in stdout
    assert "with the same training FLOPs: the hybrid " in stdout
    (task,) = StudyResult.load(out).tasks
    assert len({arm.train_tokens for arm in task.tables["tokens"]}) == 1
    for arm in task.tables["flops"]:
        assert arm.train_flops == pytest.approx(task.train_flops, rel=0.1), arm.name
    assert [arm.name for arm in task.tables["tokens"]] == [
        *("hybrid", "gpt-neo alone", "mamba alone", "mambaformer", "striped"),
        *("uniform mixture", "random path", "hub"),
    ]
    assert len(task.paths) == 4
    best = max(path.score.mean for path in task.paths)
    chosen = next(path for path in task.paths if path.times_chosen)
    assert task.regret is not None
    assert task.regret.mean == pytest.approx(best - chosen.score.mean)
    assert "<html" in (out / "report.html").read_text()
    tables = (out / "tables.md").read_text()
    assert tables.count("## mad-compression@") == 2  # with equal tokens, with equal operations
    assert f"| {ACCURACY.format(task.tables['tokens'][0].score.mean)} |" in tables.replace("**", "")
    assert not (out / "models").exists()

    before = {file: file.stat().st_mtime_ns for file in (out / "trials").iterdir()}
    status, stdout, _ = call(
        capsys, *compare_args(config, out, "--seeds", 2, "--baselines", "components", "--budgets", "tokens")
    )
    assert status == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before  # no trial is run again
    assert "seed 0" not in stdout
    assert "seed 1" in stdout
    assert StudyResult.load(out).tasks[0].tables["tokens"][0].score.count == 2

    (out / "report.html").unlink()
    assert call(capsys, "report", out)[0] == 0
    assert (out / "report.html").exists()


def test_errors(config: Path, tmp_path: Path, cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for args, message in (
        (["--baselines", "mambaformr"], "unknown baselines 'mambaformr'"),
        (["--budgets", "seconds"], "unknown budgets 'seconds'"),
        (["--learning-rates", "0.1,0"], "must be a number above 0, got 0.0"),
        (["--learning-rates", "fast"], "must be a number above 0, got 'fast'"),
        (["--seeds", "0"], "at least 1"),
        (["--stages", "3"], "3 stages are more"),
        (["--task", "mad-compresion"], "mad-compression"),
        (["--set", "study.seeds=0"], "study.seeds must be a whole number of at least 1"),
    ):
        assert message in refusal(capsys, *compare_args(config, out, *args)), args
        assert not out.exists(), args
    out.mkdir()
    (out / "notes.txt").write_text("")
    assert "already holds something else" in refusal(capsys, *compare_args(config, out))
