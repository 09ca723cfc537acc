"""Files and folders are written whole or not at all, and what killed processes left of them is removed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from manticore.utils import io
from manticore.utils.io import atomic_dir, atomic_write, write_text


def _write_and_die(folder: Path) -> None:
    with atomic_write(folder / "file") as part, atomic_dir(folder / "other") as folder_part:
        part.write_text("half")
        (folder_part / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def killed(work: Callable[[Path], None], folder: Path) -> None:
    """Call a function in a fork, which kills itself."""
    process = multiprocessing.get_context("fork").Process(target=work, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.fixture
def unswept(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process has not written into any folder yet."""
    monkeypatch.setattr(io, "_swept", set())


@pytest.mark.usefixtures("unswept")
def test_the_next_process_that_writes_there_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    killed(_write_and_die, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    write_text(tmp_path / "third", "whole")
    assert [file.name for file in tmp_path.iterdir()] == ["third"]


@pytest.mark.usefixtures("unswept")
def test_what_another_process_is_writing_is_not_removed(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "file") as part, atomic_dir(tmp_path / "folder") as folder:
        part.write_text("whole")
        (folder / "a").write_text("whole")
        io._swept.clear()
        write_text(tmp_path / "third", "whole")
        assert part.exists()
        assert (folder / "a").exists()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder", "third"]


@pytest.mark.usefixtures("unswept")
def test_files_of_others_are_not_removed(tmp_path: Path) -> None:
    names = [".download.part", "video.mkv.part", ".a.abcd1234", ".a.ABCD1234.part"]
    for name in names:
        (tmp_path / name).write_text("mine")
    (tmp_path / ".b.abcd1234.part").symlink_to(tmp_path / ".download.part")
    write_text(tmp_path / "file", "whole")
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*names, ".b.abcd1234.part", "file"])


@pytest.mark.usefixtures("unswept")
def test_a_part_that_is_taken_for_abandoned_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = io._lock, []

    def removed_before(handle: int, without_locks: bool = True) -> bool:
        calls.append(handle)
        if len(calls) == 1:
            next(tmp_path.iterdir()).unlink()
        return lock(handle, without_locks)

    monkeypatch.setattr(io, "_lock", removed_before)
    write_text(tmp_path / "file", "whole")
    assert (tmp_path / "file").read_text() == "whole"
    assert len(calls) == 2
