"""Lending our kernels to transformers' models changes their speed, and mends what they get wrong, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
)
from transformers.models.gpt_neo import modeling_gpt_neo
from transformers.models.mamba import modeling_mamba
from transformers.models.mamba2 import modeling_mamba2

from manticore.errors import ManticoreError
from manticore.kernels import install, installed, is_installed, uninstall
from manticore.kernels.hf_patches import mamba as patched
from manticore.kernels.hf_patches.patch import Patch

FAMILIES = ("mamba", "mamba2", "gpt_neo")
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


@pytest.fixture(autouse=True)
def _as_found() -> Iterator[None]:
    uninstall()
    yield
    uninstall()


def model_of(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    if family == "gpt_neo":
        kinds = {"attention_types": [[["global", "local"], 1]], "window_size": 6, "max_position_embeddings": 64}
        sizes = {"vocab_size": 40, "hidden_size": 24, "num_layers": 2, "num_heads": 4}
        return GPTNeoForCausalLM(GPTNeoConfig(**sizes, **kinds, **SPECIAL)).eval()
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 16}
    if family == "mamba":
        return MambaForCausalLM(MambaConfig(**sizes, **SPECIAL)).eval()
    heads = {"num_heads": 6, "head_dim": 8, "n_groups": 2, "chunk_size": 8}
    return Mamba2ForCausalLM(Mamba2Config(**sizes, **heads, **SPECIAL)).eval()


@pytest.fixture(params=FAMILIES)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return model_of(request.param)


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(3, 40, (2, 19), generator=torch.Generator().manual_seed(1))


def padded(ids: torch.Tensor) -> torch.Tensor:
    mask = torch.ones_like(ids)
    mask[1, :5] = 0
    return mask


def outcome(model: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Logits where there are tokens, and gradients of a loss in which no pad position has a part."""
    model.zero_grad()
    asked = torch.ones_like(ids) if mask is None else mask * mask.roll(1, dims=1)
    out = model(input_ids=ids, attention_mask=mask, labels=ids.where(asked.bool(), -100))
    out.loss.backward()
    logits = out.logits.detach() if mask is None else out.logits.detach()[mask.bool()]
    return {"logits": logits} | {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", [None, padded])
def test_logits_and_gradients_stay(model: Any, ids: torch.Tensor, training: bool, mask: object) -> None:
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    model.train(training)
    attention_mask = padded(ids) if mask else None
    before = outcome(model, ids, attention_mask)
    with installed():
        after = outcome(model, ids, attention_mask)
    for name, expected in before.items():
        assert torch.allclose(after[name], expected, rtol=1e-5, atol=2e-5 * expected.abs().max().item()), name


@pytest.mark.parametrize("beams", [1, 3])
def test_generated_tokens_stay(model: Any, ids: torch.Tensor, beams: int) -> None:
    options = {"attention_mask": padded(ids), "max_new_tokens": 8, "do_sample": False, "num_beams": beams}
    before = model.generate(ids, **options, eos_token_id=None)
    with installed():
        assert torch.equal(model.generate(ids, **options, eos_token_id=None), before)


@pytest.mark.parametrize("pieces", [[10, 9], [1, 18], [7, 1, 11], [18, 1]])
def test_several_tokens_on_a_warm_cache_go_on_from_it(model: Any, ids: torch.Tensor, pieces: list[int]) -> None:
    name = "past_key_values" if isinstance(model, GPTNeoForCausalLM) else "cache_params"
    with installed(), torch.no_grad():
        whole, cache, parts = model(input_ids=ids).logits, None, []
        for piece in ids.split(pieces, dim=1):
            out = model(input_ids=piece, use_cache=True, **({} if cache is None else {name: cache}))
            cache = out[name]
            parts.append(out.logits)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=2e-5, rtol=1e-4)


def test_a_warm_cache_has_gradients_too(ids: torch.Tensor) -> None:
    model = model_of("mamba")
    with installed():
        first = model(input_ids=ids[:, :10], use_cache=True)
        loss = model(input_ids=ids[:, 10:], cache_params=first.cache_params, use_cache=True).logits.square().sum()
        loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_half_precision_stays_close(model: Any, ids: torch.Tensor) -> None:
    model = model.to(torch.bfloat16)
    before = model(input_ids=ids).logits
    with installed():
        after = model(input_ids=ids).logits
    assert after.dtype == before.dtype
    assert (after - before).abs().max() <= 2e-2 * before.abs().max()


def test_installing_twice_and_taking_back() -> None:
    def seen() -> list[Any]:
        functions = [modeling_mamba.mamba_selective_scan, modeling_mamba2.mamba2_chunk_scan]
        return [*functions, modeling_mamba.MambaMixer.forward, modeling_gpt_neo.GPTNeoSelfAttention.forward]

    original = seen()
    install()
    ours = seen()
    install()
    assert seen() == ours
    assert all(one is not other for one, other in zip(ours, original, strict=True))
    with installed():
        pass
    assert is_installed()
    uninstall()
    uninstall()
    assert seen() == original
    assert not is_installed()


def test_blocks_that_overlap_in_two_threads() -> None:
    original = modeling_mamba.mamba_selective_scan
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with installed():
            inside.set()
            leave.wait(10)

    other = threading.Thread(target=hold)
    with installed():
        other.start()
        assert inside.wait(10)
    assert is_installed()
    leave.set()
    other.join()
    assert modeling_mamba.mamba_selective_scan is original


@pytest.mark.parametrize("there", [True, False])
def test_elsewhere_theirs_runs_where_its_package_is(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    calls: list[str] = []
    monkeypatch.setattr(patched, "importable", lambda package: there)
    route = patched._route(lambda x: calls.append("ours"), "mamba_ssm")(lambda x: calls.append("theirs"))
    route(torch.zeros(1, device="meta"))
    assert calls == ["theirs" if there else "ours"]
    route(torch.zeros(1))
    assert calls[1:] == ["ours"]


@pytest.mark.parametrize("options", [{"activation": "gelu"}, {"seq_idx": 1}, {"cu_seqlens": 1}])
def test_what_ours_does_not_know_is_theirs(options: dict[str, Any]) -> None:
    route = patched._route(lambda x, **_: "ours", "causal_conv1d")(lambda x, **_: "theirs")
    assert route(torch.zeros(1), **options) == "theirs"
    assert route(torch.zeros(1), activation="silu") == "ours"


def test_a_compiler_sees_transformers_own() -> None:
    route = patched._route(lambda x: x * 2, "mamba_ssm")(lambda x: x * 3)
    assert torch.jit.trace(route, torch.ones(1), check_trace=False)(torch.ones(1)) == 3


def test_a_transformers_without_the_name_is_refused_in_one_line() -> None:
    with pytest.raises(ManticoreError, match=r"has no 'gone'; allowed: transformers 5\.17 to 5\.23"):
        Patch(SimpleNamespace(__name__="transformers.there"), "gone", lambda original: original).original()
