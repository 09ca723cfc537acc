"""What is noted on a batch equals what its tensors say."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from manticore.modeling.masking import build_position_ids, has_interior_padding, has_padding, needed_mask, noted_padding
from manticore.tasks.dataset import IGNORE
from manticore.training.batch_notes import copy_notes, note, num_tokens, scored_labels
from manticore.training.batching import micro_batches

MASKS = st.integers(1, 4).flatmap(
    lambda length: st.lists(st.lists(st.booleans(), min_size=length, max_size=length), min_size=2, max_size=6)
)


@given(MASKS, st.booleans(), st.integers(0, 3))
def test_notes_equal_the_values(rows: list[list[bool]], per_token: bool, size: int) -> None:
    pairs = rows[: len(rows) // 2 * 2]
    mask = torch.tensor(pairs).long()
    labels = mask.masked_fill(mask == 0, IGNORE) if per_token else torch.arange(len(pairs) // 2)
    batch = {"input_ids": mask, "attention_mask": mask, "labels": labels}
    plain = {name: value.clone() for name, value in batch.items()}
    note(batch)
    moved = {name: value.clone() for name, value in batch.items()}  # as a transfer makes new tensors
    copy_notes(batch, moved)
    noted, read = list(micro_batches(moved, size)), list(micro_batches(plain, size))
    assert [share for _, share in noted] == [share for _, share in read]
    for (part, _), (expected, _) in zip(noted, read, strict=True):
        tokens, own = part["attention_mask"], expected["attention_mask"]
        assert noted_padding(tokens) is not None
        assert noted_padding(own) is None
        assert num_tokens(tokens) == num_tokens(own)
        assert scored_labels(part["labels"]) == scored_labels(expected["labels"])
        assert (needed_mask(tokens) is None) == (needed_mask(own) is None)
        assert has_padding(tokens, 0) == has_padding(own, 0)
        assert has_interior_padding(tokens, 0, False) == has_interior_padding(own, 0, False)


def test_positions_without_a_mask_are_noted_as_consecutive() -> None:
    assert build_position_ids(None, 0, 3, torch.device("cpu")).noted_consecutive  # type: ignore[attr-defined]
