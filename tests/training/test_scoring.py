"""A score does not depend on the batch size, and scoring does not change the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from manticore.training.scoring import Score, paired_lead, score
from manticore.utils.statistics import mean_interval
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


def test_a_lead_is_paired_over_the_examples() -> None:
    """The interval is that of the differences of right answers, one for each example."""
    model, rival, data = net(), net("fixed"), examples(40)
    rival.eval()
    with torch.no_grad():
        for parameter in rival.parameters():
            parameter.mul_(1.5)
    first, second = (score(each, data, collate, 7) for each in (model, rival))
    assert first.units is not None
    assert second.units is not None
    lead = paired_lead(first, second)
    assert lead is not None
    differences = first.units[:, 0] - second.units[:, 0]
    expected = mean_interval(differences.tolist())
    assert lead.mean == pytest.approx(first.accuracy - second.accuracy)
    assert (lead.low, lead.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    reverse = paired_lead(second, first)
    assert reverse is not None
    assert reverse.mean == pytest.approx(-lead.mean)
    assert "units" not in first.to_dict()


def test_a_model_has_no_lead_over_itself() -> None:
    result = score(net(), examples(9), collate, 2)
    lead = paired_lead(result, result)
    assert lead is not None
    assert (lead.mean, lead.low, lead.high, lead.count) == (0, 0, 0, 9)


def test_fewer_bits_are_ahead_and_other_bytes_are_not_compared() -> None:
    better, worse, other = (
        Score(1.0, 0.5, 3, bits_per_byte=1.0, units=np.array([bits, sizes], np.float64).T)
        for bits, sizes in (((10.0, 20, 31), (10, 20, 30)), ((12.0, 23, 33), (10, 20, 30)), ((1.0, 1, 1), (10, 20, 29)))
    )
    lead = paired_lead(better, worse)
    assert lead is not None
    assert lead.mean == pytest.approx(7 / 60)
    assert lead.count == 3
    assert paired_lead(better, other) is None
    assert paired_lead(better, Score(1.0, 0.5, 3)) is None
