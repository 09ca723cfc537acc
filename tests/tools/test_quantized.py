"""Linear modules in place of others, as quantization makes them: only those in the skip list are read raw."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, TorchAoConfig
from transformers.quantizers.quantizers_utils import should_convert_module

from manticore.export.checkpoint import save_checkpoint
from manticore.kernels import install, uninstall
from manticore.nas.discretize import discretize
from tests.helpers.pico import ROWS, supernet, tokens


class Packed(nn.Module):
    """A linear map without a weight, as that of a quantized module is no matrix."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.packed = nn.Parameter(linear.weight.detach().flatten())
        self.shape, self.bias = linear.weight.shape, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.packed.view(self.shape), self.bias)


@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("family", ROWS)
def test_all_but_the_skipped_modules_can_be_replaced(family: str, kernels: bool) -> None:
    (install if kernels else uninstall)()
    model = discretize(supernet(family, "gpt2" if family != "gpt2" else "mamba"), ["base"] * 3)
    ids, _ = tokens(2, 9)
    expected = model(input_ids=ids).logits
    replaced = 0
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and name not in model.config.modules_to_not_convert:
                setattr(parent, name, Packed(child))
                replaced += 1
    assert replaced or family == "gpt2"  # whose layers are convolutions of width 1
    torch.testing.assert_close(model(input_ids=ids).logits, expected, atol=1e-6, rtol=0)
    model.train()(input_ids=ids, labels=ids).loss.backward()
    assert all(part.packed.grad is not None for part in model.modules() if isinstance(part, Packed))


def test_the_skip_list_names_modules_and_their_weights() -> None:
    """bitsandbytes compares names of modules, torchao those of weights."""
    skipped = discretize(supernet("mamba", "gpt_neo"), ["base"] * 3).config.modules_to_not_convert
    for name in ("dt_proj", "x_proj", "out_proj"):
        for suffix in ("", ".weight"):
            assert not should_convert_module(f"model.stages.0.segment.backbone.layers.0.mixer.{name}{suffix}", skipped)
    assert should_convert_module("model.stages.0.segment.backbone.layers.0.mixer.in_proj.weight", skipped)


@pytest.mark.filterwarnings("ignore")  # of torchao
@torch.no_grad()
def test_torchao_keeps_the_skipped_modules(tmp_path: Path) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model = discretize(supernet("mamba", "gpt_neo"), ["base", "donor", "base"])
    folder = save_checkpoint(model, None, tmp_path / "hybrid", "")
    skipped = model.config.modules_to_not_convert
    options = TorchAoConfig(quantization.Int8WeightOnlyConfig(), modules_to_not_convert=skipped)
    quantized = AutoModelForCausalLM.from_pretrained(folder, quantization_config=options)
    linear = {name: part.weight for name, part in quantized.named_modules() if isinstance(part, nn.Linear)}
    kept = {name for name, weight in linear.items() if not isinstance(weight, quantization.Int8Tensor)}
    assert kept == {name for name in linear if name.rpartition(".")[2] in skipped}
    ids, _ = tokens(2, 9)
    torch.testing.assert_close(quantized(input_ids=ids).logits, model(input_ids=ids).logits, atol=2e-2, rtol=0)
