"""Batches are a function of the seed and the step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore.tasks.dataset import IGNORE
from manticore.training.batching import BatchSampler, StepDataLoader, micro_batches
from tests.helpers.search_module import batch, collate, examples


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def rows(batch: dict[str, torch.Tensor]) -> list[tuple[int, ...]]:
    return [tuple(row[row != 0].tolist()) for row in batch["input_ids"]]


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 5), st.lists(st.integers(0, 40), max_size=6))
def test_a_batch_depends_on_seed_and_step_only(count: int, size: int, seed: int, earlier_steps: list[int]) -> None:
    used, fresh = (BatchSampler(examples(count), size, seed, collate) for _ in range(2))
    for step in earlier_steps:
        used.batch(step)
    assert same(used.batch(7), fresh.batch(7))
    assert len(used.batch(7)["labels"]) == min(size, count)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 200), st.integers(1, 9))
def test_an_epoch_uses_each_example_once(count: int, size: int) -> None:
    sampler = BatchSampler(examples(count), size, 3, collate)
    everything = Counter(tuple(ids.tolist()) for ids, _ in examples(count))
    for epoch in (0, 2):
        steps = range(epoch * sampler.per_epoch, (epoch + 1) * sampler.per_epoch)
        seen = Counter(row for step in steps for row in rows(sampler.batch(step)))
        assert seen <= everything
        assert seen.total() == sampler.per_epoch * sampler.batch_size > count - sampler.batch_size


def test_epochs_and_seeds_differ() -> None:
    sampler = BatchSampler(examples(64), 8, 0, collate)
    epochs = [[rows(sampler.batch(8 * epoch + step)) for step in range(8)] for epoch in (0, 1)]
    assert epochs[0] != epochs[1]
    assert rows(BatchSampler(examples(64), 8, 1, collate).batch(0)) != epochs[0][0]


def test_sequences_of_similar_length_share_a_batch() -> None:
    sampler = BatchSampler(examples(256), 8, 0, collate)
    spreads = [int(sampler.batch(step)["attention_mask"].sum(1).unique().numel()) for step in range(sampler.per_epoch)]
    assert sum(spreads) / len(spreads) < 2.5  # of 7 lengths


def test_a_restored_loader_continues_at_its_step() -> None:
    def loader() -> StepDataLoader:
        return StepDataLoader(
            {"a": BatchSampler(examples(20), 4, 0, collate), "b": BatchSampler(examples(9, 1), 4, 1, collate)}, 7
        )

    whole = list(loader())
    first, second = loader(), loader()
    iterator = iter(first)
    for _ in range(3):
        next(iterator)
    second.load_state_dict(first.state_dict())
    rest = list(second)
    assert len(whole) == len(first) == 7
    assert len(rest) == 4
    assert all(
        same(expected[name], batches[name]) for expected, batches in zip(whole[3:], rest, strict=True) for name in "ab"
    )


def test_micro_batches_split_the_batch() -> None:
    full_batch = batch(count=7)
    parts = list(micro_batches(full_batch, 3))
    assert [len(part["labels"]) for part, _ in parts] == [3, 3, 1]
    assert sum(share for _, share in parts) == 1
    assert torch.equal(torch.cat([part["input_ids"] for part, _ in parts]), full_batch["input_ids"])
    ((whole, share),) = micro_batches(full_batch, 0)
    assert share == 1
    assert same(whole, full_batch)


def test_micro_batches_of_pairs_have_both_sequences() -> None:
    pairs = {"input_ids": torch.arange(10)[:, None], "labels": torch.arange(5)}  # example n has the rows n and n + 5
    parts = list(micro_batches(pairs, 2))
    assert [part["input_ids"].flatten().tolist() for part, _ in parts] == [[0, 1, 5, 6], [2, 3, 7, 8], [4, 9]]
    assert [part["labels"].tolist() for part, _ in parts] == [[0, 1], [2, 3], [4]]
    assert [share for _, share in parts] == [0.4, 0.4, 0.2]


def test_micro_batches_are_weighted_by_their_scored_labels() -> None:
    labels = torch.tensor([[1, 2, IGNORE], [IGNORE, 4, IGNORE], [IGNORE] * 3, [1, 1, 1]])
    parts = list(micro_batches({"input_ids": labels, "labels": labels}, 1))
    assert [share for _, share in parts] == [2 / 6, 1 / 6, 3 / 6]  # without the one that has no scored label
    assert not list(micro_batches({"labels": labels[2:3]}, 0))
