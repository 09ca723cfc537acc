"""A score does not depend on the batch size, and scoring does not change the model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from manticore.training.scoring import Score, score
from tests.helpers.search_module import collate, examples, net


def test_a_score_does_not_depend_on_the_batches() -> None:
    model, data = net(), examples(23)
    small, large = (score(model, data, collate, size) for size in (1, 50))
    assert small.loss == pytest.approx(large.loss, rel=1e-5)
    assert (small.accuracy, small.count) == (large.accuracy, large.count)
    with torch.no_grad():
        batch = collate(list(data))
        logits = model.eval()(batch["input_ids"], batch["attention_mask"])
    assert large.loss == pytest.approx(float(F.cross_entropy(logits, batch["labels"])), rel=1e-5)
    assert large.accuracy == pytest.approx(float((logits.argmax(-1) == batch["labels"]).float().mean()))


@pytest.mark.parametrize("training", [True, False])
def test_scoring_does_not_change_the_model(training: bool) -> None:
    model = net(dropout=0.5).train(training)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert score(model, examples(5), collate, 2) == score(model, examples(5), collate, 2)  # no dropout
    assert model.training == training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_path_can_be_scored() -> None:
    model = net()
    path = ["recurrent", "attention"]
    assert score(model, examples(5), collate, 2, path=path) == score(
        model, examples(5), collate, 2, weights=model.one_hot(path)
    )


def test_the_margin_of_accuracy_is_binomial() -> None:
    assert Score(1.0, 0.5, 400).margin == pytest.approx(0.049)
    assert Score(1.0, 1.0, 400).margin == 0
    assert Score(1.0, 0.5, 400).to_dict()["margin"] == pytest.approx(0.049)
