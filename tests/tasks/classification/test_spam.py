"""Spam from the npm package's folders, without headers, and from the package if it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks import TaskOptions, load_task
from manticore.tasks.classification.spam import FOLDERS, PACKAGE, find_package


def fill(data: Path) -> Path:
    for name in FOLDERS:
        (data / name).mkdir(parents=True)
        for index in range(12):
            mail = f"From: a@b\r\nDate: today\r\n\r\nDear {name} {index},\r\n\r\nbye" if index else "Only: headers\n"
            (data / name / f"{index:05}.txt").write_bytes(mail.encode())
            (data / name / f"{index:05}.json").write_text("{}")
    return data


def test_bodies_are_read_and_split(tmp_path: Path) -> None:
    task = load_task(TaskOptions("bytes-spam", preset="paper", data_dir=str(fill(tmp_path))))
    splits = task.splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [21, 21, 4, 9]
    assert (task.name, task.label_names, task.max_length) == ("bytes-spam", ("ham", "spam"), 4096)
    for ids, label in splits.test:
        body = bytes((ids[:-1] - 3).tolist()).decode()
        assert body.startswith("Dear spam" if label else ("Dear easy", "Dear hard"))
        assert body.endswith("\n\nbye")
    assert load_task(TaskOptions("bytes-spam", preset="cpu", data_dir=str(tmp_path))).name == "bytes-spam@length=512"


def test_the_package_is_found_in_the_folders_of_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project" / "below").mkdir(parents=True)
    monkeypatch.setattr("manticore.tasks.classification.spam._module_folders", lambda: [tmp_path / "none"])
    with pytest.raises(ManticoreError, match=f"run: npm install {PACKAGE}, or give --data-dir"):
        find_package()
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path / "project" / "below")
    data = fill(tmp_path / "project" / "node_modules" / PACKAGE / "data")
    assert find_package() == data
    other = fill(tmp_path / "other" / "@stdlib" / "datasets" / "node_modules" / PACKAGE / "data")
    monkeypatch.setenv("NODE_PATH", str(tmp_path / "other"))
    assert find_package() == other


def test_a_wrong_folder_is_reported(tmp_path: Path) -> None:
    fill(tmp_path)
    for path in (tmp_path / "spam-1").iterdir():
        path.unlink()
    with pytest.raises(BadFile, match=r"spam-1: no mails; expected folders easy-ham-1, "):
        load_task(TaskOptions("bytes-spam", preset="cpu", data_dir=str(tmp_path)))


def test_the_installed_package_is_read() -> None:
    try:
        find_package()
    except ManticoreError:
        pytest.skip(f"the npm package {PACKAGE} is not installed")
    task = load_task(TaskOptions("bytes-spam", preset="cpu"))
    assert task.heuristic_baselines()["majority class"] == pytest.approx(0.69, abs=0.03)
