"""Text is cut into chunks within the context length of all models, unless the user sets their length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from manticore.components.context_length import context_length, hybrid_context_lengths
from manticore.components.spec import ComponentSpec
from manticore.config.loading import fit_to_context, load_recipe
from manticore.errors import ManticoreError
from manticore.export.load import load_hybrid, load_hybrid_task
from manticore.pipelines.search import run
from manticore.tasks.options import TaskOptions
from manticore.utils import assets
from manticore.utils.io import read_json, write_json
from tests.helpers.cli import refusal
from tests.helpers.text_hybrids import export_hybrid

NANO = ["gpt-neo-nano", "mamba-nano"]


def task_name(task: dict[str, Any], components: list[str] = NANO) -> str:
    """Name of the task in the recipe for these models."""
    return load_recipe(None, {"task": task, "space": {"components": components}}).recipe.task.name


def test_the_preset_of_a_gpu_stays_within_the_context_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert task_name({"name": "text"}) == "text@length=512"
    assert task_name({"name": "text", "preset": "cpu"}) == "text"
    assert task_name({"name": "text"}, ["mamba-nano", "mamba"]) == "text"


def test_settings_of_the_user_are_kept() -> None:
    assert task_name({"name": "text@passage=500", "preset": "paper"}) == "text@passage=500,length=512"
    assert task_name({"name": "text@length=1000", "preset": "paper"}) == "text@length=1000"
    assert task_name({"name": "lra-listops", "preset": "paper"}) == "lra-listops"


def test_a_length_beyond_the_context_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(None, {"task": {"name": "text@length=513"}, "space": {"components": NANO}}).recipe
    with pytest.raises(
        ManticoreError,
        match=r"of 513 tokens exceeds the context length of 'gpt-neo-nano' \(512\)",
    ):
        run(recipe, tmp_path / "out", Console(quiet=True))


def test_only_local_configs_are_read() -> None:
    assert context_length(ComponentSpec("gpt-neo-nano")) == 512
    assert context_length(ComponentSpec("mamba-nano")) is None
    assert context_length(ComponentSpec("gpt-neo")) is None
    assert context_length(ComponentSpec("someone/on-the-hub")) is None
    assert fit_to_context(TaskOptions("text", preset="paper"), []).name == "text"


def test_the_task_of_a_hybrid_stays_within_its_context_length(tmp_path: Path) -> None:
    model = load_hybrid(export_hybrid(tmp_path / "hybrid"))
    limit = min(hybrid_context_lengths(model.config).values())
    assert load_hybrid_task(tmp_path / "hybrid", model, TaskOptions("text", preset="paper")).max_length == limit < 1024
    assert load_hybrid_task(tmp_path / "hybrid", model, TaskOptions("text@length=8")).max_length == 8


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": "abc"}, {"num_layers": None}, {"max_position_embeddings": "abc"}, {"attention_types": 3}],
    ids=str,
)
@pytest.mark.parametrize("task", ["text", "lra-listops"])
def test_a_damaged_config_is_reported_in_one_line(
    change: dict[str, Any], task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(assets.find("models", "gpt-neo-nano"), tmp_path / "bad", **change)
    arguments = (
        "--models",
        f"{tmp_path / 'bad'},mamba-nano",
        "--task",
        task,
        "--preset",
        "cpu",
        "--out",
        tmp_path / "out",
    )
    assert "bad" in refusal(capsys, "search", *arguments)
    assert not (tmp_path / "out").exists()


def copied(folder: Path, to: Path, **change: Any) -> None:
    """Copy a model with a changed config."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    write_json(to / "config.json", {**read_json(to / "config.json"), **change})
