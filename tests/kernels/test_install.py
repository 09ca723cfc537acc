"""Lending our scan to transformers' Mamba changes its speed and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM
from transformers.models.mamba import modeling_mamba

from manticore.kernels import install, installed, is_installed, uninstall


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    uninstall()
    yield
    uninstall()


@pytest.fixture
def model() -> MambaForCausalLM:
    torch.manual_seed(0)
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 16}
    return MambaForCausalLM(MambaConfig(**sizes, pad_token_id=0, bos_token_id=1, eos_token_id=2))


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(3, 40, (2, 19), generator=torch.Generator().manual_seed(1))


def padded(ids: torch.Tensor) -> torch.Tensor:
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    return mask


def outcome(model: MambaForCausalLM, ids: torch.Tensor, mask: torch.Tensor | None) -> dict[str, torch.Tensor]:
    model.zero_grad()
    out = model(input_ids=ids, attention_mask=mask, labels=ids)
    out.loss.backward()
    return {"logits": out.logits.detach()} | {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", [None, padded])
def test_logits_and_gradients_stay(model: MambaForCausalLM, ids: torch.Tensor, training: bool, mask: object) -> None:
    model.train(training)
    attention_mask = padded(ids) if mask else None
    before = outcome(model, ids, attention_mask)
    with installed():
        after = outcome(model, ids, attention_mask)
    for name, expected in before.items():
        assert torch.allclose(after[name], expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item()), name


def test_greedy_tokens_stay(model: MambaForCausalLM, ids: torch.Tensor) -> None:
    model.eval()
    kwargs = {
        "attention_mask": padded(ids),
        "max_new_tokens": 8,
        "do_sample": False,
        "use_cache": True,
        "eos_token_id": None,
    }
    before = model.generate(ids, **kwargs)
    with installed():
        assert torch.equal(model.generate(ids, **kwargs), before)


def test_half_precision_stays_close(model: MambaForCausalLM, ids: torch.Tensor) -> None:
    model = model.to(torch.bfloat16).eval()
    before = model(input_ids=ids).logits
    with installed():
        after = model(input_ids=ids).logits
    assert after.dtype == before.dtype
    assert (after - before).abs().max() <= 2e-2 * before.abs().max()


def test_installing_twice_and_taking_back() -> None:
    original = modeling_mamba.mamba_selective_scan
    install()
    ours = modeling_mamba.mamba_selective_scan
    install()
    assert modeling_mamba.mamba_selective_scan is ours
    assert ours is not original
    with installed():
        pass
    assert is_installed()
    uninstall()
    uninstall()
    assert modeling_mamba.mamba_selective_scan is original
    assert not is_installed()


def test_other_devices_keep_what_they_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_mamba, "mamba_selective_scan", lambda x, **kwargs: ("theirs", kwargs))
    with installed():
        assert modeling_mamba.mamba_selective_scan(torch.zeros(1, device="meta"), D=1) == ("theirs", {"D": 1})
