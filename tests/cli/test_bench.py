"""`manticore bench` in a subprocess: its table, its numbers in a file, and what it says to wrong words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from manticore.bench.timing import Timing, ratio

pytestmark = pytest.mark.e2e


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "manticore.cli", "bench", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_kernels_both_sides_and_their_ratio(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    done = bench("kernels", "--quick", "--repeats", "1", "--case", "scan-default,gpt-neo-step", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "chosen: numba loops" in done.stdout
    held = json.loads(file.read_text())
    assert held["quick"] is True
    assert [(row["case"], row["side"]) for row in held["rows"]] == [
        ("scan-default", "ours"),
        ("scan-default", "transformers"),
        ("gpt-neo-step", "ours"),
        ("gpt-neo-step", "transformers"),
    ]
    ours, theirs = held["rows"][:2]
    assert theirs["times_faster"] == pytest.approx(theirs["seconds"] / ours["seconds"])
    assert theirs["kept"] is (theirs["times_faster"] >= 150)
    assert {row["operation"] for row in held["backends"]} >= {"selective_scan", "ssd_scan", "causal_conv1d"}
    assert held["machine"]["threads"] >= 1


def test_a_ratio_is_taken_round_by_round() -> None:
    slow_minute = Timing((1.0, 10.0, 1.0)), Timing((2.0, 20.0, 2.0)), Timing((2.0, 20.0, 2.0))
    assert ratio(slow_minute[1], slow_minute[0]) == 2
    assert ratio(*slow_minute) == 0.25
    assert ratio(Timing((6.0,)), Timing((2.0, 1.0, 1.0))) == 3


def test_a_search_step_against_its_parts(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    done = bench("search", "--quick", "--repeats", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows = {row["step"]: row for row in json.loads(file.read_text())["rows"]}
    dense = rows["dense mixture"]
    assert dense["ratio"] == pytest.approx(dense["seconds"] / (rows["gpt-neo"]["seconds"] + rows["mamba"]["seconds"]))
    assert dense["promised"] == 1.10
    assert sum(name.startswith("path ") for name in rows) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["kernel"], "unknown benchmark 'kernel'. Did you mean 'kernels'? Known: kernels, search."),
        (["kernels", "--case", "scn"], "unknown case 'scn'. Did you mean 'scan'?"),
        (["search", "--device", "tpu"], "--device: unknown device 'tpu'. Did you mean 'cpu'? Known: cpu, cuda."),
        (["kernels", "--repeats", "0"], "must be a whole number of at least 1, got 0"),
        (["kernels", "--json", "nowhere/x.json"], "there is no folder nowhere"),
    ],
)
def test_wrong_words_get_one_line(words: list[str], message: str) -> None:
    done = bench(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not done.stdout
