"""The patches of transformers' GPT-Neo change its speed and memory, and no result."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache, GPTNeoConfig, GPTNeoForCausalLM, StaticCache
from transformers.models.gpt_neo import modeling_gpt_neo

from manticore.errors import ManticoreError
from manticore.kernels import attention
from manticore.kernels.hf_patches import gpt_neo

pytestmark = pytest.mark.numba

VOCAB = 40
KINDS = {"mixed": ["global", "local"], "global": ["global"], "local": ["local"]}


@contextmanager
def patched() -> Iterator[None]:
    """GPT-Neo is patched inside the block."""
    undo = []
    try:
        for patch in gpt_neo.patches():
            original = patch.original()
            setattr(patch.owner, patch.name, patch.replace(original))
            undo.append((patch.owner, patch.name, original))
        yield
    finally:
        for owner, name, original in reversed(undo):
            setattr(owner, name, original)


def build(window: int = 8, kinds: str = "mixed", **options: Any) -> GPTNeoForCausalLM:
    torch.manual_seed(0)
    config = GPTNeoConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        num_layers=4,
        num_heads=4,
        window_size=window,
        attention_types=[[KINDS[kinds], 4 // len(KINDS[kinds])]],
        max_position_embeddings=320,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.2,
        **options,
    )
    return GPTNeoForCausalLM(config).eval()


def draw(batch: int, length: int, side: str = "none", seed: int = 0) -> tuple[Tensor, Tensor | None]:
    """Ids (B, L) and their mask, with padding in a third of the last sequence."""
    ids = torch.randint(3, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    if side in ("left", "right"):
        third = length // 3
        mask[-1, slice(third) if side == "left" else slice(length - third, None)] = 0
    return ids, None if side == "none" else mask


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the queries in all calls of `causal_attention`."""
    shapes: list[tuple[int, ...]] = []
    original = gpt_neo.causal_attention

    def counting(q: Tensor, *args: Any, **options: Any) -> Tensor:
        shapes.append(tuple(q.shape))
        return original(q, *args, **options)

    monkeypatch.setattr(gpt_neo, "causal_attention", counting)
    return shapes


def same(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Equal up to the rounding of the fused `gelu_new`."""
    bound = 2e-6 if y.dtype == torch.float32 else 3e-2
    return torch.allclose(x, y, rtol=0, atol=bound * y.abs().max().item())


@settings(max_examples=40)
@given(
    length=st.sampled_from([1, 2, 7, 8, 16, 61, 64, 70, 130, 192, 200]),
    window=st.sampled_from([1, 3, 8, 64, 100, 256]),
    kinds=st.sampled_from(list(KINDS)),
    side=st.sampled_from(["none", "ones", "left", "right"]),
    use_cache=st.booleans(),
    training=st.booleans(),
    checkpointing=st.booleans(),
)
def test_logits_and_gradients_are_unchanged(
    length: int, window: int, kinds: str, side: str, use_cache: bool, training: bool, checkpointing: bool
) -> None:
    model = build(window, kinds).train(training)
    if checkpointing and training:
        model.gradient_checkpointing_enable()
        use_cache = False
    ids, mask = draw(2, length, side)
    weight = torch.randn(2, length, VOCAB) * (1 if mask is None else mask[..., None])
    results = []
    for kernels in (nullcontext, patched):
        model.zero_grad()
        with kernels():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=use_cache).logits
            (logits * weight).sum().backward()
        results.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (logits_before, grads_before), (logits_after, grads_after) = results
    if side == "right" and mask is not None:
        # Right padding outside of every token's window has no defined result: transformers averages keys outside of
        # the window there.
        logits_before, logits_after = logits_before[mask.bool()], logits_after[mask.bool()]
    torch.testing.assert_close(logits_after, logits_before, rtol=0, atol=1e-5)
    largest = max(grad.abs().max().item() for grad in grads_before.values())
    for name, expected in grads_before.items():
        torch.testing.assert_close(grads_after[name], expected, rtol=0, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("chunks", [[150, 1, 1], [100, 52], [1, 1, 150], [3, 70, 70, 9]])
@pytest.mark.parametrize("configured", [True, False])
def test_logits_of_chunks_are_unchanged(side: str, chunks: list[int], configured: bool) -> None:
    model = build(window=8)
    ids, mask = draw(2, 152, side)

    def logits_of_chunks() -> Tensor:
        cache, stop, logits = DynamicCache(config=model.config) if configured else DynamicCache(), 0, []
        for chunk in ids.split(chunks, dim=1):
            stop += chunk.shape[1]
            chunk_mask = None if mask is None else mask[:, :stop]
            logits.append(model(input_ids=chunk, attention_mask=chunk_mask, past_key_values=cache).logits)
        return torch.cat(logits, dim=1)

    with torch.no_grad():
        before = logits_of_chunks()
        with patched():
            after = logits_of_chunks()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"num_beams": 3, "do_sample": False},
        {"use_cache": False},
        {"cache_implementation": "static"},
    ],
    ids=["greedy", "beams", "uncached", "static"],
)
def test_generated_tokens_are_unchanged(side: str, options: dict[str, Any], calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, mask = draw(2, 20, side)
    settings = {"attention_mask": torch.ones_like(ids) if mask is None else mask, "max_new_tokens": 12} | options
    before = model.generate(ids, eos_token_id=None, **settings)
    with patched():
        assert torch.equal(model.generate(ids, eos_token_id=None, **settings), before)
    assert bool(calls) == ("cache_implementation" not in options)


@pytest.mark.parametrize("side", ["none", "ones", "left", "right"])
@pytest.mark.parametrize("configured", [True, False])
def test_attention_weights_are_unchanged(side: str, configured: bool, calls: list[tuple[int, ...]]) -> None:
    model = build()
    model.config.output_attentions = configured
    ids, mask = draw(2, 30, side)
    options = {} if configured else {"output_attentions": True}
    before = model(input_ids=ids, attention_mask=mask, **options)
    with patched():
        after = model(input_ids=ids, attention_mask=mask, **options)
    assert same(after.logits, before.logits)
    assert len(after.attentions) == 4
    for weights, expected in zip(after.attentions, before.attentions, strict=True):
        torch.testing.assert_close(weights, expected, rtol=0, atol=1e-5)
    assert not calls


def test_hidden_states_and_tuples_are_unchanged() -> None:
    model = build()
    ids, mask = draw(2, 30, "left")
    inputs = {"input_ids": ids, "attention_mask": mask, "output_hidden_states": True, "use_cache": False}
    before = model(**inputs, return_dict=False)
    with patched():
        after = model(**inputs, return_dict=False)
    assert len(before) == len(after) == 2
    for state, expected in zip(after[1], before[1], strict=True):
        torch.testing.assert_close(state, expected, rtol=0, atol=1e-5)


def test_a_full_mask_of_the_user_is_applied(calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, _ = draw(2, 30)
    full_mask = torch.zeros(2, 1, 30, 30).masked_fill(torch.rand(2, 1, 30, 30) < 0.5, -1e9)
    before = model(input_ids=ids, attention_mask=full_mask).logits
    with patched():
        assert same(model(input_ids=ids, attention_mask=full_mask).logits, before)
    assert not calls
    assert not torch.allclose(before, model(input_ids=ids).logits)


def test_packed_sequences_do_not_mix(calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, _ = draw(1, 30)
    packed = torch.cat([torch.arange(12), torch.arange(18)])[None]
    before = model(input_ids=ids, position_ids=packed, use_cache=False).logits
    with patched():
        assert same(model(input_ids=ids, position_ids=packed, use_cache=False).logits, before)
        assert not calls
        alone = model(input_ids=ids[:, 12:], position_ids=packed[:, 12:], use_cache=False).logits
    assert calls
    torch.testing.assert_close(alone, before[:, 12:], rtol=0, atol=1e-5)


def test_a_static_cache_uses_the_original(calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, _ = draw(2, 12)

    def logits() -> Tensor:
        return model(input_ids=ids, past_key_values=StaticCache(config=model.config, max_cache_len=20)).logits

    with torch.no_grad():
        before = logits()
        with patched():
            assert same(logits(), before)
    assert not calls


def test_masks_of_another_length_are_padded_or_cut() -> None:
    """transformers pads a short mask and cuts a long one when it has a cache."""
    model = build()
    ids, mask = draw(2, 20, "left")

    def logits(attention_mask: Tensor) -> Tensor:
        return model(input_ids=ids, attention_mask=attention_mask, use_cache=True).logits

    for other_mask in (mask[:, :15], torch.cat([mask, 1 - mask[:, :4]], dim=1)):
        before = logits(other_mask)
        with patched():
            torch.testing.assert_close(logits(other_mask), before, rtol=0, atol=1e-5)


def test_attention_dropout_is_active_in_training_only() -> None:
    model = build(window=64, attention_dropout=0.5, resid_dropout=0.0, embed_dropout=0.0)
    ids, _ = draw(2, 200)
    with patched(), torch.no_grad():
        evaluated = model(input_ids=ids).logits
        assert same(model(input_ids=ids).logits, evaluated)
        model.train()
        drawn = torch.stack([model(input_ids=ids).logits for _ in range(3)])
    assert not torch.allclose(drawn[0], drawn[1])
    assert drawn.isfinite().all()


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_as_accurate_as_the_original(side: str, autocast: bool) -> None:
    model = build(window=64)
    ids, mask = draw(2, 200, side)
    is_token = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()

    def logits() -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(input_ids=ids, attention_mask=mask).logits[is_token]

    def error(x: Tensor) -> float:
        assert x.dtype == torch.bfloat16
        return (x - exact).square().mean().sqrt().item()

    with torch.no_grad():
        exact = model(input_ids=ids, attention_mask=mask).logits[is_token]
    model = model if autocast else model.to(torch.bfloat16)
    before = logits()
    with patched():
        after = logits()
    assert error(after) <= 1.1 * error(before)
    assert (after - before).abs().mean() <= 2e-2 * before.abs().mean()


def test_a_cache_of_another_dtype_uses_the_original(calls: list[tuple[int, ...]]) -> None:
    """Keys in a single-precision cache promote the new keys, and torch's kernels take one dtype only."""
    model = build().to(torch.bfloat16)
    ids, mask = draw(2, 12, "left")

    def logits() -> Tensor:
        cache = DynamicCache()
        for layer in range(4):
            cache.update(torch.zeros(2, 4, 1, 8), torch.zeros(2, 4, 1, 8), layer)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return model(input_ids=ids, attention_mask=mask, past_key_values=cache).logits

    before = logits()
    with patched():
        assert same(logits(), before)
    assert not calls


def test_no_mask_of_all_queries_by_all_keys_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    ids, mask = draw(2, 200, "left")
    mask_sizes = []
    original = attention.F.scaled_dot_product_attention

    def recording(*args: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
        mask_sizes.append(0 if attn_mask is None else attn_mask.numel())
        return original(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", recording)
    with patched():
        model(input_ids=ids, attention_mask=mask)
    assert mask_sizes
    assert max(mask_sizes) <= 64 * 128


def test_exported_models_use_the_original(calls: list[tuple[int, ...]]) -> None:
    model = build()
    model.config.use_cache = False
    model.config.return_dict = False
    ids, mask = draw(2, 20, "left")
    with torch.no_grad(), patched():
        exported = torch.export.export(model, (), {"input_ids": ids, "attention_mask": mask}).module()
        assert not calls
        expected = model(input_ids=ids, attention_mask=mask)[0]
    torch.testing.assert_close(
        exported(input_ids=ids, attention_mask=mask)[0][mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5
    )


def test_subclasses_and_meta_tensors_use_the_original(calls: list[tuple[int, ...]]) -> None:
    class Subclass(modeling_gpt_neo.GPTNeoSelfAttention):
        def _attn(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
            assert mask is not None
            assert mask.shape == (2, 1, 20, 20)
            return super()._attn(q, k, v, mask)

    model = build()
    ids, mask = draw(2, 20, "left")
    with torch.device("meta"):
        meta_model = copy.deepcopy(model).to("meta")
    with patched():
        assert meta_model(input_ids=ids.to("meta"), attention_mask=mask.to("meta")).logits.shape == (2, 20, VOCAB)
        for block in model.transformer.h:
            block.attn.attention.__class__ = Subclass
        model(input_ids=ids, attention_mask=mask)
    assert not calls


def test_the_originals_are_restored(calls: list[tuple[int, ...]]) -> None:
    layer = modeling_gpt_neo.GPTNeoSelfAttention
    before = layer.forward, modeling_gpt_neo.create_causal_mask
    with patched():
        assert layer.forward is not before[0]
        assert modeling_gpt_neo.GPTNeoFlashAttention2.forward is not layer.forward
        assert modeling_gpt_neo.create_causal_mask is not before[1]
        build()(input_ids=draw(1, 5)[0])
    assert (layer.forward, modeling_gpt_neo.create_causal_mask) == before
    assert len(calls) == 4


@pytest.mark.parametrize("name", ["GPTNeoSelfAttention", "create_causal_mask"])
def test_a_missing_name_of_transformers_is_reported(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(modeling_gpt_neo, name)
    with pytest.raises(ManticoreError, match=f"has no '{name}'; allowed: transformers 5.17 to 5.23"), patched():
        pass
