"""Law 3 as a check: folders of hybrids, reloaded in a process in which manticore cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from manticore.kernels import uninstall
from manticore.modeling import segments
from tests.helpers.pico import tokens

WITHOUT_MANTICORE = """
import sys, torch
sys.modules["manticore"] = None  # importing it is now an error
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoModelForTokenClassification
labels = dict.fromkeys(("classification", "pair"), AutoModelForSequenceClassification)
tokens = dict.fromkeys(("tokens", "autoencoder"), AutoModelForTokenClassification)
for folder in sys.argv[1:]:
    ids, expected, kind = torch.load(folder + "/expected.pt")
    model = {"lm": AutoModelForCausalLM, **labels, **tokens}[kind]
    model = model.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules"), type(model).__module__
    with torch.no_grad():
        assert torch.equal(model(input_ids=ids).logits, expected), folder
print("same")
"""


def run_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run hybrids as where manticore is missing: with transformers' own layers."""
    uninstall()
    monkeypatch.setattr(segments, "kernels", None)


def save_logits(folder: Path, hybrid: PreTrainedModel, kind: str = "lm") -> None:
    """Write the logits that the hybrid of a folder has; `kind` is that of its head."""
    ids, _ = tokens(4)
    with torch.no_grad():
        torch.save((ids, hybrid(input_ids=ids).logits, kind), folder / "expected.pt")


def check_without_manticore(folders: Sequence[Path], cwd: Path, packages: str = "") -> None:
    """Fail unless every hybrid has the logits in its folder, to the bit, in another process without manticore.

    `packages` is a folder of packages that the process has besides those that are installed.
    """
    environment = {**os.environ, "HF_HOME": str(cwd / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": packages}
    command = [sys.executable, "-c", WITHOUT_MANTICORE, *map(str, folders)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "same"
