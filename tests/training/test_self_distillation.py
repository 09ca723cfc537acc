"""Soft-to-discrete self-distillation: the mixture of a search teaches the path that is selected from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from manticore.experiment.searched import open_finished, searched_supernet
from manticore.export.load import load_hybrid
from manticore.training.divergence import TeacherDivergence
from manticore.utils.console import make_console
from tests.adapters.test_commands import finetune
from tests.helpers.cli import PICO, call, refusal
from tests.helpers.pico import tokens

pytestmark = pytest.mark.e2e

MIXTURE = ["--teacher", "mixture"]


def divergence(run: Path, folder: Path) -> float:
    """The divergence of a hybrid from the mixture of a search."""
    exp = open_finished(run, make_console(quiet=True))
    teacher = searched_supernet(exp, json.loads((run / "metrics.json").read_text())["base"])
    ids, mask = tokens()
    model = load_hybrid(folder)
    batch = {"input_ids": ids % model.config.vocab_size, "attention_mask": mask, "labels": torch.zeros(len(ids)).long()}
    with torch.no_grad():
        return float(TeacherDivergence(teacher)(model, batch))


def test_a_finetuning_of_a_run_learns_from_its_mixture(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    path = json.loads((pico_run / "architecture.json").read_text())["path"]
    start = tmp_path / "start"
    assert call(capsys, "export", pico_run, "--path", ",".join(path), "--no-trained", "--out", start)[0] == 0
    out = tmp_path / "out"
    for folder, more in ((tmp_path / "labels", []), (out, MIXTURE)):
        status, _, err = call(capsys, *finetune(pico_run, folder, *more, "--lr", "2e-2", steps=24))
        assert (status, err) == (0, "")
    assert divergence(pico_run, out) < divergence(pico_run, tmp_path / "labels")
    assert "from the predictions of mixture" in (out / "hybrid" / "README.md").read_text()
    message = refusal(capsys, *finetune(start, tmp_path / "no", *MIXTURE, "--task", "lra-listops"))
    assert "name the run folder of the search" in message
    assert not (tmp_path / "no").exists()


def test_a_search_teaches_its_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTICORE_CACHE", str(shared / "cache"))
    few = ["task.train=400", "search.steps=8", "search.warmup_steps=3", "finetune.steps=12", "baselines.random=false"]
    few += ["baselines.components=false", "baselines.uniform=false"]
    settings = [argument for key in few for argument in ("--set", key)]
    divergences = []
    for name, more in (("labels", []), ("mixture", MIXTURE)):
        status, _, err = call(capsys, "search", *PICO, *settings, *more, "--out", tmp_path / name)
        assert (status, err) == (0, "")
        divergences.append(divergence(tmp_path / name, tmp_path / name))
    assert divergences[1] < divergences[0]
    halving = ["--strategy", "halving"]
    message = refusal(capsys, "search", *PICO, *halving, *MIXTURE, "--out", tmp_path / "no")
    assert "there is no mixture to be their teacher" in message
