"""Scores of token labels: scored labels have equal weight, and sequences are independent."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from manticore.tasks.dataset import IGNORE, Examples, Splits
from manticore.tasks.task import Task
from manticore.tasks.vocabulary import Vocabulary
from manticore.training.scoring import Score, bits_per_byte, clustered_std, macro_batch, score
from manticore.utils.statistics import ratio_interval

SIZE = 5


class Tags(Task):
    """A task with a label per token, used for its batches only."""

    kind = "tokens"

    def build(self) -> Splits:
        raise NotImplementedError

    def origin(self) -> str:
        return "random"


class Table(nn.Module):
    """Logits that depend on a token and its position."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(40, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.table[torch.arange(input_ids.shape[1]), input_ids]


def examples(count: int, seed: int = 0) -> Examples:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, count) + 1
    return Examples.pack(
        [
            (rng.integers(SIZE, size=length), [*rng.choice([IGNORE, 0, 1, 2], length - 1), int(rng.integers(SIZE))])
            for length in lengths
        ]  # type: ignore[misc]
    )


collate = Tags("tags", Vocabulary.plain(SIZE), map(str, range(SIZE)), 40).collate


def test_scored_labels_have_equal_weight_for_any_batch_size() -> None:
    net, data = Table(), examples(300)
    small, large = (score(net, data, collate, size) for size in (7, 300))
    assert small.to_dict() == pytest.approx(large.to_dict(), rel=1e-5)
    with torch.no_grad():
        batch = collate(list(data))
        logits, labels = net(batch["input_ids"], batch["attention_mask"]), batch["labels"]
    scored = labels != IGNORE
    assert large.loss == pytest.approx(float(F.cross_entropy(logits[scored], labels[scored])), rel=1e-5)
    assert large.accuracy == pytest.approx(float((logits.argmax(-1) == labels)[scored].float().mean()))
    assert large.count == 300
    assert set(large.to_dict()) == {"loss", "accuracy", "count", "macro_batch", "margin"}


def by_hand(answers: list[list[int]], labels: list[list[int]], size: int) -> float:
    """Mean recall of the classes in each batch, weighted by sequences."""
    total = 0.0
    for start in range(0, len(labels), size):
        rows = range(start, min(start + size, len(labels)))
        pairs = [pair for row in rows for pair in zip(answers[row], labels[row], strict=True) if pair[1] != IGNORE]
        recalls = []
        for name in {name for pair in pairs for name in pair}:
            true = [answer for answer, label in pairs if label == name]
            recalls.append(true.count(name) / len(true) if true else 0.0)
        total += len(rows) * sum(recalls) / len(recalls)
    return total / len(labels)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99))
def test_macro_batch_is_the_accuracy_of_the_mad_benchmark(count: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels_NL = rng.choice([IGNORE, 0, 1, 2, 3], (count, 4))
    labels_NL[:, 0] = rng.integers(4, size=count)
    answers_NL = np.where(rng.random((count, 4)) < 0.5, np.maximum(labels_NL, 0), rng.integers(6, size=(count, 4)))
    scored_NL = labels_NL != IGNORE
    owners = scored_NL.nonzero()[0]
    value = macro_batch(answers_NL[scored_NL], labels_NL[scored_NL], owners, count, size)
    assert value == pytest.approx(by_hand(answers_NL.tolist(), labels_NL.tolist(), size))


def test_macro_batch_does_not_depend_on_the_batch_size() -> None:
    net, data = Table(), examples(300, seed=1)
    with torch.no_grad():
        answers = [net(torch.from_numpy(ids)[None], torch.ones(1, len(ids)))[0].argmax(-1).tolist() for ids, _ in data]
    labels = [list(label) for _, label in data]  # type: ignore[arg-type]
    assert score(net, data, collate, 50).macro_batch == pytest.approx(by_hand(answers, labels, 128))
    assert score(net, data, collate, 50).macro_batch != pytest.approx(by_hand(answers, labels, 50), rel=1e-4)


def test_the_standard_error_takes_sequences_to_be_independent() -> None:
    right = np.random.default_rng(0).random(400) < 0.7
    share, owners = right.mean(), np.arange(400)
    binomial = math.sqrt(share * (1 - share) / 400)
    assert clustered_std(right, owners, 400) == pytest.approx(binomial)
    repeated = np.repeat(right, 10), np.repeat(owners, 10)  # ten tokens per sequence, right or wrong together
    assert clustered_std(*repeated, 400) == pytest.approx(binomial)
    independent = np.random.default_rng(1).random(4000) < 0.7  # ten independent tokens per sequence
    assert clustered_std(independent, repeated[1], 400) == pytest.approx(binomial / math.sqrt(10), rel=0.1)
    assert Score(1.0, 0.5, 400, 0.4, std_error=0.01).margin == pytest.approx(0.0196)


def test_the_coverage_of_the_interval() -> None:
    rng, covered = np.random.default_rng(2), 0
    for _ in range(400):
        sizes = rng.integers(1, 20, 150)
        ease = np.repeat(rng.beta(2, 1, 150), sizes)  # all tokens of a sequence have the same difficulty
        right, owners = rng.random(len(ease)) < ease, np.repeat(np.arange(150), sizes)
        covered += abs(right.mean() - 2 / 3) < 1.96 * clustered_std(right, owners, 150)
    assert 0.92 < covered / 400 < 0.98


@given(st.lists(st.tuples(st.floats(0.1, 900), st.integers(1, 500)), min_size=2, max_size=30))
def test_the_margin_of_text_is_students_over_documents(documents: list[tuple[float, int]]) -> None:
    bits, sizes = zip(*documents, strict=True)
    value, std_error = bits_per_byte(np.array(bits) * math.log(2), np.array(sizes), None)
    margin = Score(1.0, 0.5, 400, bits_per_byte=value, std_error=std_error, documents=documents).margin
    assert margin == pytest.approx(ratio_interval(bits, sizes).margin, abs=1e-9)
