"""A score is the same however the examples are grouped, and leaves the model as it was."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from manticore.training.scoring import Score, score
from tests.helpers.search_module import collate, examples, net


def test_a_score_does_not_depend_on_the_batches() -> None:
    held, data = net(), examples(23)
    small, large = (score(held, data, collate, size) for size in (1, 50))
    assert small.loss == pytest.approx(large.loss, rel=1e-5)
    assert (small.accuracy, small.count) == (large.accuracy, large.count)
    with torch.no_grad():
        whole = collate(list(data))
        logits = held.eval()(whole["input_ids"], whole["attention_mask"])
    assert large.loss == pytest.approx(float(F.cross_entropy(logits, whole["labels"])), rel=1e-5)
    assert large.accuracy == pytest.approx(float((logits.argmax(-1) == whole["labels"]).float().mean()))


@pytest.mark.parametrize("training", [True, False])
def test_scoring_leaves_the_model_as_it_was(training: bool) -> None:
    held = net(dropout=0.5).train(training)
    before = {name: value.clone() for name, value in held.state_dict().items()}
    assert score(held, examples(5), collate, 2) == score(held, examples(5), collate, 2)  # no dropout
    assert held.training == training
    assert all(torch.equal(before[name], value) for name, value in held.state_dict().items())


def test_a_path_can_be_scored() -> None:
    held = net()
    path = ["recurrent", "attention"]
    assert score(held, examples(5), collate, 2, path=path) == score(
        held, examples(5), collate, 2, weights=held.one_hot(path)
    )


def test_the_margin_is_that_of_a_binomial() -> None:
    assert Score(1.0, 0.5, 400).margin == pytest.approx(0.049)
    assert Score(1.0, 1.0, 400).margin == 0
    assert Score(1.0, 0.5, 400).to_dict()["margin"] == pytest.approx(0.049)
