"""Quantized exports: what torchao's integers compute is simulated quantization, before and after reloading."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

import manticore as mc
from manticore.errors import ManticoreError
from manticore.export.checkpoint import SERVING, save_checkpoint
from manticore.export.load import load_hybrid
from manticore.export.quantized import quantize_hybrid
from manticore.modeling.ops import OpBranch
from manticore.nas.bits import BitCosts, bit_segments, hybrid_bytes, rounded_segments
from manticore.nas.discretize import discretize
from manticore.nas.resources import Resource
from tests.helpers.cli import call, refusal
from tests.helpers.ops import op_supernet
from tests.helpers.pico import ROWS, supernet, tokens
from tests.helpers.reloading import check_without_manticore, run_plainly, save_logits

BITS = (8, 4, 16)


def needs_torchao() -> None:
    pytest.importorskip("torchao.quantization")


@pytest.fixture
def hybrid() -> PreTrainedModel:
    """Mamba and GPT-Neo."""
    return discretize(supernet("mamba", "gpt_neo"), ["base", "donor", "base"])


@torch.no_grad()
def simulated_logits(model: PreTrainedModel, bits: tuple[int, ...]) -> torch.Tensor:
    with rounded_segments(bit_segments(model.model.stages, bits)):
        logits: torch.Tensor = model(input_ids=tokens()[0]).logits
    return logits


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")  # of torchao
@pytest.mark.parametrize("family", ROWS)
def test_integers_compute_what_is_simulated(family: str) -> None:
    """In every family, with and without a cache."""
    needs_torchao()
    model = discretize(supernet(family, "gpt2" if family != "gpt2" else "mamba"), ["base", "base", "donor"])
    expected = simulated_logits(model, (8, 4, 8))
    with rounded_segments(bit_segments(model.model.stages, (8, 4, 8))):
        generated = model.generate(tokens(2, 9)[0], do_sample=False, max_new_tokens=4, pad_token_id=0)
    done = quantize_hybrid(model, (8, 4, 8))
    assert torch.equal(model(input_ids=tokens()[0]).logits, expected)
    again = model.generate(tokens(2, 9)[0], do_sample=False, max_new_tokens=4, pad_token_id=0)
    assert torch.equal(again, generated)
    assert done.integers
    assert {f"Linear {name.rpartition('.')[2]}" for name in done.integers}.isdisjoint(done.rounded)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_a_folder_is_read_by_transformers_with_the_same_logits(hybrid: PreTrainedModel, tmp_path: Path) -> None:
    needs_torchao()
    from torchao.quantization import IntxUnpackedToInt8Tensor

    expected, full = simulated_logits(hybrid, BITS), hybrid(input_ids=tokens()[0]).logits
    done = quantize_hybrid(hybrid, BITS)
    folder = save_checkpoint(hybrid, None, tmp_path / "small", "")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(loaded(input_ids=tokens()[0]).logits, expected)
    assert not torch.allclose(expected, full, atol=1e-3)
    assert torch.equal(load_hybrid(folder)(input_ids=tokens()[0]).logits, expected)
    linear = {name: part for name, part in loaded.named_modules() if isinstance(part, nn.Linear)}
    integers = {name: part.weight for name, part in linear.items() if isinstance(part.weight, IntxUnpackedToInt8Tensor)}
    assert {*integers} == {*done.integers}
    assert done.rounded == ("Conv1d conv1d", "Linear dt_proj")
    for name, weight in integers.items():
        stage = int(name.split(".")[2])
        assert weight.target_dtype == getattr(torch, f"int{BITS[stage]}")
        assert int(weight.qdata.abs().max()) == 2 ** (BITS[stage] - 1) - 1
    assert {int(name.split(".")[2]) for name in integers} == {0, 1}
    assert SERVING not in (folder / "README.md").read_text()
    sizes = sum(weight.numel() + 5 * weight.shape[0] for weight in integers.values())  # a scale and a zero for each row
    sizes += 4 * sum(p.numel() for name, p in loaded.named_parameters() if name.removesuffix(".weight") not in integers)
    assert stored_bytes(folder / "model.safetensors") == sizes


@pytest.mark.e2e
def test_a_folder_is_read_where_manticore_is_missing(
    hybrid: PreTrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_torchao()
    import torchao

    run_plainly(monkeypatch)
    quantize_hybrid(hybrid, BITS)
    folder = save_checkpoint(hybrid, None, tmp_path / "small", "")
    save_logits(folder, hybrid)
    check_without_manticore([folder], tmp_path, str(Path(torchao.__file__).resolve().parents[1]))


def stored_bytes(file: Path) -> int:
    """Bytes of the tensors of a safetensors file."""
    content = file.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    return max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")


def test_bytes_of_a_hybrid_are_those_of_the_cost_model() -> None:
    net = supernet("gpt2", "gpt_neo", skip=True, stages=2)
    costs = BitCosts(net, 8, (16, 8, 4))
    for names, path, bits in (
        (["base:8", "donor:4"], ["base", "donor"], (8, 4)),
        (["donor:16", "donor:4"], ["donor", "donor"], (16, 4)),
        (["skip", "base:4"], ["skip", "base"], (16, 4)),
    ):
        assert hybrid_bytes(discretize(net, path), bits) == costs.cost(names, Resource("weight_bytes"))
    op = op_supernet(stages=2)
    path = [next(name for name in op.candidates if isinstance(op.branch(0, name), OpBranch)), "base"]
    expected = BitCosts(op, 8, (16, 4)).cost([path[0], "base:4"], Resource("weight_bytes"))
    assert hybrid_bytes(discretize(op, path), (16, 4)) == expected


def test_without_torchao_one_line_has_the_pip_command(
    pico_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("manticore.export.quantized.is_torchao_available", lambda: False)
    message = refusal(capsys, "export", pico_run, "--quantize", "torchao", "--bits", "8", "--out", tmp_path / "out")
    assert message.strip().endswith(
        "--quantize torchao needs torchao, which is not installed: pip install 'manticore-hybrids[quantize]'"
    )
    assert not any(tmp_path.iterdir())


@pytest.mark.e2e
@pytest.mark.filterwarnings("ignore")
def test_the_hybrid_of_a_run_is_quantized_evaluated_and_not_trained(
    pico_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_torchao()
    out = tmp_path / "small"
    status, text, err = call(capsys, "export", pico_run, "--quantize", "torchao", "--bits", "8", "--out", out)
    assert (status, err) == (0, "")
    shown = " ".join(text.split())
    assert "differ by at most 0 from those of simulated quantization" in shown
    assert "quantized with torchao" in shown
    stored, full, counted = (
        int(match.replace(",", ""))
        for match in re.findall(r"weights: (\S+) bytes on disk, (\S+) in full .* counts ([\d,]+)", shown)[0]
    )
    assert stored == (out / "model.safetensors").stat().st_size < full
    assert counted < full
    card = (out / "README.md").read_text()
    assert "## Quantized" in card
    assert "Checked after reloading: the logits of 2 sequences" in card
    assert mc.evaluate(out, quiet=True)
    for arguments, message in (
        (("finetune", out, "--steps", "1", "--out", tmp_path / "tuned"), "is quantized; training needs the hybrid"),
        (("export", out, "--quantize", "torchao", "--out", tmp_path / "twice"), "is quantized; --quantize needs the"),
    ):
        assert message in refusal(capsys, *arguments)
    monkeypatch.setattr("manticore.export.quantized.is_torchao_available", lambda: False)
    assert f"the quantized model in {out} needs torchao, which is not installed: pip" in refusal(
        capsys, "evaluate", out
    )


@pytest.mark.filterwarnings("ignore")
def test_bits_that_do_not_fit_are_one_line(
    pico_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("manticore.export.quantized.is_torchao_available", lambda: True)
    for arguments, message in (
        (("--quantize", "torchao"), "has no bits of a selection for "),
        (("--quantize", "torchao", "--bits", "8,8,8,8,8,8,8"), "--bits has 7 numbers for "),
        (("--quantize", "torchao", "--bits", "16"), "at 16 bits no weight is rounded; export without --quantize"),
        (("--quantize", "torchao", "--bits", "5"), "bits of weights are 16, 8 or 4, not 5"),
        (("--bits", "8"), "--bits goes with --quantize torchao"),
        (("--quantize", "torchoa"), "torchao"),
        (("--quantize", "torchao", "--native"), "--quantize changes the hybrid in a folder"),
        (("--quantize", "torchao", "--lines", "0.5"), "give one of --adapters, --lines, --lines-control, --quantize"),
    ):
        assert message in refusal(capsys, "export", pico_run, *arguments, "--out", tmp_path / "out")
    assert not any(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")
def test_weights_that_are_read_back_with_other_outputs_are_not_written(
    pico_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_torchao()

    def damaged(folder: Path, trust_code: bool = False) -> PreTrainedModel:
        model = load_hybrid(folder, trust_code)
        with torch.no_grad():
            next(part for part in model.modules() if isinstance(part, nn.LayerNorm)).weight.add_(
                0.1 if folder.name != pico_run.name else 0.0
            )
        return model

    monkeypatch.setattr("manticore.pipelines.quantized.load_hybrid", damaged)
    with pytest.raises(ManticoreError, match="have other outputs than simulated quantization: logits differ by"):
        mc.export(pico_run, quantize="torchao", bits=[4], out=tmp_path / "out", quiet=True)
    assert not any(tmp_path.iterdir())
