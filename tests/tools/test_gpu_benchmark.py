"""The benchmark of GPUs has a dry run on a CPU, which goes through all its parts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
pytestmark = [pytest.mark.slow, pytest.mark.e2e]
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.py"


def test_the_dry_run_writes_all_parts(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    command = [sys.executable, str(SCRIPT), "--dry-run", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    parts = ["facts", "correctness", "race", "step", "training", "search", "device_tests"]
    assert list(dict.fromkeys(row["part"] for row in rows)) == parts
    assert sum("case" in row for row in rows if row["part"] == "correctness") == 10
    assert {row["mode"] for row in rows if "mode" in row} == {"eager", "graph"}
    assert {row["step"] for row in rows if "step" in row} == {"gpt-neo", "mamba", "dense", "path", "alphas"}
    searches = [row for row in rows if "search" in row]
    assert [row["search"] for row in searches] == ["darts", "darts, sampled paths", "single level"]
    assert all(row["time"] > 0 and row["counted_steps"] == 2 and row["host_stops"] == {} for row in searches)
    assert next(row for row in rows if "resumed_to_the_bit" in row)["resumed_to_the_bit"]


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="needs a machine without a GPU")
def test_without_a_gpu_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--out", str(tmp_path / "rows.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "run.py: error: no CUDA device was found; allowed without one: --dry-run\n"
