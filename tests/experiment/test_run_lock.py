"""Two processes never write one run folder: the second is refused in one line, and the first goes on."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from manticore.errors import CannotWrite, ManticoreError
from manticore.experiment.run_dir import LOCK, open_run_dir
from manticore.experiment.run_lock import RunLock
from manticore.training.run_loggers import RunLoggers
from manticore.utils.io import write_text
from tests.helpers.cli import PICO, refusal
from tests.helpers.run_locks import running


def test_a_folder_is_locked_by_one_process_until_it_ends_or_dies(tmp_path: Path) -> None:
    with running(tmp_path / "run") as process:
        with RunLock(tmp_path / "run") as lock, pytest.raises(ManticoreError, match="is in use by a run that has not"):
            lock.acquire()
        assert (tmp_path / "run" / LOCK).exists(), "the lock of the other process"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        with RunLock(tmp_path / "run") as lock:
            _acquire_soon(lock)
    assert list((tmp_path / "run").iterdir()) == []


def _acquire_soon(lock: RunLock) -> None:
    for _ in range(50):  # the operating system may take a moment
        try:
            return lock.acquire()
        except ManticoreError:
            time.sleep(0.1)
    return lock.acquire()


def test_what_does_not_exist_is_not_created(tmp_path: Path) -> None:
    with RunLock(tmp_path / "run") as lock:
        lock.acquire(create=False)
        assert not (tmp_path / "run").exists()
        lock.acquire()
        lock.acquire()
        assert open_run_dir(tmp_path / "run", resume=False)[1] is False, "a folder with its lock alone is unused"
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.e2e
def test_resuming_beside_a_run_that_goes_on_is_refused(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, cached: Path
) -> None:
    run = Path(shutil.copytree(pico_run, tmp_path / "run"))
    (run / "metrics.json").unlink()
    recipe = (run / "recipe.yaml").read_bytes()
    with running(run):
        error = refusal(capsys, "search", *PICO, "--out", run, "--resume")
    assert (
        error
        == f"manticore: error: {run} is in use by a run that has not ended; wait for it, or choose another --out\n"
    )
    assert (run / "recipe.yaml").read_bytes() == recipe
    with running(tmp_path / "ft"):
        error = refusal(capsys, "finetune", pico_run, "--out", tmp_path / "ft", "--steps", "3")
    assert "is in use by a run that has not ended" in error


def test_a_folder_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with RunLock(out) as lock:
        lock.acquire()
        write_text(out / "checkpoints" / "a", "first")
        out.rename(tmp_path / "gone")
        with pytest.raises(CannotWrite, match="No such file or directory") as raised:
            write_text(out / "checkpoints" / "a", "second")
    assert raised.value.exit_status == 1
    assert not out.exists()
    write_text(out / "a", "of the next run")
    assert (out / "a").exists()


def test_a_folder_that_another_program_makes_anew_is_not_the_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with RunLock(out) as lock:
        lock.acquire()
        out.rename(tmp_path / "gone")
        with pytest.raises(CannotWrite, match="logs cannot be written: No such file or directory"):
            RunLoggers().of_phase("search", out / "logs")
        assert not out.exists()
        out.mkdir()
        with pytest.raises(CannotWrite, match="No such file or directory"):
            write_text(out / "a", "second")
    assert not list(out.iterdir())
