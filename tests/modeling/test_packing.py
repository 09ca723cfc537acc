"""Packed documents: how they are marked, and what is refused. Law 4 compares their logits and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DataCollatorWithFlattening, PreTrainedModel

from manticore.modeling import backbone
from manticore.modeling.packing import document_starts, merge_documents, split_documents
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import VOCAB, supernet

PATH = ["base", "donor", "base"]
IDS = torch.arange(3, 11)[None]


def starts(**marks: object) -> list[int] | None:
    """Indices of the first tokens of documents in a row of 8 tokens."""
    named = {name: marks.pop(name, None) for name in ("attention_mask", "position_ids")}
    found = document_starts(IDS, *named.values(), bool(marks.pop("cached", False)), marks)
    return None if found is None else found[0].nonzero().flatten().tolist()


def row(*values: int) -> Tensor:
    return torch.tensor([values])


def test_documents_start_where_positions_do() -> None:
    ones = torch.ones_like(IDS)
    assert starts() is None
    assert starts(position_ids=row(0, 1, 2, 3, 4, 5, 6, 7)) is None
    assert starts(position_ids=row(0, 1, 2, 0, 1, 0, 0, 1)) == [3, 5, 6]
    assert starts(position_ids=row(2, 3, 4, 2, 3, 2, 2, 3), attention_mask=ones) == [3, 5, 6]
    assert starts(position_ids=row(0, 1, 2, 5, 6, 7, 8, 9)) == [3], "as in transformers' attention"
    assert starts(position_ids=row(0, 1, 2, 5, 6, 7, 8, 9), attention_mask=ones) is None
    assert starts(position_ids=row(0, 1, 2, 5, 6, 7, 8, 9), cached=True) is None


def test_documents_start_where_their_number_changes() -> None:
    assert starts(seq_idx=row(0, 0, 0, 1, 1, 1, 1, 2)) == [3, 7]
    assert starts(seq_idx=row(3, 3, 3, 3, 3, 3, 3, 3)) is None
    ends = torch.tensor([0, 3, 3, 7, 8], dtype=torch.int32)
    assert starts(cu_seq_lens_q=ends, cu_seq_lens_k=ends, max_length_q=4, max_length_k=4) == [3, 7]
    assert starts(cu_seq_lens_q=ends, seq_idx=row(0, 0, 0, 0, 0, 1, 1, 1)) == [3, 5, 7]


def test_padding_starts_no_document() -> None:
    mask = row(0, 0, 1, 1, 0, 1, 1, 0)
    assert starts(attention_mask=mask, position_ids=row(1, 1, 0, 1, 1, 2, 3, 1)) is None
    assert starts(attention_mask=mask, position_ids=row(1, 1, 0, 1, 1, 0, 1, 1)) == [5]
    assert starts(attention_mask=mask, seq_idx=row(-1, -1, 0, 0, -1, 1, 1, -1)) == [5]
    assert starts(attention_mask=mask, cu_seq_lens_q=torch.tensor([0, 4, 8])) == [5]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        ({"seq_idx": torch.zeros(8)}, r"seq_idx must have the shape \(1, 8\), not \(8,\)"),
        ({"cu_seq_lens_q": torch.tensor([0, 4, 9])}, "must increase from 0 to 8"),
        ({"cu_seq_lens_q": torch.tensor([0, 5, 4, 8])}, "must increase from 0 to 8"),
        ({"cu_seq_lens_q": torch.tensor([])}, "must increase from 0 to 8"),
        ({"cu_seq_lens_k": torch.tensor([0, 8])}, "cu_seq_lens_k must be equal to cu_seq_lens_q"),
        ({"position_ids": row(0, 1, 2, 0, 1, 0, 0, 1), "cached": True}, "packed documents have no cache"),
    ],
)
def test_marks_that_do_not_fit_are_refused(marks: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        starts(**marks)


def test_documents_of_similar_length_run_together() -> None:
    lengths = [3, 20, 1, 11, 2, 10]
    position_ids = torch.cat([torch.arange(length) for length in lengths])[None]
    found = document_starts(torch.zeros_like(position_ids), None, position_ids, False, {})
    assert found is not None
    groups = split_documents(found, None, position_ids)
    assert [group.mask_NM.sum(1).tolist() for group in groups] == [[20, 11, 10], [3, 2], [1]]
    for group in groups:
        assert torch.equal(group.position_ids_NM, torch.arange(group.mask_NM.shape[1]).expand_as(group.mask_NM))
    values = torch.randn(*position_ids.shape, 2)
    parts = [values.flatten(0, 1)[group.index_NM] for group in groups]
    assert torch.equal(merge_documents(groups, parts, position_ids.shape), values)


def hybrid(head_spec: HeadSpec | None = None, base: str = "gpt_neo", donor: str = "mamba") -> PreTrainedModel:
    labels = {} if head_spec is None else {"num_labels": 3}
    return discretize(supernet(base, donor, head_spec), PATH, **labels)


@pytest.mark.parametrize("kind", ["lm", "tokens"])
def test_documents_are_searched_for_once(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    searches: list[int] = []

    def count(*args: Any) -> Tensor | None:
        searches.append(1)
        return document_starts(*args)

    monkeypatch.setattr(backbone, "document_starts", count)
    model = hybrid(None if kind == "lm" else HeadSpec(kind, VOCAB, 3))
    for position_ids in (torch.arange(8)[None], row(0, 1, 2, 0, 1, 0, 0, 1)):
        model(input_ids=IDS, position_ids=position_ids, labels=IDS % 3).loss.backward()
    assert len(searches) == 2


@torch.no_grad()
def test_two_rows_with_padding_in_them() -> None:
    model = hybrid()
    ids = torch.randint(3, VOCAB, (2, 12))
    mask = torch.tensor([[0] * 2 + [1] * 10, [1] * 4 + [0] + [1] * 5 + [0] * 2])
    positions = torch.tensor([[0, 0, *range(4), *range(6)], [*range(4), 0, *range(5), 5, 6]])
    out = model(input_ids=ids, attention_mask=mask, position_ids=positions, output_hidden_states=True)
    embeds = model.get_input_embeddings()(ids)
    embedded = model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions).logits
    for index, begin, end in ((0, 2, 6), (0, 6, 12), (1, 0, 4), (1, 5, 10)):
        expected = model(input_ids=ids[index : index + 1, begin:end], output_hidden_states=True)
        torch.testing.assert_close(out.logits[index, begin:end], expected.logits[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(embedded[index, begin:end], expected.logits[0], atol=1e-5, rtol=0)
        for state, alone in zip(out.hidden_states, expected.hidden_states, strict=True):
            torch.testing.assert_close(state[index, begin:end], alone[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("marks", [{}, {"return_seq_idx": True}, {"return_flash_attn_kwargs": True}])
@torch.no_grad()
def test_what_the_collator_of_transformers_returns(marks: dict[str, bool]) -> None:
    model = hybrid(base="mamba2", donor="llama")
    rows = [torch.randint(3, VOCAB, (length,)) for length in (7, 4, 9)]
    options = {"return_position_ids": not marks, **marks}
    batch = DataCollatorWithFlattening(return_tensors="pt", **options)([{"input_ids": ids} for ids in rows])
    losses = [model(input_ids=ids[None], labels=ids[None]).loss * (len(ids) - 1) for ids in rows]
    expected = torch.stack(losses).sum() / (20 - 3)
    torch.testing.assert_close(model(**batch).loss, expected, atol=1e-5, rtol=0)
    batch["labels"] = batch["input_ids"]  # a collator that does not leave out the first tokens
    torch.testing.assert_close(model(**batch).loss, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_heads_read_every_token_or_refuse() -> None:
    ids, positions = torch.randint(3, VOCAB, (1, 9)), row(0, 1, 2, 3, 0, 1, 2, 3, 4)
    tokens = hybrid(HeadSpec("tokens", VOCAB, 3))
    packed = tokens(input_ids=ids, position_ids=positions).logits
    torch.testing.assert_close(packed[:, 4:], tokens(input_ids=ids[:, 4:]).logits, atol=1e-5, rtol=0)
    for kind in ("classification", "autoencoder"):
        model = hybrid(HeadSpec(kind, VOCAB, 3))
        with pytest.raises(ValueError, match="pass one document in each row"):
            model(input_ids=ids, position_ids=positions)
        mask = row(1, 1, 1, 1, 1, 0, 0, 0, 0)  # padding has positions that start again, and is no document
        padded = model(input_ids=ids, attention_mask=mask, position_ids=row(0, 1, 2, 3, 4, 0, 0, 0, 0)).logits
        alone = model(input_ids=ids[:, :5]).logits
        torch.testing.assert_close(padded[:, :5] if kind == "autoencoder" else padded, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["lm", "classification", "tokens"])
@torch.no_grad()
def test_arguments_that_a_hybrid_does_not_have_are_refused(kind: str) -> None:
    model = hybrid(None if kind == "lm" else HeadSpec(kind, VOCAB, 3))
    ids = torch.randint(3, VOCAB, (2, 5))
    expected = model(input_ids=ids).logits
    unused = {"inputs_embeds": None, "output_attentions": False, "token_type_ids": torch.zeros_like(ids)}
    assert torch.equal(model(input_ids=ids, return_dict=True, **unused).logits, expected)
    for name, value in {"cu_seqlens": ids[0], "token_type_ids": ids, "output_attentions": True, "labls": ids}.items():
        with pytest.raises(ValueError, match=f"a hybrid does not support {name}"):
            model(input_ids=ids, **{name: value})


@torch.no_grad()
def test_arguments_of_the_loss() -> None:
    model, ids = hybrid(), torch.randint(3, VOCAB, (2, 7))
    mean = model(input_ids=ids, labels=ids).loss
    torch.testing.assert_close(model(input_ids=ids, labels=ids, num_items_in_batch=3).loss, mean * 12 / 3)
    shifted = torch.nn.functional.pad(ids[:, 1:], (0, 1), value=-1)
    torch.testing.assert_close(model(input_ids=ids, shift_labels=shifted, ignore_index=-1).loss, mean)
