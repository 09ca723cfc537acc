"""Loggers by name: one search with the real wandb, MLflow and Trackio, in a process that may not use the network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import manticore as mc
from manticore.config.recipe import Recipe
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.training import run_loggers
from tests.helpers.toy_task import QUICK

MISSING = [name for name in run_loggers.TRACKERS if find_spec(name) is None]

SCRIPT = """
import json, socket, sys
from pathlib import Path

connect = socket.socket.connect

def guarded(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
        print("NETWORK", address)
    return connect(self, address)

socket.socket.connect = guarded
import manticore as mc
from tests.helpers.toy_task import QUICK

sections = {**QUICK, "baselines": {"components": False, "uniform": False, "random": False}}
task = {"name": "lra-listops", "preset": "cpu", "train": 120, "val": 20, "test": 20}
result = mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=2), task, out="run",
                   logger="wandb,mlflow,trackio", quiet=True, **sections)
print("PATH", result.architecture.summary())

from mlflow.tracking import MlflowClient

ids = json.loads(Path("run/logs/loggers.json").read_text())
client = MlflowClient(Path("run/logs/mlflow").resolve().as_uri())
run = client.get_run(ids["mlflow"])
seen = {
    "status": run.info.status,
    "metrics": sorted(run.data.metrics),
    "losses": [point.value for point in client.get_metric_history(ids["mlflow"], "fine-tune/loss")],
    "params": run.data.params,
    "path": run.data.tags["path"],
    "files": [file.path for file in client.list_artifacts(ids["mlflow"])],
}
from trackio.sqlite_storage import SQLiteStorage

seen["trackio"] = SQLiteStorage.get_logs("manticore", ids["trackio"])
print("SEEN", json.dumps(seen, default=str))
"""


@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_trackers_get_losses_alphas_memory_path_and_report_without_a_network(tmp_path: Path) -> None:
    own = {"TRACKIO_DIR": str(tmp_path / "trackio"), "HOME": str(tmp_path), "PYTHONPATH": os.getcwd()}
    env = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW", "TRACKIO"))}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env={**env, **own}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "NETWORK" not in done.stdout
    path = done.stdout.split("PATH ")[1].splitlines()[0]
    seen: dict[str, Any] = json.loads(done.stdout.split("SEEN ")[1].splitlines()[0])
    expected = {"search/loss", "search/alpha/stage 2/mamba", "search/weight/stage 1/gpt-neo"}
    assert expected | {"search/memory_mib", "fine-tune/loss"} <= set(seen["metrics"])
    assert (seen["status"], seen["path"], seen["files"]) == ("FINISHED", path, ["report.html"])
    assert seen["params"]["search/steps"] == "6"
    with (tmp_path / "run" / "logs" / "csv" / "fine-tune" / "metrics.csv").open() as file:
        names, *rows = [line.strip().split(",") for line in file]
    assert seen["losses"] == pytest.approx([float(row[names.index("loss")]) for row in rows])
    assert not (tmp_path / "run" / "logs" / "tensorboard").exists()
    offline = next((tmp_path / "run" / "logs" / "wandb").glob("offline-run-*/run-*.wandb")).read_bytes()
    for text in (b"search/alpha/stage 2/mamba", path.encode(), b"report.html"):
        assert text in offline
    assert any("search/alpha/stage 2/mamba" in row for row in seen["trackio"])
    assert any(row.get("path") == path for row in seen["trackio"])
    assert list((tmp_path / "trackio").rglob("report.html")) or list((tmp_path / "trackio" / "artifacts").rglob("*"))


def test_a_logger_that_is_not_installed_names_the_pip_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(run_loggers, "find_spec", lambda name: None)
    space, task = mc.SearchSpace(["gpt-neo", "mamba"], stages=2), {"name": "lra-listops", "preset": "cpu"}
    with pytest.raises(ManticoreError, match=r"^logger 'mlflow' is not installed: pip install mlflow-skinny$"):
        mc.search(space, task, out=tmp_path / "run", logger=["mlflow"], quiet=True, **QUICK)
    assert not (tmp_path / "run").exists()


def test_a_name_that_no_logger_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=r"^unknown run.logger 'wandbx'. Did you mean 'wandb'"):
        mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=2), "lra-listops", out=tmp_path / "run", logger="wandbx")


def test_default_loggers_are_not_in_the_recipe_file() -> None:
    """So that trials of a comparison and recipes of earlier versions stay the same."""
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2)
    assert "logger" not in Recipe(space=space).to_dict()["run"]
    with_mlflow = Recipe(space=space, run=RunOptions(logger=("csv", "mlflow")))
    assert with_mlflow.to_dict()["run"]["logger"] == ("csv", "mlflow")
