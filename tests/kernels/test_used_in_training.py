"""Hybrids never call transformers' slow kernels, in training, scoring or generation."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import torch
from transformers.models.gpt_neo.modeling_gpt_neo import GPTNeoSelfAttention
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba2 import modeling_mamba2

from manticore.kernels import is_installed
from manticore.modeling.segments import Segment
from manticore.nas.discretize import discretize
from tests.helpers.pico import supernet, tokens

SLOW = {
    modeling_mamba: (
        "mamba_selective_scan",
        "mamba_selective_state_update",
        "causal_conv1d_fn",
        "causal_conv1d_update",
    ),
    modeling_mamba2: ("mamba2_chunk_scan", "mamba2_selective_state_update", "causal_conv1d_fn", "causal_conv1d_update"),
    GPTNeoSelfAttention: ("_attn",),
}


def _raise(*args: Any, **options: Any) -> NoReturn:
    raise AssertionError("a kernel of transformers ran")


@pytest.fixture(autouse=True)
def _slow_kernels_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, names in SLOW.items():
        for name in names:
            monkeypatch.setattr(owner, name, _raise)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("families", [("gpt_neo", "mamba"), ("mamba2", "gpt_neo"), ("mamba", "mamba2")])
def test_in_training_scoring_and_generation(families: tuple[str, str], checkpointing: bool) -> None:
    net = supernet(*families).train()
    for module in net.modules():
        if isinstance(module, Segment):
            module.gradient_checkpointing = checkpointing
    ids, mask = tokens(pad_left=4)
    net(ids, mask).sum().backward()
    net(ids, mask, path=["base", "donor", "base"]).sum().backward()
    assert net.alpha.grad is not None
    hybrid = discretize(net, ["base", "donor", "base"])
    hybrid.generate(input_ids=ids, attention_mask=mask, max_new_tokens=3, do_sample=False, pad_token_id=0)
    with torch.no_grad():
        first = hybrid(input_ids=ids[:, :9], use_cache=True)
        hybrid(input_ids=ids[:, 9:], past_key_values=first.past_key_values, use_cache=True)
    assert not is_installed(), "other models of the process are unchanged"
