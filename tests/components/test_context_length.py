"""Text is cut into chunks that all models have positions for, unless the user says how long they are."""

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
from tests.helpers.text_hybrids import exported

NANO = ["gpt-neo-nano", "mamba-nano"]


def named(task: dict[str, Any], components: list[str] = NANO) -> str:
    """The task's name in the recipe for these models."""
    return load_recipe(None, {"task": task, "space": {"components": components}}).recipe.task.name


def test_a_gpu_does_not_ask_for_more_positions_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    assert named({"name": "text"}) == "text@length=512"
    assert named({"name": "text", "preset": "cpu"}) == "text"
    assert named({"name": "text"}, ["mamba-nano", "mamba"]) == "text"


def test_settings_stay_and_what_is_set_is_not_changed() -> None:
    assert named({"name": "text@passage=500", "preset": "paper"}) == "text@passage=500,length=512"
    assert named({"name": "text@length=1000", "preset": "paper"}) == "text@length=1000"
    assert named({"name": "lra-listops", "preset": "paper"}) == "lra-listops"


def test_what_is_set_beyond_the_positions_is_refused(tmp_path: Path) -> None:
    recipe = load_recipe(None, {"task": {"name": "text@length=513"}, "space": {"components": NANO}}).recipe
    with pytest.raises(
        ManticoreError,
        match=r"of 513 tokens exceeds the context length of 'gpt-neo-nano' \(512\)",
    ):
        run(recipe, tmp_path / "out", Console(quiet=True))


def test_only_local_configs_are_asked() -> None:
    assert context_length(ComponentSpec("gpt-neo-nano")) == 512
    assert context_length(ComponentSpec("mamba-nano")) is None
    assert context_length(ComponentSpec("gpt-neo")) is None
    assert context_length(ComponentSpec("someone/on-the-hub")) is None
    assert fit_to_context(TaskOptions("text", preset="paper"), []).name == "text"


def test_a_hybrid_is_given_what_it_has_positions_for(tmp_path: Path) -> None:
    model = load_hybrid(exported(tmp_path / "hybrid"))
    limit = min(hybrid_context_lengths(model.config).values())
    assert load_hybrid_task(tmp_path / "hybrid", model, TaskOptions("text", preset="paper")).max_length == limit < 1024
    assert load_hybrid_task(tmp_path / "hybrid", model, TaskOptions("text@length=8")).max_length == 8


@pytest.mark.parametrize(
    "change",
    [{"hidden_size": "abc"}, {"num_layers": None}, {"max_position_embeddings": "abc"}, {"attention_types": 3}],
    ids=str,
)
@pytest.mark.parametrize("task", ["text", "lra-listops"])
def test_a_damaged_config_is_said_in_a_line(
    change: dict[str, Any], task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(assets.find("models", "gpt-neo-nano"), tmp_path / "bad", **change)
    words = ("--models", f"{tmp_path / 'bad'},mamba-nano", "--task", task, "--preset", "cpu", "--out", tmp_path / "out")
    assert "bad" in refusal(capsys, "search", *words)
    assert not (tmp_path / "out").exists()


def copied(folder: Path, to: Path, **change: Any) -> None:
    """A model with another config."""
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    write_json(to / "config.json", {**read_json(to / "config.json"), **change})
