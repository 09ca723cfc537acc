"""A user's own task in a few lines."""

from __future__ import annotations

import random

import pytest

from manticore.errors import ManticoreError
from manticore.tasks import SampledTask, Task, TaskOptions, Vocabulary, load_task, tasks


@tasks.register("parity")
def parity(options: TaskOptions) -> Task:
    def draw(rng: random.Random) -> tuple[list[str], int]:
        bits = rng.choices("01", k=rng.randint(4, 16))
        return bits, bits.count("1") % 2

    return SampledTask("parity", Vocabulary.of("01"), ("even", "odd"), 17, draw, options)


def test_a_registered_task_has_four_disjoint_splits() -> None:
    task = load_task(TaskOptions(name="parity", train=201, val=30, test=40))
    splits = task.splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [101, 100, 30, 40]
    ids, label = splits.test[0]
    tokens = task.vocabulary.decode(ids)
    assert tokens.pop() == "<eos>"
    assert tokens.count("1") % 2 == label
    again = load_task(TaskOptions(name="parity", train=201, val=30, test=40)).splits()
    assert again.train.fingerprints() == splits.train.fingerprints()
    assert 0.2 < task.heuristic_baselines()["majority class"] < 0.8


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ((["0"], 0), "too few distinct examples: found 1"),
        ((["0"] * 17, 0), "drew 18 tokens; its max_length is 17"),
        ((["0"], 2), "drew label 2; it has 2 classes"),
    ],
)
def test_invalid_draws_are_reported(drawn: tuple[list[str], int], message: str) -> None:
    task = SampledTask("odd", Vocabulary.of("01"), ("even", "odd"), 17, lambda _: drawn, TaskOptions())
    with pytest.raises(ManticoreError, match=message):
        task.splits()
