"""Law 4 as a contract: what every hybrid must do with a cache, whatever its layout. `checks` holds all of it.

Each check takes a hybrid and fails unless it does what it does for one sequence alone, in one piece, without a cache.
That is the reference: row for row, there is nothing it could share with other rows, other pieces or padding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.helpers.pico import component

LENGTH = 17
TOLERANCE = {"atol": 3e-5, "rtol": 0.0}
CHUNKS = {"decode": [16, 1], "chunked": [2, 7, 5, 3], "by token": [1] * LENGTH}
PADS = (0, 3, 6)
"""Padding of the rows of a batch: none, some, and more than two chunks of it."""

Check = Callable[[PreTrainedModel], None]
checks: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Enter a check in the contract."""
    checks[function.__name__] = function
    return function


def sequences(model: PreTrainedModel, lengths: tuple[int, ...] = (LENGTH,) * len(PADS)) -> list[Tensor]:
    """Random sequences of ids, each (L,)."""
    made = torch.Generator().manual_seed(1)
    return [torch.randint(3, model.config.vocab_size, (length,), generator=made) for length in lengths]


def alone(model: PreTrainedModel, ids_L: Tensor) -> Tensor:
    """Logits (L, V) of one sequence by itself: the reference."""
    out: Tensor = model(input_ids=ids_L[None]).logits[0]
    return out


def padded(rows: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, L) of sequences of unlike length; what stands at the padding is no token of theirs."""
    longest = max(map(len, rows))
    ids = torch.randint(3, 9, (len(rows), longest), generator=torch.Generator().manual_seed(7))
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, tokens in enumerate(rows):
        place = slice(longest - len(tokens), longest) if side == "left" else slice(0, len(tokens))
        ids[row, place], mask[row, place] = tokens, 1
    return ids, mask


def unequal(model: PreTrainedModel) -> list[Tensor]:
    """Sequences that need `PADS` to be as long as the longest."""
    return sequences(model, tuple(LENGTH - pad for pad in PADS))


def in_pieces(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, chunks: list[int], **more: Any) -> Tensor:
    """Logits (B, L, V), the tokens given a few at a time."""
    pieces, cache, seen = [], None, 0
    for piece in ids.split(chunks, dim=1):
        seen += piece.shape[1]
        given = None if mask is None else mask[:, :seen]
        out = model(input_ids=piece, attention_mask=given, past_key_values=cache, use_cache=True, **more)
        cache = out.past_key_values
        pieces.append(out.logits)
    assert cache.get_seq_length() == ids.shape[1]
    return torch.cat(pieces, dim=1)


def same(logits: Tensor, mask: Tensor, rows: list[Tensor], model: PreTrainedModel) -> None:
    """Fail unless each row's real tokens have the logits of the sequence alone."""
    for row, tokens in enumerate(rows):
        torch.testing.assert_close(logits[row, mask[row].bool()], alone(model, tokens), **TOLERANCE)


@check
def pieces(model: PreTrainedModel) -> None:
    """One row and several, in any pieces."""
    rows = sequences(model)
    for count in (1, len(rows)):
        ids, mask = padded(rows[:count], "left")
        same(model(input_ids=ids).logits, mask, rows[:count], model)
        for chunks in CHUNKS.values():
            same(in_pieces(model, ids, None, chunks), mask, rows[:count], model)


@check
def padding_on_the_left(model: PreTrainedModel) -> None:
    """In one piece and several, also where a piece is nothing but padding; the rows with padding by themselves too."""
    rows = unequal(model)
    for some in (rows, rows[1:2] + rows[2:]):
        ids, mask = padded(some, "left")
        same(model(input_ids=ids, attention_mask=mask).logits, mask, some, model)
        for chunks in ([11, 3], [2] * 9, [1] * LENGTH):
            same(in_pieces(model, ids, mask, _fitting(chunks, ids.shape[1])), mask, some, model)
    ids, mask = padded([*rows[2:]], "left")
    ids, mask = torch.nn.functional.pad(ids, (4, 0), value=5), torch.nn.functional.pad(mask, (4, 0))
    same(model(input_ids=ids, attention_mask=mask).logits, mask, rows[2:], model)  # a single row, padded
    same(in_pieces(model, ids, mask, _fitting([6, 4], ids.shape[1])), mask, rows[2:], model)


def _fitting(chunks: list[int], length: int) -> list[int]:
    """The first of `chunks` that make up `length`, the last one as long as needed."""
    kept: list[int] = []
    for chunk in chunks:
        kept.append(min(chunk, length - sum(kept)))
    return [chunk for chunk in [*kept, length - sum(kept)] if chunk]


@check
def padding_on_the_right(model: PreTrainedModel) -> None:
    """Without a cache it is behind everything and so plays no part."""
    rows = unequal(model)
    ids, mask = padded(rows, "right")
    same(model(input_ids=ids, attention_mask=mask).logits, mask, rows, model)
    same(model(input_ids=ids).logits, mask, rows, model)


@check
def padding_in_the_middle(model: PreTrainedModel) -> None:
    """Padded on the right, then going on: it counts for nothing, or it is refused."""
    rows, going_on = unequal(model), sequences(model, (4,) * len(PADS))
    ids, mask = padded(rows, "right")
    ids, mask = torch.cat([ids, torch.stack(going_on)], 1), torch.nn.functional.pad(mask, (0, 4), value=1)
    whole = [torch.cat(both) for both in zip(rows, going_on, strict=True)]
    if any(getattr(stage, "segment", None) is not None and stage.segment.windowed for stage in model.model.stages):
        for given in ({}, {"use_cache": True}):
            refused(ValueError, "padding between tokens", model, input_ids=ids, attention_mask=mask, **given)
        return
    same(model(input_ids=ids, attention_mask=mask).logits, mask, whole, model)
    for chunks in ([LENGTH, 4], [LENGTH, 1, 1, 1, 1], [9, 8, 2, 2], [19, 2]):
        same(in_pieces(model, ids, mask, chunks), mask, whole, model)


@check
def what_stands_at_padding(model: PreTrainedModel) -> None:
    """Other ids there leave every real token's logits as they are, to the bit."""
    ids, mask = padded(unequal(model), "left")
    other = torch.where(mask.bool(), ids, (ids + 20) % model.config.vocab_size)
    assert not torch.equal(ids, other)
    first, second = (model(input_ids=given, attention_mask=mask).logits[mask.bool()] for given in (ids, other))
    assert torch.equal(first, second)


@check
def rows_change_places(model: PreTrainedModel) -> None:
    """A cache follows its rows: reordered, as beams are, and repeated."""
    rows = sequences(model)
    ids = torch.stack(rows)
    for order in ([2, 0, 0], [1, 1, 1]):
        cache = model(input_ids=ids[:, :9], use_cache=True).past_key_values
        cache.reorder_cache(torch.tensor(order))
        out = model(input_ids=ids[order, 9:], past_key_values=cache).logits
        torch.testing.assert_close(out, torch.stack([alone(model, rows[row])[9:] for row in order]), **TOLERANCE)
    cache = model(input_ids=ids[:, :9], use_cache=True).past_key_values
    cache.batch_repeat_interleave(2)
    cache.batch_select_indices(torch.tensor([0, 3, 5]))
    same(model(input_ids=ids[:, 9:], past_key_values=cache).logits, torch.ones(3, 8), _tails(rows), _Tail(model, rows))


class _Tail:
    """Stands for a model in `same`, where only the last tokens of each row were asked for."""

    def __init__(self, model: PreTrainedModel, rows: list[Tensor]) -> None:
        self.model, self.rows = model, {tuple(row[9:].tolist()): row for row in rows}

    def __call__(self, input_ids: Tensor) -> Any:
        out = self.model(input_ids=self.rows[tuple(input_ids[0].tolist())][None])
        out.logits = out.logits[:, 9:]
        return out


def _tails(rows: list[Tensor]) -> list[Tensor]:
    return [row[9:] for row in rows]


@check
def forgetting(model: PreTrainedModel) -> None:
    """A cache that was reset is as good as new."""
    rows = sequences(model)
    ids, mask = padded(rows, "left")
    cache = model(input_ids=ids.flip(1), use_cache=True).past_key_values
    cache.reset()
    assert cache.get_seq_length() == 0
    same(model(input_ids=ids, past_key_values=cache).logits, mask, rows, model)


def by_hand(model: PreTrainedModel, ids_L: Tensor, count: int) -> list[int]:
    """The likeliest next tokens, one after the other, each from the whole sequence alone."""
    for _ in range(count):
        ids_L = torch.cat([ids_L, alone(model, ids_L)[-1:].argmax(-1)])
    return ids_L[-count:].tolist()


@check
def greedy(model: PreTrainedModel) -> None:
    """`generate` from a padded batch is what each row's prompt gives alone, cached or not, in pieces or not."""
    rows = unequal(model)
    ids, mask = padded(rows, "left")
    want = [by_hand(model, tokens, 6) for tokens in rows]
    for more in ({}, {"use_cache": False}, {"prefill_chunk_size": 4}):
        assert _generated(model, ids, mask, **more) == want, more
    assert [_generated(model, tokens[None], None)[0] for tokens in rows] == want


@check
def beams_and_samples(model: PreTrainedModel) -> None:
    """Beam search and sampling draw the same tokens with a cache as without."""
    ids, mask = padded(unequal(model), "left")
    for more in ({"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}, {"do_sample": True, "top_k": 20}):
        drawn = []
        for use_cache in (True, False):
            torch.manual_seed(3)
            drawn.append(_generated(model, ids, mask, **more, use_cache=use_cache))
        assert drawn[0] == drawn[1], more


@check
def going_on(model: PreTrainedModel) -> None:
    """A second turn on the cache of the first is what both turns are in one."""
    ids = torch.stack(sequences(model))[:, :9]
    first = model.generate(
        input_ids=ids, max_new_tokens=3, do_sample=False, pad_token_id=0, eos_token_id=-1, return_dict_in_generate=True
    )
    both = torch.cat([first.sequences, ids[:, :4]], dim=1)
    cached = _generated(model, both, torch.ones_like(both), past_key_values=first.past_key_values)
    assert cached == _generated(model, both, torch.ones_like(both))


def _generated(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, **more: Any) -> list[list[int]]:
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": -1, **more}
    out: Tensor = model.generate(input_ids=ids, attention_mask=mask, **settings)
    return out[:, ids.shape[1] :].tolist()


@check
def guessing_ahead(model: PreTrainedModel) -> None:
    """Guessed tokens are taken back where attention is all there is; a recurrent state cannot, and says so."""
    ids, other = torch.stack(sequences(model))[:1, :6].repeat(1, 2), component("gpt2", "other").model
    recurrent = any(
        getattr(stage, "segment", None) is not None and stage.segment.recurrent for stage in model.model.stages
    )
    if not recurrent:
        for more in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": other}):
            assert _generated(model, ids, None, **more) == _generated(model, ids, None), more
        assert _generated(other, ids, None, assistant_model=model) == _generated(other, ids, None)
        refused(ValueError, "cannot take 13 back", model(input_ids=ids, use_cache=True).past_key_values.crop, -13)
        return
    prompt = {"input_ids": ids, "max_new_tokens": 6, "pad_token_id": 0}
    refused(ValueError, "stateful", model.generate, **prompt, prompt_lookup_num_tokens=3)
    refused(ValueError, "stateful", model.generate, **prompt, assistant_model=other)
    refused(ValueError, "recurrent stages cannot take tokens back", other.generate, **prompt, assistant_model=model)
    cache = model(input_ids=ids, use_cache=True).past_key_values
    refused(ValueError, "recurrent stages cannot take tokens back", cache.crop, -1)


@check
def what_cannot_be(model: PreTrainedModel) -> None:
    """Refused in a line that says what to do, never silently wrong."""
    from transformers import DynamicCache

    ids, mask = padded(unequal(model), "right")
    prompt = {"input_ids": ids, "max_new_tokens": 2, "pad_token_id": 0}
    refused(ValueError, "pad on the left", model.generate, **prompt, attention_mask=mask)
    refused(ValueError, "cache_implementation", model.generate, **prompt, cache_implementation="static")
    refused(ValueError, "HybridCache", model.generate, **prompt, past_key_values=DynamicCache())
    refused(ValueError, "HybridCache", model, input_ids=ids, past_key_values=DynamicCache())
    refused(ValueError, "input_ids", model, inputs_embeds=torch.zeros(1, 2, 3))
    refused(ValueError, "attention_mask", model, input_ids=ids, attention_mask=mask[:, :-1])
    refused(ValueError, "attention_mask", model, input_ids=ids, attention_mask=mask[:, None, None])
    ids, mask = padded(unequal(model), "left")
    cache = model(input_ids=ids, attention_mask=mask, use_cache=True).past_key_values
    refused(ValueError, "padding", model, input_ids=ids[:, :1], past_key_values=cache)
    for table in model.model.positions.values():
        beyond = torch.zeros(1, table.num_embeddings + 1, dtype=torch.long)
        refused(ValueError, f"{table.num_embeddings} positions", model, input_ids=beyond)


def refused(kind: type[Exception], words: str, call: Callable[..., object], *given: Any, **named: Any) -> None:
    """Fail unless the call is refused with one line that has the words in it."""
    with pytest.raises(kind, match=re.escape(words)) as told:
        call(*given, **named)
    assert "\n" not in str(told.value)


@check
def hidden_states_are_the_stream_at_every_cut(model: PreTrainedModel) -> None:
    """Last what the head reads; with a cache as without; and what cannot be told is refused."""
    ids_BL = torch.stack(sequences(model))
    out = model(input_ids=ids_BL, output_hidden_states=True)
    states = out.hidden_states
    assert len(states) == len(model.config.path) + 1
    torch.testing.assert_close(model.get_output_embeddings()(states[-1]), out.logits)
    first = model(input_ids=ids_BL[:, :9], use_cache=True)
    assert first.hidden_states is None
    rest = model(input_ids=ids_BL[:, 9:], past_key_values=first.past_key_values, output_hidden_states=True)
    for whole, part in zip(states, rest.hidden_states, strict=True):
        torch.testing.assert_close(part, whole[:, 9:], **TOLERANCE)
    plain = model(input_ids=ids_BL, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[0], out.logits)
    told = model.generate(ids_BL, max_new_tokens=2, output_hidden_states=True, return_dict_in_generate=True)
    assert [step[-1].shape[1] for step in told.hidden_states] == [LENGTH, 1]
    with pytest.raises(ValueError, match="does not support output_attentions"):
        model(input_ids=ids_BL, output_attentions=True)
