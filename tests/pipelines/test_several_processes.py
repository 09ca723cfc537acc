"""Commands in several processes, started by Lightning or by torchrun: the results, and the end if a process dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from lightning.fabric.plugins.environments.lightning import find_free_network_port
from safetensors.numpy import load_file

from manticore.results.search import SearchResult
from tests.helpers.cli import PICO, call, command, refusal

pytestmark = pytest.mark.e2e

TOLERANCE = 1e-4
"""Adam scales up rounding errors of gradients that are nearly 0, over the steps of the three trainings of a hybrid."""


def assert_same_weights(file: Path, expected: Path, atol: float) -> None:
    weights, reference = load_file(file), load_file(expected)
    assert weights.keys() == reference.keys()
    for name, value in reference.items():
        np.testing.assert_allclose(weights[name], value, rtol=0, atol=atol, err_msg=name)


def assert_same_run(folder: Path, expected: Path) -> None:
    for name in ("architecture.json", "data.json", "recipe.yaml", "hybrid/config.json"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    texts = [(each / "alphas.jsonl").read_text() for each in (folder, expected)]
    lines = [[json.loads(line) for line in text.splitlines()] for text in texts]
    assert [line["step"] for line in lines[0]] == [line["step"] for line in lines[1]]
    for line, other in zip(*lines, strict=True):
        assert line["tokens"] == other["tokens"]
        np.testing.assert_allclose(line["alphas"], other["alphas"], rtol=0, atol=TOLERANCE)
    file = Path("hybrid", "model.safetensors")
    assert_same_weights(folder / file, expected / file, TOLERANCE)
    rows, other_rows = (SearchResult.load(each).rows for each in (folder, expected))
    assert [(row.name, row.train_tokens) for row in rows] == [(row.name, row.train_tokens) for row in other_rows]
    assert sorted(file.name for file in folder.iterdir()) == sorted(file.name for file in expected.iterdir())
    logs = [each / "logs" / "csv" for each in (folder, expected)]
    names, other_names = (sorted(str(file.relative_to(each)) for file in each.rglob("*")) for each in logs)
    assert names == other_names, "one process writes the logs"


def test_a_search_under_torchrun_equals_one_without(pico_run: Path, shared: Path, tmp_path: Path) -> None:
    process = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=0", "--standalone"),
            *("-m", "manticore.cli", "search", *PICO, "--out", str(tmp_path / "run")),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "MANTICORE_CACHE": str(shared / "cache"), "OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.count("preset: ") == 1, "one process prints"
    assert "2 processes" in process.stdout
    assert_same_run(tmp_path / "run", pico_run)


def test_a_process_that_dies_ends_all_with_one_line_and_one_process_resumes(
    pico_run: Path, shared: Path, tmp_path: Path
) -> None:
    out, cache = tmp_path / "run", shared / "cache"
    process = command("search", *PICO, "--out", str(out), "--devices", "2", cache=cache)
    while not (out / "checkpoints" / "search.ckpt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    (child,) = children(process.pid)
    os.kill(child, signal.SIGKILL)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 60
    assert process.returncode == 1
    assert err.count("\n") == 1, err
    assert err.startswith("manticore: error: a process of this run has ended: "), err

    process = command("search", *PICO, "--out", str(out), "--resume", cache=cache)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    for name in ("architecture.json", "hybrid/config.json"):
        assert (out / name).read_bytes() == (pico_run / name).read_bytes()


def test_the_others_end_when_the_first_process_dies(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = command("search", *PICO, "--out", str(out), "--devices", "2", cache=shared / "cache")
    while not (out / "checkpoints" / "search.ckpt").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    (child,) = children(process.pid)
    process.kill()
    assert process.communicate(timeout=60)[1] == ""
    deadline = time.monotonic() + 60
    while runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended is a zombie until its new parent notices."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def slurm_task(rank: int, port: int) -> dict[str, str]:
    """The variables that srun sets for a task, one of two on a machine."""
    shared = {"JOB_ID": "7", "NTASKS": "2", "STEP_NUM_TASKS": "2", "NTASKS_PER_NODE": "2", "NODEID": "0"}
    own = {"PROCID": str(rank), "LOCALID": str(rank), "NODELIST": "127.0.0.1"}
    return {**{f"SLURM_{name}": value for name, value in (shared | own).items()}, "MASTER_PORT": str(port)}


def test_fine_tuning_in_two_tasks_of_slurm_equals_one_process(
    pico_run: Path, cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("finetune", str(pico_run), "--steps", "6", "--batch-size", "5", "--set", "run.device=cpu", "--out")
    port = find_free_network_port()
    tasks = [command(*arguments, str(tmp_path / "two"), cache=cached, **slurm_task(rank, port)) for rank in range(2)]
    assert call(capsys, *arguments, tmp_path / "one")[0] == 0
    outputs = [task.communicate() for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0]
    assert [err for _, err in outputs] == ["", ""]
    assert "validation split" in outputs[0][0]
    assert outputs[1][0] == "", "one process prints"
    file = Path("hybrid", "model.safetensors")
    assert_same_weights(tmp_path / "two" / file, tmp_path / "one" / file, TOLERANCE)


def test_pretraining_with_sharded_weights_equals_one_process(
    cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"The {n} of {n * n} is not {n + 1}, but a number of its own." for n in range(400)))
    keys = ("steps=4", "length=32", "vocabulary=300", "batch_size=6", "held_out=0.1", "weights.lr=1e-3")
    sizes = ("size.width=16", "size.layers=2", "size.heads=2", "weights.optimizer=adamw", "run.device=cpu")
    sets = [part for key in (*keys, *sizes) for part in ("--set", key)]
    arguments = ("pretrain", "--config", "pretrain/gpt-neo-nano", "--text", str(text), *sets, "--precision", "32-true")
    process = command(
        *arguments, "--out", str(tmp_path / "two"), "--devices", "2", "--distributed", "fsdp", cache=cached
    )
    assert call(capsys, *arguments, "--out", tmp_path / "one")[0] == 0
    assert process.communicate()[1] == ""
    file = Path("model", "model.safetensors")  # in fp16
    assert_same_weights(tmp_path / "two" / file, tmp_path / "one" / file, 1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--devices", "0"), "--devices must be a number above 0 or auto, not '0'"),
        (("--devices", "many"), "--devices must be a number above 0 or auto, not 'many'"),
    ],
)
def test_what_cannot_be_started_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert message in refusal(capsys, "search", *PICO, "--out", tmp_path / "run", *arguments)
    assert not (tmp_path / "run").exists()
