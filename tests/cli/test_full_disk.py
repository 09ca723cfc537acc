"""A disk without room ends a command in one line that names a file; once there is room, the figures are the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.cli import PICO, call
from tests.helpers.file_limit import file_limit

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cached")]

KIB = 1 << 10


def figures(run: Path) -> dict[str, Any]:
    """The result of a search without its durations."""
    result: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return {key: value for key, value in result.items() if key not in ("seconds", "machine")}


def _message(file: Path) -> str:
    return f"manticore: error: {file} cannot be written: File too large\n"


def test_a_search_goes_on_with_equal_figures(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(pico_run, tmp_path / "run"))
    for name in ("metrics.json", "report.html", "checkpoints/fine-tune.json"):
        (run / name).unlink()
    shutil.rmtree(run / "hybrid")
    for limit, name in ((KIB, "recipe.yaml"), (80 * KIB, "checkpoints/fine-tune.ckpt"), (None, "")):
        with file_limit(limit):
            status, _, err = call(capsys, "search", *PICO, "--out", run, "--resume")
        assert (status, err) == ((1, _message(run / name)) if name else (0, ""))
    (run / "metrics.json").unlink()
    shutil.rmtree(run / "hybrid")
    for limit, name in ((3 * KIB, "hybrid"), (None, "")):
        with file_limit(limit):
            status, _, err = call(capsys, "search", *PICO, "--out", run, "--resume")
        assert (status, err) == ((1, _message(run / name)) if name else (0, ""))
    assert figures(run) == figures(pico_run)
    assert not [entry for entry in run.rglob("*") if entry.name.endswith((".part", ".lock"))]


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (["export", "{run}", "--out", "{out}"], "out"),
        (["evaluate", "{run}", "--json", "{out}"], "out"),
        (["finetune", "{run}", "--out", "{out}"], "out/finetune.json"),
        (["cp", "gpt-neo-nano", "{out}"], "out"),
        (["data", "lra-listops", "--train", "200", "--val", "20", "--test", "20", "--out", "{out}"], "out/basic_train"),
        (["data", "mad-memorization", "--train", "200", "--test", "20", "--out", "{out}"], "out/t-M_vs-256"),
        (["report", "{copy}"], "copy/report.html"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_every_command_names_the_file(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, args: list[str], name: str
) -> None:
    if "{copy}" in args:
        shutil.copytree(pico_run, tmp_path / "copy")
    paths = {"run": pico_run, "out": tmp_path / "out", "copy": tmp_path / "copy"}
    with file_limit(64):
        status, _, err = call(capsys, *(arg.format(**paths) for arg in args))
    assert status == 1, err
    error = err.splitlines()[-1]
    assert error.startswith(f"manticore: error: {tmp_path / name}"), err
    assert " cannot be written: " in error
    assert not [entry for entry in tmp_path.rglob("*") if entry.name.endswith((".part", ".lock"))]


def test_what_a_finished_fine_tuning_could_not_remove_is_removed_later(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("finetune", pico_run, "--out", out, "--steps", "2", "--batch-size", "4", "--set", "run.device=cpu")
    assert call(capsys, *arguments)[0] == 0
    (left := out / "checkpoints" / "fine-tune.ckpt").parent.mkdir(exist_ok=True)
    left.write_text("left")
    status, printed, _ = call(capsys, *arguments, "--resume")
    assert status == 0
    assert "is complete; nothing to do" in printed
    assert not left.exists()
