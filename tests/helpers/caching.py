"""Law 4 as a contract: `checks` has all checks of a hybrid with a cache, for hybrids of any layout.

The reference of each check is one sequence alone, in one chunk and without a cache, so that no other row, document,
chunk or padding has an influence.
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
"""Padding of the rows of a batch: none, some, and more than two chunks."""

Check = Callable[[PreTrainedModel], None]
checks: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Add a check to the contract."""
    checks[function.__name__] = function
    return function


def sequences(model: PreTrainedModel, lengths: tuple[int, ...] = (LENGTH,) * len(PADS)) -> list[Tensor]:
    """Random sequences of ids, each (L,)."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, model.config.vocab_size, (length,), generator=generator) for length in lengths]


def alone(model: PreTrainedModel, ids_L: Tensor) -> Tensor:
    """Logits (L, V) of one sequence by itself: the reference."""
    out: Tensor = model(input_ids=ids_L[None]).logits[0]
    return out


def padded(rows: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, L) of sequences of different lengths, with random ids at the padding."""
    longest = max(map(len, rows))
    ids = torch.randint(3, 9, (len(rows), longest), generator=torch.Generator().manual_seed(7))
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, tokens in enumerate(rows):
        positions = slice(longest - len(tokens), longest) if side == "left" else slice(0, len(tokens))
        ids[row, positions], mask[row, positions] = tokens, 1
    return ids, mask


def unequal(model: PreTrainedModel) -> list[Tensor]:
    """Sequences whose padding to the same length is `PADS`."""
    return sequences(model, tuple(LENGTH - pad for pad in PADS))


def in_chunks(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, chunks: list[int]) -> Tensor:
    """Logits (B, L, V) from consecutive calls with a cache."""
    logits, cache, stop = [], None, 0
    for chunk in ids.split(chunks, dim=1):
        stop += chunk.shape[1]
        chunk_mask = None if mask is None else mask[:, :stop]
        out = model(input_ids=chunk, attention_mask=chunk_mask, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits)
    assert cache.get_seq_length() == ids.shape[1]
    return torch.cat(logits, dim=1)


def same(logits: Tensor, mask: Tensor, rows: list[Tensor], model: PreTrainedModel) -> None:
    """Fail unless the tokens of each row have the logits of the sequence alone."""
    for row, tokens in enumerate(rows):
        torch.testing.assert_close(logits[row, mask[row].bool()], alone(model, tokens), **TOLERANCE)


@check
def chunks_of_any_size(model: PreTrainedModel) -> None:
    """One row and several, in chunks of any size."""
    rows = sequences(model)
    for count in (1, len(rows)):
        ids, mask = padded(rows[:count], "left")
        same(model(input_ids=ids).logits, mask, rows[:count], model)
        for chunks in CHUNKS.values():
            same(in_chunks(model, ids, None, chunks), mask, rows[:count], model)


@check
def padding_on_the_left(model: PreTrainedModel) -> None:
    """In one chunk and several, with chunks of padding alone, and with batches where every row is padded."""
    rows = unequal(model)
    for some in (rows, rows[1:2] + rows[2:]):
        ids, mask = padded(some, "left")
        same(model(input_ids=ids, attention_mask=mask).logits, mask, some, model)
        for chunks in ([11, 3], [2] * 9, [1] * LENGTH):
            same(in_chunks(model, ids, mask, _fitting(chunks, ids.shape[1])), mask, some, model)
    ids, mask = padded([*rows[2:]], "left")
    ids, mask = torch.nn.functional.pad(ids, (4, 0), value=5), torch.nn.functional.pad(mask, (4, 0))
    same(model(input_ids=ids, attention_mask=mask).logits, mask, rows[2:], model)  # a single row, padded
    same(in_chunks(model, ids, mask, _fitting([6, 4], ids.shape[1])), mask, rows[2:], model)


def _fitting(chunks: list[int], length: int) -> list[int]:
    """The first of `chunks`, and a last one, with the sum `length`."""
    fitted: list[int] = []
    for chunk in chunks:
        fitted.append(min(chunk, length - sum(fitted)))
    return [chunk for chunk in [*fitted, length - sum(fitted)] if chunk]


@check
def padding_on_the_right(model: PreTrainedModel) -> None:
    """Without a cache no token sees it."""
    rows = unequal(model)
    ids, mask = padded(rows, "right")
    same(model(input_ids=ids, attention_mask=mask).logits, mask, rows, model)
    same(model(input_ids=ids).logits, mask, rows, model)


@check
def packed_documents(model: PreTrainedModel) -> None:
    """A document behind others equals the document alone, with all marks of documents, forward and backward."""
    rows = sequences(model, (5, 1, 9, 2, 1, LENGTH))
    ids, positions = torch.cat(rows)[None], torch.cat([torch.arange(len(row)) for row in rows])[None]
    number = torch.cat([torch.full((len(row),), index) for index, row in enumerate(rows)])[None]
    ends = torch.tensor([0, *(len(row) for row in rows)]).cumsum(0)
    expected = torch.cat([alone(model, row) for row in rows])
    for marks in ({"position_ids": positions}, {"seq_idx": number}, {"cu_seq_lens_q": ends, "cu_seq_lens_k": ends}):
        torch.testing.assert_close(model(input_ids=ids, **marks).logits[0], expected, **TOLERANCE)
        refused(ValueError, "packed documents have no cache", model, input_ids=ids, use_cache=True, **marks)
    with torch.enable_grad():
        packed = _gradients(model, [model(input_ids=ids, position_ids=positions, labels=ids).loss * (len(ids[0]) - 6)])
        apart = _gradients(model, [model(input_ids=row[None], labels=row[None]).loss * (len(row) - 1) for row in rows])
    for name, gradient in apart.items():
        torch.testing.assert_close(packed[name], gradient, atol=3e-5, rtol=1e-4)


def _gradients(model: PreTrainedModel, losses: list[Tensor]) -> dict[str, Tensor]:
    """Gradients of a sum of losses by the name of the parameter; losses without labels are left out."""
    model.zero_grad()
    torch.stack([loss for loss in losses if loss.isfinite()]).sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return gradients


@check
def padding_in_the_middle(model: PreTrainedModel) -> None:
    """Right padding with more tokens after it has no influence, or is refused."""
    rows, more_rows = unequal(model), sequences(model, (4,) * len(PADS))
    ids, mask = padded(rows, "right")
    ids, mask = torch.cat([ids, torch.stack(more_rows)], 1), torch.nn.functional.pad(mask, (0, 4), value=1)
    whole = [torch.cat(both) for both in zip(rows, more_rows, strict=True)]
    if any(getattr(stage, "segment", None) is not None and stage.segment.windowed for stage in model.model.stages):
        for options in ({}, {"use_cache": True}):
            refused(ValueError, "padding between tokens", model, input_ids=ids, attention_mask=mask, **options)
        return
    same(model(input_ids=ids, attention_mask=mask).logits, mask, whole, model)
    for chunks in ([LENGTH, 4], [LENGTH, 1, 1, 1, 1], [9, 8, 2, 2], [19, 2]):
        same(in_chunks(model, ids, mask, chunks), mask, whole, model)


@check
def ids_at_padding(model: PreTrainedModel) -> None:
    """Other ids at the padding leave the logits of all tokens unchanged, to the bit."""
    ids, mask = padded(unequal(model), "left")
    changed = torch.where(mask.bool(), ids, (ids + 20) % model.config.vocab_size)
    assert not torch.equal(ids, changed)
    first, second = (model(input_ids=x, attention_mask=mask).logits[mask.bool()] for x in (ids, changed))
    assert torch.equal(first, second)


@check
def rows_are_reordered(model: PreTrainedModel) -> None:
    """The rows of a cache are reordered, as in beam search, and repeated."""
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
    """Replaces the model in `same` where the logits are those of the last tokens of each row."""

    def __init__(self, model: PreTrainedModel, rows: list[Tensor]) -> None:
        self.model, self.rows = model, {tuple(row[9:].tolist()): row for row in rows}

    def __call__(self, input_ids: Tensor) -> Any:
        out = self.model(input_ids=self.rows[tuple(input_ids[0].tolist())][None])
        out.logits = out.logits[:, 9:]
        return out


def _tails(rows: list[Tensor]) -> list[Tensor]:
    return [row[9:] for row in rows]


@check
def resetting(model: PreTrainedModel) -> None:
    """A cache that was reset is like a new one."""
    rows = sequences(model)
    ids, mask = padded(rows, "left")
    cache = model(input_ids=ids.flip(1), use_cache=True).past_key_values
    cache.reset()
    assert cache.get_seq_length() == 0
    same(model(input_ids=ids, past_key_values=cache).logits, mask, rows, model)


def decode_greedily(model: PreTrainedModel, ids_L: Tensor, count: int) -> list[int]:
    """The most likely next tokens, each from the whole sequence without a cache."""
    for _ in range(count):
        ids_L = torch.cat([ids_L, alone(model, ids_L)[-1:].argmax(-1)])
    return ids_L[-count:].tolist()


@check
def greedy(model: PreTrainedModel) -> None:
    """`generate` from a padded batch equals that of each prompt alone, with and without cache and chunked prefill."""
    rows = unequal(model)
    ids, mask = padded(rows, "left")
    expected = [decode_greedily(model, tokens, 6) for tokens in rows]
    for options in ({}, {"use_cache": False}, {"prefill_chunk_size": 4}):
        assert _generated(model, ids, mask, **options) == expected, options
    assert [_generated(model, tokens[None], None)[0] for tokens in rows] == expected


@check
def embeddings_in_place_of_ids(model: PreTrainedModel) -> None:
    """Rows of the table give the logits of their ids, with and without a cache, and the same tokens."""
    rows = unequal(model)
    ids, mask = padded(rows, "left")
    table = model.get_input_embeddings()
    same(model(inputs_embeds=table(ids), attention_mask=mask).logits, mask, rows, model)
    first = model(inputs_embeds=table(ids[:, :9]), attention_mask=mask[:, :9], use_cache=True)
    rest = model(inputs_embeds=table(ids[:, 9:]), attention_mask=mask, past_key_values=first.past_key_values)
    same(torch.cat([first.logits, rest.logits], 1), mask, rows, model)
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": -1}
    tokens = model.generate(inputs_embeds=table(ids), attention_mask=mask, **options)
    assert tokens.tolist() == _generated(model, ids, mask, max_new_tokens=4)


@check
def beams_and_samples(model: PreTrainedModel) -> None:
    """Beam search and sampling give the same tokens with a cache as without."""
    ids, mask = padded(unequal(model), "left")
    for options in ({"num_beams": 3}, {"num_beams": 2, "num_return_sequences": 2}, {"do_sample": True, "top_k": 20}):
        generated = []
        for use_cache in (True, False):
            torch.manual_seed(3)
            generated.append(_generated(model, ids, mask, **options, use_cache=use_cache))
        assert generated[0] == generated[1], options


@check
def a_second_turn(model: PreTrainedModel) -> None:
    """A second call of `generate` with the cache of the first equals one call with both prompts."""
    ids = torch.stack(sequences(model))[:, :9]
    first = model.generate(
        input_ids=ids, max_new_tokens=3, do_sample=False, pad_token_id=0, eos_token_id=-1, return_dict_in_generate=True
    )
    both = torch.cat([first.sequences, ids[:, :4]], dim=1)
    cached = _generated(model, both, torch.ones_like(both), past_key_values=first.past_key_values)
    assert cached == _generated(model, both, torch.ones_like(both))


def _generated(model: PreTrainedModel, ids: Tensor, mask: Tensor | None, **options: Any) -> list[list[int]]:
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": -1, **options}
    out: Tensor = model.generate(input_ids=ids, attention_mask=mask, **settings)
    return out[:, ids.shape[1] :].tolist()


@check
def assisted_generation(model: PreTrainedModel) -> None:
    """Rejected tokens are removed if no stage has a state; with a recurrent stage it is refused."""
    ids, assistant = torch.stack(sequences(model))[:1, :6].repeat(1, 2), component("gpt2", "other").model
    if not model.model.stateful:
        for options in ({"prompt_lookup_num_tokens": 3}, {"assistant_model": assistant}):
            assert _generated(model, ids, None, **options) == _generated(model, ids, None), options
        assert _generated(assistant, ids, None, assistant_model=model) == _generated(assistant, ids, None)
        refused(ValueError, "cannot take 13 back", model(input_ids=ids, use_cache=True).past_key_values.crop, -13)
        return
    prompt = {"input_ids": ids, "max_new_tokens": 6, "pad_token_id": 0}
    refused(ValueError, "stateful", model.generate, **prompt, prompt_lookup_num_tokens=3)
    refused(ValueError, "stateful", model.generate, **prompt, assistant_model=assistant)
    refused(ValueError, "recurrent stages cannot take tokens back", assistant.generate, **prompt, assistant_model=model)
    cache = model(input_ids=ids, use_cache=True).past_key_values
    refused(ValueError, "recurrent stages cannot take tokens back", cache.crop, -1)


@check
def unsupported_inputs(model: PreTrainedModel) -> None:
    """They are refused in one line that says what to do."""
    from transformers import DynamicCache

    ids, mask = padded(unequal(model), "right")
    prompt = {"input_ids": ids, "max_new_tokens": 2, "pad_token_id": 0}
    refused(ValueError, "pad on the left", model.generate, **prompt, attention_mask=mask)
    refused(ValueError, "cache_implementation", model.generate, **prompt, cache_implementation="static")
    refused(ValueError, "HybridCache", model.generate, **prompt, past_key_values=DynamicCache())
    refused(ValueError, "HybridCache", model, input_ids=ids, past_key_values=DynamicCache())
    refused(ValueError, "pass one of them", model)
    refused(ValueError, "pass one of them", model, input_ids=ids, inputs_embeds=torch.zeros(1, 2, 3))
    refused(ValueError, "inputs_embeds must be", model, inputs_embeds=torch.zeros(1, 2, 3))
    refused(ValueError, "attention_mask", model, input_ids=ids, attention_mask=mask[:, :-1])
    refused(ValueError, "attention_mask", model, input_ids=ids, attention_mask=mask[:, None, None])
    ids, mask = padded(unequal(model), "left")
    cache = model(input_ids=ids, attention_mask=mask, use_cache=True).past_key_values
    refused(ValueError, "padding", model, input_ids=ids[:, :1], past_key_values=cache)
    for table in model.model.positions.values():
        beyond = torch.zeros(1, table.num_embeddings + 1, dtype=torch.long)
        refused(ValueError, f"{table.num_embeddings} positions", model, input_ids=beyond)


def refused(kind: type[Exception], message: str, call: Callable[..., object], *args: Any, **kwargs: Any) -> None:
    """Fail unless the call raises an exception with one line that contains the message."""
    with pytest.raises(kind, match=re.escape(message)) as raised:
        call(*args, **kwargs)
    assert "\n" not in str(raised.value)


@check
def hidden_states_are_the_stream_before_every_stage(model: PreTrainedModel) -> None:
    """The last one is what the head reads, with a cache as without; attention weights are refused."""
    ids_BL = torch.stack(sequences(model))
    out = model(input_ids=ids_BL, output_hidden_states=True)
    states = out.hidden_states
    assert len(states) == len(model.config.path) + 1
    torch.testing.assert_close(model.logit_scale(model.get_output_embeddings()(states[-1])), out.logits)
    first = model(input_ids=ids_BL[:, :9], use_cache=True)
    assert first.hidden_states is None
    rest = model(input_ids=ids_BL[:, 9:], past_key_values=first.past_key_values, output_hidden_states=True)
    for expected, state in zip(states, rest.hidden_states, strict=True):
        torch.testing.assert_close(state, expected[:, 9:], **TOLERANCE)
    plain = model(input_ids=ids_BL, return_dict=False)
    assert isinstance(plain, tuple)
    assert torch.equal(plain[0], out.logits)
    generated = model.generate(ids_BL, max_new_tokens=2, output_hidden_states=True, return_dict_in_generate=True)
    assert [step[-1].shape[1] for step in generated.hidden_states] == [LENGTH, 1]
    with pytest.raises(ValueError, match="does not support output_attentions"):
        model(input_ids=ids_BL, output_attentions=True)
