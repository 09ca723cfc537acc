"""Law 3: a saved and reloaded hybrid has the same logits to the bit, also where manticore is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from manticore.export.checkpoint import save_checkpoint
from manticore.kernels import uninstall
from manticore.modeling import segments
from manticore.modeling.heads import HEADS
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.ops import ATTENTION, CONV, EMA, RESTRICTED, op_supernet
from tests.helpers.pico import FAMILIES, VOCAB, supernet, tokens

pytestmark = pytest.mark.e2e

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


def _save_logits(folder: Path, hybrid: torch.nn.Module, kind: str) -> None:
    ids, _ = tokens(4)
    with torch.no_grad():
        torch.save((ids, hybrid(input_ids=ids).logits, kind), folder / "expected.pt")


def test_logits_are_equal_where_manticore_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uninstall()
    monkeypatch.setattr(segments, "kernels", None)
    folders = []
    for family in FAMILIES:
        donor = "mamba" if family != "mamba" else "gpt_neo"
        for topology in ("residual", "hub"):
            hybrid = discretize(supernet(family, donor, topology=topology), ["base", "donor", "base"])
            folder = tmp_path / f"{family}-{topology}"
            hybrid.save_pretrained(folder)
            _save_logits(folder, hybrid, "lm")
            folders.append(str(folder))
    for kind in ("linear", "low-rank"):
        net = supernet("gpt_neo", "mamba", projector=kind, projector_options={"bypass": True})
        discretize(net, ["base", "donor", "base"]).save_pretrained(tmp_path / kind)
        _save_logits(tmp_path / kind, discretize(net, ["base", "donor", "base"]), "lm")
        folders.append(str(tmp_path / kind))
    net = op_supernet(**RESTRICTED)
    for index, path in enumerate([(CONV, EMA, CONV, ATTENTION), ("base", "donor", "base", ATTENTION)]):
        hybrid = discretize(net, path)
        save_checkpoint(hybrid, None, tmp_path / f"ops-{index}", "")
        _save_logits(tmp_path / f"ops-{index}", hybrid, "lm")
        folders.append(str(tmp_path / f"ops-{index}"))
    for kind in HEADS:
        net = supernet("gpt2", "mamba2", HeadSpec(kind, VOCAB, 4), topology="hub" if kind == "pair" else "residual")
        hybrid = discretize(net, ["donor", "base", "donor"], num_labels=4)
        hybrid.save_pretrained(tmp_path / kind)
        _save_logits(tmp_path / kind, hybrid, kind)
        folders.append(str(tmp_path / kind))
    command = [sys.executable, "-c", WITHOUT_MANTICORE, *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=_env(tmp_path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "same"


def _env(tmp_path: Path) -> dict[str, str]:
    import os

    return {**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}


@pytest.mark.parametrize("order", ["import manticore, transformers", "import transformers, manticore"])
def test_with_manticore_no_remote_code_is_needed(tmp_path: Path, order: str) -> None:
    hybrid = discretize(supernet("llama", "mamba"), ["base", "donor", "base"])
    hybrid.save_pretrained(tmp_path)
    _save_logits(tmp_path, hybrid, "lm")
    script = f"""
{order}
import torch
ids, expected, _ = torch.load({str(tmp_path / "expected.pt")!r})
model = transformers.AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})
assert type(model).__module__ == "manticore.modeling.modeling_manticore"
assert torch.equal(model(input_ids=ids).logits, expected)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_importing_manticore_imports_no_heavy_package() -> None:
    script = "import sys, manticore; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
