"""Lending our attention to transformers' GPT-Neo changes its speed and nothing a caller can see."""

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
def lent() -> Iterator[None]:
    """Ours inside the block."""
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
    """Ids (B, L) and their mask; of the second sequence a third is padding."""
    ids = torch.randint(3, VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones_like(ids)
    if side in ("left", "right"):
        third = length // 3
        mask[-1, slice(third) if side == "left" else slice(length - third, None)] = 0
    return ids, None if side == "none" else mask


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shape of the queries of every call of our attention."""
    seen: list[tuple[int, ...]] = []
    ours = gpt_neo.causal_attention

    def counting(q: Tensor, *args: Any, **options: Any) -> Tensor:
        seen.append(tuple(q.shape))
        return ours(q, *args, **options)

    monkeypatch.setattr(gpt_neo, "causal_attention", counting)
    return seen


def same(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Equal but for the last bits, which `gelu_new` taken in one pass may turn."""
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
def test_logits_and_gradients_stay(
    length: int, window: int, kinds: str, side: str, use_cache: bool, training: bool, checkpointing: bool
) -> None:
    model = build(window, kinds).train(training)
    if checkpointing and training:
        model.gradient_checkpointing_enable()
        use_cache = False
    ids, mask = draw(2, length, side)
    weight = torch.randn(2, length, VOCAB) * (1 if mask is None else mask[..., None])
    results = []
    for kernels in (nullcontext, lent):
        model.zero_grad()
        with kernels():
            logits = model(input_ids=ids, attention_mask=mask, use_cache=use_cache).logits
            (logits * weight).sum().backward()
        results.append((logits.detach(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (logits_before, grads_before), (logits_after, grads_after) = results
    torch.testing.assert_close(logits_after, logits_before, rtol=0, atol=1e-5)
    largest = max(grad.abs().max().item() for grad in grads_before.values())
    for name, expected in grads_before.items():
        torch.testing.assert_close(grads_after[name], expected, rtol=0, atol=1e-5 * largest, msg=name)


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("chunks", [[150, 1, 1], [100, 52], [1, 1, 150], [3, 70, 70, 9]])
@pytest.mark.parametrize("configured", [True, False])
def test_logits_in_pieces_stay(side: str, chunks: list[int], configured: bool) -> None:
    model = build(window=8)
    ids, mask = draw(2, 152, side)

    def in_pieces() -> Tensor:
        cache, start, pieces = DynamicCache(config=model.config) if configured else DynamicCache(), 0, []
        for piece in ids.split(chunks, dim=1):
            start += piece.shape[1]
            seen = None if mask is None else mask[:, :start]
            pieces.append(model(input_ids=piece, attention_mask=seen, past_key_values=cache).logits)
        return torch.cat(pieces, dim=1)

    with torch.no_grad():
        before = in_pieces()
        with lent():
            after = in_pieces()
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize(
    "how",
    [
        {"do_sample": False},
        {"num_beams": 3, "do_sample": False},
        {"use_cache": False},
        {"cache_implementation": "static"},
    ],
    ids=["greedy", "beams", "uncached", "static"],
)
def test_generated_tokens_stay(side: str, how: dict[str, Any], calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, mask = draw(2, 20, side)
    settings = {"attention_mask": torch.ones_like(ids) if mask is None else mask, "max_new_tokens": 12} | how
    before = model.generate(ids, eos_token_id=None, **settings)
    with lent():
        assert torch.equal(model.generate(ids, eos_token_id=None, **settings), before)
    assert bool(calls) == ("cache_implementation" not in how)


@pytest.mark.parametrize("side", ["none", "ones", "left", "right"])
@pytest.mark.parametrize("configured", [True, False])
def test_attention_weights_stay(side: str, configured: bool, calls: list[tuple[int, ...]]) -> None:
    model = build()
    model.config.output_attentions = configured
    ids, mask = draw(2, 30, side)
    asked = {} if configured else {"output_attentions": True}
    before = model(input_ids=ids, attention_mask=mask, **asked)
    with lent():
        after = model(input_ids=ids, attention_mask=mask, **asked)
    assert same(after.logits, before.logits)
    assert len(after.attentions) == 4
    assert all(map(same, after.attentions, before.attentions))
    assert not calls


def test_hidden_states_and_tuples_stay() -> None:
    model = build()
    ids, mask = draw(2, 30, "left")
    asked = {"input_ids": ids, "attention_mask": mask, "output_hidden_states": True, "use_cache": False}
    before = model(**asked, return_dict=False)
    with lent():
        after = model(**asked, return_dict=False)
    assert len(before) == len(after) == 2
    for mine, theirs in zip(after[1], before[1], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)


def test_masks_made_by_hand_are_kept(calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, _ = draw(2, 30)
    by_hand = torch.zeros(2, 1, 30, 30).masked_fill(torch.rand(2, 1, 30, 30) < 0.5, -1e9)
    before = model(input_ids=ids, attention_mask=by_hand).logits
    with lent():
        assert same(model(input_ids=ids, attention_mask=by_hand).logits, before)
    assert not calls
    assert not torch.allclose(before, model(input_ids=ids).logits)


def test_packed_sequences_are_kept_apart(calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, _ = draw(1, 30)
    packed = torch.cat([torch.arange(12), torch.arange(18)])[None]
    before = model(input_ids=ids, position_ids=packed, use_cache=False).logits
    with lent():
        assert same(model(input_ids=ids, position_ids=packed, use_cache=False).logits, before)
        assert not calls
        alone = model(input_ids=ids[:, 12:], position_ids=packed[:, 12:], use_cache=False).logits
    assert calls
    torch.testing.assert_close(alone, before[:, 12:], rtol=0, atol=1e-5)


def test_caches_of_fixed_size_are_transformers_own(calls: list[tuple[int, ...]]) -> None:
    model = build()
    ids, _ = draw(2, 12)

    def logits() -> Tensor:
        return model(input_ids=ids, past_key_values=StaticCache(config=model.config, max_cache_len=20)).logits

    with torch.no_grad():
        before = logits()
        with lent():
            assert same(logits(), before)
    assert not calls


def test_masks_of_another_length_mean_what_they_meant() -> None:
    """With a cache a mask too short is padded, one too long is cut."""
    model = build()
    ids, mask = draw(2, 20, "left")

    def logits(given: Tensor) -> Tensor:
        return model(input_ids=ids, attention_mask=given, use_cache=True).logits

    for given_mask in (mask[:, :15], torch.cat([mask, 1 - mask[:, :4]], dim=1)):
        before = logits(given_mask)
        with lent():
            torch.testing.assert_close(logits(given_mask), before, rtol=0, atol=1e-5)


def test_dropout_of_weights_runs_in_training_only() -> None:
    model = build(window=64, attention_dropout=0.5, resid_dropout=0.0, embed_dropout=0.0)
    ids, _ = draw(2, 200)
    with lent(), torch.no_grad():
        sure = model(input_ids=ids).logits
        assert same(model(input_ids=ids).logits, sure)
        model.train()
        several = torch.stack([model(input_ids=ids).logits for _ in range(3)])
    assert not torch.allclose(several[0], several[1])
    assert several.isfinite().all()


@pytest.mark.parametrize("side", ["none", "left"])
@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_as_good(side: str, autocast: bool) -> None:
    """As near to single precision as transformers' own half precision is."""
    model = build(window=64)
    ids, mask = draw(2, 200, side)
    kept = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()

    def logits() -> Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return model(input_ids=ids, attention_mask=mask).logits[kept]

    def error(x: Tensor) -> float:
        assert x.dtype == torch.bfloat16
        return (x - exact).square().mean().sqrt().item()

    with torch.no_grad():
        exact = model(input_ids=ids, attention_mask=mask).logits[kept]
    model = model if autocast else model.to(torch.bfloat16)
    theirs = logits()
    with lent():
        ours = logits()
    assert error(ours) <= 1.1 * error(theirs)
    assert (ours - theirs).abs().mean() <= 2e-2 * theirs.abs().mean()


def test_a_wider_cache_leaves_the_layer_to_transformers(calls: list[tuple[int, ...]]) -> None:
    """Keys of a cache in single precision widen those that are added; torch's kernels take no mixture."""
    model = build().to(torch.bfloat16)
    ids, mask = draw(2, 12, "left")

    def logits() -> Tensor:
        cache = DynamicCache()
        for layer in range(4):
            cache.update(torch.zeros(2, 4, 1, 8), torch.zeros(2, 4, 1, 8), layer)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return model(input_ids=ids, attention_mask=mask, past_key_values=cache).logits

    before = logits()
    with lent():
        assert same(logits(), before)
    assert not calls


def test_no_square_mask_is_made_nor_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build()
    ids, mask = draw(2, 200, "left")
    seen = []
    original = attention.F.scaled_dot_product_attention

    def watching(*args: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
        seen.append(0 if attn_mask is None else attn_mask.numel())
        return original(*args, attn_mask=attn_mask, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", watching)
    with lent():
        model(input_ids=ids, attention_mask=mask)
    assert seen
    assert max(seen) <= 64 * 128


def test_traced_models_are_transformers_own(calls: list[tuple[int, ...]]) -> None:
    model = build()
    model.config.use_cache = False
    model.config.return_dict = False
    ids, mask = draw(2, 20, "left")
    with torch.no_grad(), lent():
        exported = torch.export.export(model, (), {"input_ids": ids, "attention_mask": mask}).module()
        assert not calls
        expected = model(input_ids=ids, attention_mask=mask)[0]
    torch.testing.assert_close(
        exported(input_ids=ids, attention_mask=mask)[0][mask.bool()], expected[mask.bool()], rtol=0, atol=1e-5
    )


def test_subclasses_and_shapeless_devices_are_left_alone(calls: list[tuple[int, ...]]) -> None:
    class Own(modeling_gpt_neo.GPTNeoSelfAttention):
        def _attn(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
            assert mask is not None
            assert mask.shape == (2, 1, 20, 20)
            return super()._attn(q, k, v, mask)

    model = build()
    ids, mask = draw(2, 20, "left")
    with torch.device("meta"):
        shapes = copy.deepcopy(model).to("meta")
    with lent():
        assert shapes(input_ids=ids.to("meta"), attention_mask=mask.to("meta")).logits.shape == (2, 20, VOCAB)
        for block in model.transformer.h:
            block.attn.attention.__class__ = Own
        model(input_ids=ids, attention_mask=mask)
    assert not calls


def test_taking_back_leaves_what_was_there(calls: list[tuple[int, ...]]) -> None:
    layer = modeling_gpt_neo.GPTNeoSelfAttention
    before = layer.forward, modeling_gpt_neo.create_causal_mask
    with lent():
        assert layer.forward is not before[0]
        assert modeling_gpt_neo.GPTNeoFlashAttention2.forward is not layer.forward
        assert modeling_gpt_neo.create_causal_mask is not before[1]
        build()(input_ids=draw(1, 5)[0])
    assert (layer.forward, modeling_gpt_neo.create_causal_mask) == before
    assert len(calls) == 4


@pytest.mark.parametrize("name", ["GPTNeoSelfAttention", "create_causal_mask"])
def test_another_transformers_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delattr(modeling_gpt_neo, name)
    with pytest.raises(ManticoreError, match=f"has no '{name}'; allowed: transformers 5.17 to 5.23"), lent():
        pass
