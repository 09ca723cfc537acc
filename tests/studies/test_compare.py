"""The whole study through the real command line, at pico size."""

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
    held = {**KEYS, "study": {"seeds": 2, "learning_rates": [0.002]}}
    file = tmp_path / "pico.yaml"
    file.write_text(yaml.safe_dump(held), encoding="utf-8")
    return file


def words(config: Path, out: Path, *more: object) -> list[object]:
    """A comparison of the pico recipe."""
    return ["compare", "--config", config, "--out", out, *more]


def test_compare_and_go_on(config: Path, tmp_path: Path, cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    status, told, err = call(capsys, *words(config, out, "--all-paths", "--path-seeds", 1, "--seeds", 1))
    assert (status, err) == (0, "")
    assert "with the same training tokens: the hybrid " in told
    assert "with the same training FLOPs: the hybrid " in told
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
    told = (out / "tables.md").read_text()
    assert told.count("## mad-compression@") == 2  # at the same tokens, at the same operations
    assert f"| {ACCURACY.format(task.tables['tokens'][0].score.mean)} |" in told.replace("**", "")
    assert not (out / "models").exists()

    kept = {file: file.stat().st_mtime_ns for file in (out / "trials").iterdir()}
    status, told, _ = call(
        capsys, *words(config, out, "--seeds", 2, "--baselines", "components", "--budgets", "tokens")
    )
    assert status == 0
    assert {file: file.stat().st_mtime_ns for file in kept} == kept  # what was done is not done again
    assert "seed 0" not in told
    assert "seed 1" in told
    assert StudyResult.load(out).tasks[0].tables["tokens"][0].score.count == 2

    (out / "report.html").unlink()
    assert call(capsys, "report", out)[0] == 0
    assert (out / "report.html").exists()


def test_wrong_use(config: Path, tmp_path: Path, cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for more, said in (
        (["--baselines", "mambaformr"], "unknown baselines 'mambaformr'"),
        (["--budgets", "seconds"], "unknown budgets 'seconds'"),
        (["--learning-rates", "0.1,0"], "must be a number above 0, got 0.0"),
        (["--learning-rates", "fast"], "must be a number above 0, got 'fast'"),
        (["--seeds", "0"], "at least 1"),
        (["--stages", "3"], "3 stages are more"),
        (["--task", "mad-compresion"], "mad-compression"),
        (["--set", "study.seeds=0"], "study.seeds must be a whole number of at least 1"),
    ):
        assert said in refusal(capsys, *words(config, out, *more)), more
        assert not out.exists(), more
    out.mkdir()
    (out / "letter").write_text("dear")
    assert "already holds something else" in refusal(capsys, *words(config, out))
