"""Ops that a search space names by import path: from `--trust-code` to a checkpoint that needs none of their code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from manticore.modeling.ops import OPS
from tests.helpers.cli import call, command, refusal
from tests.helpers.model_folders import model_folder

pytestmark = pytest.mark.e2e

MODULE = '''
"""Ops of a user's own."""

import math
from torch import nn
import torch
import torch.nn.functional as functional

PAST = 2


class ShortConv(nn.Module):
    """A causal convolution with a cache."""

    def __init__(self, width, gain=1.0):
        super().__init__()
        self.conv = nn.Conv1d(width, width, PAST + 1, groups=width)
        self.gain = math.sqrt(gain)

    def forward(self, x):
        return self.gain * self.conv(functional.pad(x, (0, 0, PAST, 0)).transpose(1, 2)).transpose(1, 2)

    def init_cache(self, batch, device, dtype):
        return {"window": torch.zeros(batch, PAST, self.conv.in_channels, device=device, dtype=dtype)}

    def step(self, x, cache):
        window = torch.cat([cache["window"], x], dim=1)
        return self.gain * self.conv(window.transpose(1, 2)).transpose(1, 2), {"window": window[:, 1:]}


class RunningMean(nn.Module):
    """The mean of a token and those before it, without a cache."""

    def __init__(self, width):
        super().__init__()
        self.out = nn.Linear(width, width)

    def forward(self, x):
        return self.out(x.cumsum(1) / torch.arange(1, x.shape[1] + 1, device=x.device).view(1, -1, 1))


class Backwards(RunningMean):
    """Reads the future."""

    def forward(self, x):
        return super().forward(x.flip(1)).flip(1)
'''

OPTIONS = """
    --task text@length=32,passage=2000 --preset cpu --strategy darts --set align.tokens=16384
    --set selection.base_criterion=best_alone
    --set task.train=40 --set task.val=5 --set task.test=5 --set search.steps=4 --set search.warmup_steps=2
    --set search.batch_size=4 --set finetune.steps=3 --set finetune.batch_size=4 --set run.device=cpu
    --set baselines.uniform=false
"""

STRANGER = """
import sys, torch
sys.modules["manticore"] = sys.modules["own_ops"] = None  # importing them is an error from here on
from transformers import AutoModelForCausalLM
ids = torch.arange(3, 12)[None]
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
cached, uncached = (model.generate(ids, use_cache=use, **options) for use in (True, False))
assert torch.equal(cached, uncached)
print(type(model.model.stages[1].op).__name__, type(model.model.stages[2].op).__name__, model.config.path)
"""


def stranger(hybrid: Path, folder: Path) -> str:
    """What a process without manticore and without the ops prints after generating with a hybrid."""
    environment = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    words = [sys.executable, "-c", STRANGER, str(hybrid)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, a module with ops, and a search space that fixes two stages to them."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_ops.py").write_text(MODULE)
    models = [str(model_folder(folder / name, family)) for name, family in (("gpt", "gpt_neo"), ("ssm", "mamba"))]
    space = {
        "components": models,
        "stages": 4,
        "base": "gpt",
        "ops": [
            {"name": "mean", "factory": "own_ops:RunningMean"},
            {"name": "conv", "factory": "own_ops:ShortConv", "options": {"gain": 2.0}},
        ],
        "stage_candidates": {1: ["gpt", "ssm", "mean"], 2: "mean", 3: ["conv"], 4: ["gpt", "conv", "ssm"]},
        "shared_stages": [[1, 4]],
        "cuts": {"ssm": [0, 1, 2, 3, 5]},
    }
    (folder / "space.yaml").write_text(yaml.safe_dump(space))
    return folder


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """The folder of a search of its own process; its output is beside it."""
    words = ["search", "--space", "space.yaml", *shlex.split(OPTIONS), "--out", "run", "--trust-code"]
    before = Path.cwd()
    os.chdir(folder)
    try:
        out, err = (process := command(*words, cache=folder / "cache")).communicate()
    finally:
        os.chdir(before)
    assert process.returncode == 0, err[-3000:]
    (folder / "out.txt").write_text(out)
    return folder / "run"


def test_without_trust_nothing_is_imported_or_written(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words = ["search", "--space", "space.yaml", *shlex.split(OPTIONS), "--out", "none"]
    assert "op 'mean' runs code of yours, own_ops:RunningMean, which has to be imported; add --trust-code" in refusal(
        capsys, *words
    )
    assert "own_ops" not in sys.modules
    assert not (folder / "none").exists()
    status, out, _ = call(capsys, "validate", "space.yaml")
    assert (status, "a search space of gpt, ssm in 4 stages" in out) == (0, True)
    assert "own_ops" not in sys.modules


def test_an_op_that_reads_the_future_is_refused_before_the_search(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "future_ops.py").write_text(MODULE)
    text = (folder / "space.yaml").read_text().replace("own_ops:RunningMean", "future_ops:Backwards")
    (folder / "future.yaml").write_text(text.replace("own_ops", "future_ops"))
    words = ["search", "--space", "future.yaml", *shlex.split(OPTIONS), "--out", "none", "--trust-code"]
    assert "op 'mean' is not causal: its output at a position depends on inputs at later" in refusal(capsys, *words)
    assert not (folder / "none").exists()


def test_the_run_says_what_it_searched_and_keeps_to_the_space(run: Path, folder: Path) -> None:
    architecture = json.loads((run / "architecture.json").read_text())
    path = architecture["path"]
    assert path[1:3] == ["mean", "conv"]
    assert path[0] == path[3] in ("gpt", "ssm")
    assert architecture["ops"] == ["mean", "conv"]
    out = (folder / "out.txt").read_text()
    assert "ops: mean (own_ops:RunningMean), conv (own_ops:ShortConv)" in out
    assert "4 stages, residual topology, linear projectors with a bypass, 2 paths" in out
    assert "note: op 'mean' has no cache" in " ".join(out.split())
    assert "op 'conv' has no cache" not in " ".join(out.split())
    page = (run / "report.html").read_text()
    assert "The search space has 2 paths" in page
    stage = re.search(r"<title>stage 2: mean, own module", page)
    assert stage, "the diagram shows the op"
    assert "<title>stage 2: gpt" not in page, "the diagram shows the candidates that a stage has"
    card = (run / "hybrid" / "README.md").read_text()
    assert "| 2 | mean | own module, reads the stream, adds its output |" in card


def test_the_same_recipe_resumes(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    space = yaml.safe_load((folder / "space.yaml").read_text())
    assert {key: recipe["space"][key] for key in ("ops", "cuts", "shared_stages")} == {
        key: space[key] for key in ("ops", "cuts", "shared_stages")
    }
    monkeypatch.chdir(folder)
    process = command("search", "--out", "run", "--resume", "--trust-code", cache=folder / "cache")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert "run is complete; nothing to do" in out


def test_the_export_needs_neither_manticore_nor_the_module(run: Path, tmp_path: Path) -> None:
    assert stranger(run / "hybrid", tmp_path).startswith("RunningMean ShortConv")


def test_commands_run_the_code_in_the_folder_if_it_is_trusted(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # own_ops.py is not here
    monkeypatch.delitem(OPS, "RunningMean", raising=False)
    monkeypatch.delitem(OPS, "ShortConv", raising=False)
    prompt = ("generate", run, "--prompt", "the", "--max-new-tokens", "4")
    assert "has its own op 'ShortConv', which is not registered here" in refusal(capsys, *prompt)
    assert "--trust-code" in refusal(capsys, "evaluate", run, "--task", "text@length=32,passage=2000")
    status, _, err = call(capsys, *prompt, "--trust-code")
    assert (status, err) == (0, "")
    options = ["--preset", "cpu", "--steps", "1", "--batch-size", "2", "--out", tmp_path / "more"]
    monkeypatch.setenv("MANTICORE_CACHE", str(run.parent / "cache"))
    words = ["finetune", run, "--task", "text@length=32,passage=2000", *options]
    status, _, err = call(capsys, *words, "--trust-code")
    assert (status, err) == (0, "")
    assert stranger(tmp_path / "more" / "hybrid", tmp_path).startswith("RunningMean ShortConv")


def test_another_path_of_the_space_is_exported_and_no_other(
    run: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MANTICORE_CACHE", str(folder / "cache"))
    words = ["export", "run", "--out", tmp_path / "hybrid"]
    assert "--trust-code" in refusal(capsys, *words, "--path", "ssm,mean,conv,ssm")
    trusted = [*words, "--trust-code"]
    assert "'gpt' is no candidate of stage 2" in refusal(capsys, *trusted, "--path", "ssm,gpt,conv,ssm")
    assert "stages 1 and 4 share their choice" in refusal(capsys, *trusted, "--path", "ssm,mean,conv,gpt")
    status, out, err = call(capsys, *trusted, "--path", "ssm,mean,conv,ssm")
    assert (status, err) == (0, "")
    assert "note: op 'mean' has no cache" in " ".join(out.split())
    config = json.loads((tmp_path / "hybrid" / "config.json").read_text())
    assert config["ops"]["conv"] == {
        "factory": "ShortConv",
        "options": {"gain": 2.0},
        "causal": True,
        "source": "own_ops:ShortConv",
    }
