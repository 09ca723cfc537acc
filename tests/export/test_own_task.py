"""The task of a trained model is read from its folder: all of it in a run, its name only in an export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manticore.errors import ManticoreError, UnknownName
from manticore.export.own_task import task_options
from manticore.tasks.options import TaskOptions

RUN = TaskOptions("mad-compression@seq_len=8", "cpu", train=96, val=40, test=20, seed=3)


def model(folder: Path, **config: Any) -> Path:
    """The configuration of an exported model; weights are not read."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "manticore_hybrid", **config}), encoding="utf-8")
    return folder


@pytest.fixture(params=["recipe.yaml", "finetune.json"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder of a search or of a fine-tuning, with two models."""
    for name in ("hybrid", "best_component"):
        model(tmp_path / "run" / name, task="mad-compression@seq_len=8")
    task = {key: value for key, value in vars(RUN).items() if value is not None}
    (tmp_path / "run" / request.param).write_text(json.dumps({"task": task}), encoding="utf-8")  # JSON is YAML
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["", "hybrid", "best_component"])
def test_a_run_has_all_options(run: Path, name: str) -> None:
    assert task_options(run / name, {}) == RUN
    assert task_options(run / name, {"test": 9}) == TaskOptions(
        "mad-compression@seq_len=8", "cpu", train=96, val=40, test=9, seed=3
    )
    assert task_options(run / name, {"name": "mad-compression@seq_len=16"}).train == 96


def test_another_task_and_other_data_have_their_own_sizes(run: Path) -> None:
    assert task_options(run, {"name": "lra-listops"}) == TaskOptions("lra-listops")
    other = task_options(run, {"data_dir": "files"})
    assert other == TaskOptions("mad-compression@seq_len=8", "cpu", data_dir="files")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("lra-listops@short", TaskOptions("lra-listops")),
        ("mad-compression@seq_len=8", TaskOptions("mad-compression@seq_len=8")),
        ("text@length=32", TaskOptions("text@length=32")),
    ],
)
def test_an_export_has_the_name_of_its_task(tmp_path: Path, name: str, options: TaskOptions) -> None:
    assert task_options(model(tmp_path / "export", task=name), {}) == options


def test_an_export_that_was_trained_on_files_needs_them(tmp_path: Path) -> None:
    folder = model(tmp_path / "export", task="text:book.txt@length=32")
    with pytest.raises(ManticoreError, match="name its data: --task text --data-dir PATH"):
        task_options(folder, {})
    assert task_options(folder, {"data_dir": "book.txt"}) == TaskOptions("text@length=32", data_dir="book.txt")
    assert task_options(folder, {"name": "text", "data_dir": "book.txt"}) == TaskOptions("text", data_dir="book.txt")
    assert task_options(folder, {"name": "text"}) == TaskOptions("text")


@pytest.mark.parametrize("task", [None, "a-task-of-another-process"])
def test_a_folder_without_a_task_needs_its_name(tmp_path: Path, task: str | None) -> None:
    folder = model(tmp_path / "export", task=task)
    with pytest.raises(
        ManticoreError, match="does not say which task it was trained on; name one, such as --task text"
    ):
        task_options(folder, {})
    assert task_options(folder, {"name": "text"}) == TaskOptions("text")


def test_wrong_keys_and_folders_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"recipe key 'task.tst'. Did you mean 'task.test'"):
        task_options(run, {"tst": 3})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManticoreError, match="holds no model: there is no config"):
        task_options(tmp_path / "empty", {})
    (tmp_path / "empty" / "recipe.yaml").write_text("task: {}", encoding="utf-8")
    with pytest.raises(ManticoreError, match="is not finished; continue it: manticore search --out"):
        task_options(tmp_path / "empty", {})
