"""`manticore bench` in a subprocess: its tables, its numbers in a file, its errors; and how ratios are taken."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from manticore.bench.kernels import THIS_PACKAGE, SpeedTarget
from manticore.bench.run import comparison_fields
from manticore.bench.timing import Timing, race, ratio
from manticore.nas.strategies import strategies
from tests.helpers.cli import refusal


def bench(*args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "manticore.cli", "bench", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.e2e
def test_kernels_are_timed_on_both_sides(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    args = ("--quick", "--repeats", "1", "--case", "scan-default,gpt-neo-step", "--json", str(file))
    process = bench("kernels", *args)
    assert process.returncode == 0, process.stderr
    assert "chosen: numba loops" in process.stdout
    numbers = json.loads(file.read_text())
    assert numbers["quick"] is True
    rows = numbers["rows"]
    assert [(row["case"], row["side"]) for row in rows] == [
        ("scan-default", THIS_PACKAGE),
        ("scan-default", "transformers"),
        ("gpt-neo-step", THIS_PACKAGE),
        ("gpt-neo-step", "transformers"),
    ]
    assert rows[1]["speedup"] == pytest.approx(rows[1]["seconds"] / rows[0]["seconds"])
    assert rows[1]["target_met"] is (rows[1]["speedup"] >= 150)
    if sys.platform == "linux":
        assert all(row["peak_bytes"] is not None for row in rows)
    assert {row["operation"] for row in numbers["backends"]} >= {"selective_scan", "ssd_scan", "causal_conv1d"}
    assert numbers["machine"]["threads"] >= 1


@pytest.mark.e2e
def test_a_search_step_is_timed_against_the_components(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    process = bench("search", "--quick", "--repeats", "1", "--json", str(file))
    assert process.returncode == 0, process.stderr
    numbers = json.loads(file.read_text())
    rows = {row["step"]: row for row in numbers["rows"]}
    dense = rows["dense mixture"]
    assert dense["ratio"] == pytest.approx(dense["seconds"] / (rows["gpt-neo"]["seconds"] + rows["mamba"]["seconds"]))
    assert dense["limit"] == 1.10
    assert dense["limit_met"] is (dense["ratio"] <= 1.10)
    assert rows["gpt-neo"]["ratio"] is None
    assert sum(name.startswith("path ") for name in rows) == 3
    of_strategies = [row["step"] for row in rows.values() if row["kind"] == "strategy"]
    assert of_strategies == list(strategies)
    assert rows["uniform"]["memory_share"] < rows["dense mixture"]["memory_share"] == 1
    order, memory = (target["value"] for target in numbers["targets"])
    assert order == pytest.approx(rows["darts-second-order"]["seconds"] / rows["darts"]["seconds"])
    assert memory == rows["path gpt-neo,mamba,gpt-neo,mamba"]["memory_share"] < 0.6
    assert process.stdout.count("darts-second-order") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["kernel"],
            "unknown benchmark 'kernel'. Did you mean 'kernels'? Known: kernels, latency, search, strategies, table.",
        ),
        (["kernels", "--case", "scn"], "unknown case 'scn'. Did you mean 'scan'?"),
        (["search", "--device", "tpu"], "--device: unknown device 'tpu'. Did you mean 'cpu'? Known: cpu, cuda."),
        (["kernels", "--repeats", "0"], "must be a whole number of at least 1, got 0"),
        (["search", "--aot"], "bench search does not take --aot; bench kernels does"),
        (["kernels", "--json", "nowhere/x.json"], "there is no folder nowhere"),
    ],
)
def test_errors_are_one_line(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in refusal(capsys, "bench", *args)


def test_a_ratio_is_taken_round_by_round() -> None:
    slow_second_round = Timing((1.0, 10.0, 1.0)), Timing((2.0, 20.0, 2.0)), Timing((2.0, 20.0, 2.0))
    assert ratio(slow_second_round[1], slow_second_round[0]) == 2
    assert ratio(*slow_second_round) == 0.25
    assert ratio(Timing((6.0,)), Timing((2.0, 1.0, 1.0))) == 3


def test_a_side_over_its_budget_runs_once() -> None:
    calls: list[str] = []
    timings = race({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3, budget=0.0)
    assert calls == ["a", "b", "a", "b"]
    assert [timing.repeats for timing in timings.values()] == [1, 1]


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_peak_memory_is_that_of_the_run() -> None:
    # In a process of its own, where nothing else is allocated or freed.
    probe = "from manticore.bench.timing import memory_growth; print(memory_growth(lambda: bytearray(64 * 2**20)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert 60 * 2**20 < int(done.stdout) < 80 * 2**20


def test_a_target_is_met_if_speed_and_memory_are() -> None:
    target = SpeedTarget(speedup=2, memory=0.5)
    assert comparison_fields(3.0, 10, 40, target)["target_met"] is True
    assert comparison_fields(1.5, 10, 40, target)["target_met"] is False
    assert comparison_fields(3.0, 30, 40, target)["target_met"] is False
    assert comparison_fields(3.0, None, 40, target)["target_met"] is True
    assert comparison_fields(3.0, 10, 40, None)["target_met"] is None
