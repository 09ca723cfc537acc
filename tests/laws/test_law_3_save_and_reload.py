"""Law 3: a saved and reloaded hybrid has the same logits to the bit, also where manticore is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from manticore.export.checkpoint import save_checkpoint
from manticore.modeling.heads import HEADS
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.ops import ATTENTION, CONV, EMA, RESTRICTED, op_supernet
from tests.helpers.pico import FAMILIES, ROWS, VOCAB, supernet
from tests.helpers.reloading import check_without_manticore, run_plainly, save_logits

pytestmark = pytest.mark.e2e


def test_logits_are_equal_where_manticore_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_plainly(monkeypatch)
    folders = []
    for family in ROWS:
        donor = "mamba" if family != "mamba" else "gpt_neo"
        for topology in ("residual", "hub") if family in FAMILIES else ("residual",):
            hybrid = discretize(supernet(family, donor, topology=topology), ["base", "donor", "base"])
            folders.append(tmp_path / f"{family}-{topology}")
            hybrid.save_pretrained(folders[-1])
            save_logits(folders[-1], hybrid)
    for kind in ("linear", "low-rank"):
        net = supernet("gpt_neo", "mamba", projector=kind, projector_options={"bypass": True})
        folders.append(tmp_path / kind)
        discretize(net, ["base", "donor", "base"]).save_pretrained(folders[-1])
        save_logits(folders[-1], discretize(net, ["base", "donor", "base"]))
    net = op_supernet(**RESTRICTED)
    for index, path in enumerate([(CONV, EMA, CONV, ATTENTION), ("base", "donor", "base", ATTENTION)]):
        hybrid = discretize(net, path)
        folders.append(save_checkpoint(hybrid, None, tmp_path / f"ops-{index}", ""))
        save_logits(folders[-1], hybrid)
    for kind in HEADS:
        net = supernet("gpt2", "mamba2", HeadSpec(kind, VOCAB, 4), topology="hub" if kind == "pair" else "residual")
        hybrid = discretize(net, ["donor", "base", "donor"], num_labels=4)
        folders.append(tmp_path / kind)
        hybrid.save_pretrained(folders[-1])
        save_logits(folders[-1], hybrid, kind)
    check_without_manticore(folders, tmp_path)


@pytest.mark.parametrize("order", ["import manticore, transformers", "import transformers, manticore"])
def test_with_manticore_no_remote_code_is_needed(tmp_path: Path, order: str) -> None:
    hybrid = discretize(supernet("llama", "mamba"), ["base", "donor", "base"])
    hybrid.save_pretrained(tmp_path)
    save_logits(tmp_path, hybrid)
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
