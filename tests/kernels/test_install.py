"""Installed kernels change the speed of transformers' models and continue from a cached state, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    FalconMambaConfig,
    FalconMambaForCausalLM,
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
from manticore.kernels.hf_patches import mamba as mamba_patches
from manticore.kernels.hf_patches.patch import Patch
from tests.helpers.pico import MODEL_TYPES, SIZES, SPECIAL

HYBRIDS = ("bamba", "falcon_h1", "granitemoehybrid", "nemotron_h")
FAMILIES = ("mamba", "falcon_mamba", "mamba2", "gpt_neo", *HYBRIDS)
MAMBA2 = ("mamba2", *HYBRIDS)


@pytest.fixture(autouse=True)
def _uninstalled() -> Iterator[None]:
    uninstall()
    yield
    uninstall()


def model_of(family: str, **fields: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    if family in HYBRIDS:
        config = AutoConfig.for_model(family, **{**SIZES, **SPECIAL, **MODEL_TYPES[family], **fields})
        model = AutoModelForCausalLM.from_config(config).eval()
        for mixer in (module for module in model.modules() if hasattr(module, "A_log")):
            for linear in (mixer.in_proj, mixer.out_proj):  # so that the state has a share in the logits
                linear.weight.data *= 30
        return model
    if family == "gpt_neo":
        kinds = {"attention_types": [[["global", "local"], 1]], "window_size": 6, "max_position_embeddings": 64}
        sizes = {"vocab_size": 40, "hidden_size": 24, "num_layers": 2, "num_heads": 4}
        return GPTNeoForCausalLM(GPTNeoConfig(**sizes, **kinds, **SPECIAL)).eval()
    sizes = {"vocab_size": 40, "hidden_size": 24, "num_hidden_layers": 2, "state_size": 16}
    if family == "mamba":
        return MambaForCausalLM(MambaConfig(**sizes, **SPECIAL)).eval()
    if family == "falcon_mamba":
        return FalconMambaForCausalLM(FalconMambaConfig(**sizes, **SPECIAL)).eval()
    heads = {"num_heads": 6, "head_dim": 8, "n_groups": 2, "chunk_size": 8}
    return Mamba2ForCausalLM(Mamba2Config(**sizes, **heads, **SPECIAL, **fields)).eval()


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
    """Logits at tokens, and gradients of a loss that excludes padding."""
    model.zero_grad()
    has_label = torch.ones_like(ids) if mask is None else mask * mask.roll(1, dims=1)
    out = model(input_ids=ids, attention_mask=mask, labels=ids.where(has_label.bool(), -100))
    out.loss.backward()
    logits = out.logits.detach() if mask is None else out.logits.detach()[mask.bool()]
    return {"logits": logits} | {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("mask", [None, padded])
def test_logits_and_gradients_are_unchanged(model: Any, ids: torch.Tensor, training: bool, mask: object) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.train(training)
    attention_mask = padded(ids) if mask else None
    before = outcome(model, ids, attention_mask)
    with installed():
        after = outcome(model, ids, attention_mask)
    for name, expected in before.items():
        assert torch.allclose(after[name], expected, rtol=1e-5, atol=2e-5 * expected.abs().max().item()), name


@pytest.mark.parametrize("beams", [1, 3])
def test_generated_tokens_are_unchanged(model: Any, ids: torch.Tensor, beams: int) -> None:
    options = {"attention_mask": padded(ids), "max_new_tokens": 8, "do_sample": False, "num_beams": beams}
    before = model.generate(ids, **options, eos_token_id=None)
    with installed():
        assert torch.equal(model.generate(ids, **options, eos_token_id=None), before)


@pytest.mark.parametrize("chunks", [[10, 9], [1, 18], [7, 1, 11], [18, 1]])
def test_several_tokens_continue_from_the_cached_state(model: Any, ids: torch.Tensor, chunks: list[int]) -> None:
    name = "cache_params" if "mamba" in model.config.model_type.removesuffix("bamba") else "past_key_values"
    with installed(), torch.no_grad():
        expected, cache, logits = model(input_ids=ids).logits, None, []
        for chunk, positions in zip(ids.split(chunks, dim=1), torch.arange(19)[None].split(chunks, dim=1), strict=True):
            options = {} if name == "cache_params" else {"position_ids": positions}
            options |= {} if cache is None else {name: cache}
            out = model(input_ids=chunk, use_cache=True, **options)
            cache = out[name]
            logits.append(out.logits)
    torch.testing.assert_close(torch.cat(logits, dim=1), expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", MAMBA2)
@torch.no_grad()
def test_single_steps_have_the_limits_of_the_others(family: str, ids: torch.Tensor) -> None:
    """transformers' own Mamba-2 leaves `time_step_limit` out of a step on a cached state."""
    limit = {"time_step_min": 1.5} if family == "nemotron_h" else {"time_step_limit": [0.2, 0.4]}
    model = model_of(family, **limit)
    name = "cache_params" if family == "mamba2" else "past_key_values"

    def last_logits(position: int) -> torch.Tensor:
        cache = model(input_ids=ids[:, :position], use_cache=True)[name]
        options = {name: cache} | ({} if family == "mamba2" else {"position_ids": torch.tensor([[position]])})
        return model(input_ids=ids[:, position : position + 1], **options, use_cache=True).logits[:, -1]

    with installed():
        expected = model(input_ids=ids).logits
        for position in (1, 7):
            torch.testing.assert_close(last_logits(position), expected[:, position], atol=2e-5, rtol=0)
    assert not torch.allclose(last_logits(7), expected[:, 7], atol=1e-4, rtol=0), "transformers has the limit now"


def test_gradients_reach_all_parameters_with_a_cached_state(ids: torch.Tensor) -> None:
    model = model_of("mamba")
    with installed():
        first = model(input_ids=ids[:, :10], use_cache=True)
        loss = model(input_ids=ids[:, 10:], cache_params=first.cache_params, use_cache=True).logits.square().sum()
        loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_half_precision_is_close(model: Any, ids: torch.Tensor) -> None:
    model = model.to(torch.bfloat16)
    before = model(input_ids=ids).logits
    with installed():
        after = model(input_ids=ids).logits
    assert after.dtype == before.dtype
    assert (after - before).abs().max() <= 2e-2 * before.abs().max()


def test_a_second_install_has_no_effect_and_uninstall_restores() -> None:
    def current() -> list[Any]:
        functions = [modeling_mamba.mamba_selective_scan, modeling_mamba2.mamba2_chunk_scan]
        return [*functions, modeling_mamba.MambaMixer.forward, modeling_gpt_neo.GPTNeoSelfAttention.forward]

    original = current()
    install()
    replaced = current()
    install()
    assert current() == replaced
    assert all(after is not before for after, before in zip(replaced, original, strict=True))
    with installed():
        pass
    assert is_installed()
    uninstall()
    uninstall()
    assert current() == original
    assert not is_installed()


def test_blocks_may_overlap_in_two_threads() -> None:
    original = modeling_mamba.mamba_selective_scan
    entered, may_exit = threading.Event(), threading.Event()

    def wait_inside() -> None:
        with installed():
            entered.set()
            may_exit.wait(10)

    thread = threading.Thread(target=wait_inside)
    with installed():
        thread.start()
        assert entered.wait(10)
    assert is_installed()
    may_exit.set()
    thread.join()
    assert modeling_mamba.mamba_selective_scan is original


@pytest.mark.parametrize("available", [True, False])
def test_other_devices_run_the_original_if_its_package_is_there(
    monkeypatch: pytest.MonkeyPatch, available: bool
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(mamba_patches, "importable", lambda package: available)
    route = mamba_patches._route(lambda x: calls.append("kernel"), "mamba_ssm")(lambda x: calls.append("original"))
    route(torch.zeros(1, device="meta"))
    assert calls == ["original" if available else "kernel"]
    route(torch.zeros(1))
    assert calls[1:] == ["kernel"]


@pytest.mark.parametrize("options", [{"activation": "gelu"}, {"seq_idx": 1}, {"cu_seqlens": 1}])
def test_unsupported_options_run_the_original(options: dict[str, Any]) -> None:
    route = mamba_patches._route(lambda x, **_: "kernel", "causal_conv1d")(lambda x, **_: "original")
    assert route(torch.zeros(1), **options) == "original"
    assert route(torch.zeros(1), activation="silu") == "kernel"


def test_a_traced_function_is_the_original() -> None:
    route = mamba_patches._route(lambda x: x * 2, "mamba_ssm")(lambda x: x * 3)
    assert torch.jit.trace(route, torch.ones(1), check_trace=False)(torch.ones(1)) == 3


def test_a_missing_name_of_transformers_is_reported() -> None:
    with pytest.raises(ManticoreError, match=r"has no 'missing'; allowed: transformers 5\.17 to 5\.23"):
        Patch(SimpleNamespace(__name__="transformers.module"), "missing", lambda original: original).original()
