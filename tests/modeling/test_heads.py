"""Heads: the states that each one reads, its logits and loss in the Hugging Face classes, and its cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

from manticore.errors import UnknownName
from manticore.modeling.heads import HEADS, AutoencoderHead, PairHead, position_codes
from manticore.nas.cost import flops
from manticore.nas.discretize import discretize
from manticore.tasks.info import LABELS
from manticore.tasks.task import HeadSpec
from manticore.training.modules import TrainModule
from manticore.training.options import WeightOptions
from tests.helpers.pico import VOCAB, supernet, tokens

PATH = ["base", "donor", "base"]


def test_every_kind_of_task_has_a_head() -> None:
    assert set(HEADS) >= set(LABELS) - {"lm"}, "a language model has a head of its own"
    with pytest.raises(UnknownName, match=r"kind of task 'token'. Did you mean 'tokens'"):
        supernet("mamba", "gpt2", HeadSpec("token", VOCAB, 3))


def test_classification_is_a_linear_map_of_the_last_token() -> None:
    net = supernet("mamba", "gpt2", HeadSpec("classification", VOCAB, 5))
    hybrid = discretize(net, PATH, num_labels=5)
    assert {name for name in hybrid.state_dict() if name.startswith("score")} == {"score.weight"}
    ids, mask = tokens()
    mask[1, 9:] = 0
    with torch.no_grad():
        h_BLD = hybrid.model(ids, mask).last_hidden_state
        expected = torch.stack([h_BLD[0, -1], h_BLD[1, 8], h_BLD[2, -1]]) @ hybrid.score.weight.T
        torch.testing.assert_close(hybrid(input_ids=ids, attention_mask=mask).logits, expected, atol=1e-6, rtol=0)


def test_the_label_of_a_token_depends_on_no_later_token() -> None:
    hybrid = discretize(supernet("mamba", "gpt2", HeadSpec("tokens", VOCAB, 5)), PATH, num_labels=5)
    ids, _ = tokens()
    with torch.no_grad():
        logits, logits_of_prefix = hybrid(input_ids=ids).logits, hybrid(input_ids=ids[:, :9]).logits
    torch.testing.assert_close(logits[:, :9], logits_of_prefix, atol=1e-5, rtol=0)


def test_an_autoencoder_reads_the_last_state_and_the_position_alone() -> None:
    head = AutoencoderHead(12, 5)
    state_BD = torch.randn(3, 12)
    h_BLD = torch.cat([torch.randn(3, 6, 12), state_BD[:, None], torch.randn(3, 2, 12)], dim=1)
    mask = torch.tensor([[1] * 7 + [0] * 2] * 3)
    with torch.no_grad():
        logits = head(head.select_states(h_BLD, mask), 9)
        assert torch.equal(logits, head(state_BD, 9))
    assert logits.shape == (3, 9, 5)
    assert len({tuple(row.tolist()) for row in logits[0]}) == 9


def test_position_codes_are_sines_and_cosines() -> None:
    codes = position_codes(50, 8, torch.device("cpu"))
    for position, wave in ((0, 0), (7, 1), (49, 3)):
        angle = position / 10_000 ** (wave / 4)
        assert codes[position, wave].item() == pytest.approx(math.sin(angle), abs=1e-5)
        assert codes[position, 4 + wave].item() == pytest.approx(math.cos(angle), abs=1e-5)
    assert position_codes(3, 7, torch.device("cpu")).shape == (3, 7)


def test_a_pair_depends_on_both_sequences_and_their_order() -> None:
    head = PairHead(6, 2)
    u_BD, v_BD = torch.randn(4, 6), torch.randn(4, 6)
    with torch.no_grad():
        logits = head(torch.cat([u_BD, v_BD]))
        order = [2, 0, 3, 1]
        torch.testing.assert_close(head(torch.cat([u_BD[order], v_BD[order]])), logits[order])
        assert not torch.allclose(head(torch.cat([v_BD, u_BD])), logits)
    with pytest.raises(ValueError, match=r"two rows for each.*got 3 rows"):
        head(torch.randn(3, 6))


@pytest.mark.parametrize("kind", HEADS)
def test_the_loss_is_the_mean_over_all_labels_that_are_not_ignored(kind: str) -> None:
    net = supernet("mamba", "gpt2", HeadSpec(kind, VOCAB, 5))
    hybrid = discretize(net, PATH, num_labels=5)
    ids, mask = tokens(4)
    labels = torch.randint(5, {"pair": (2,), "classification": (4,)}.get(kind, (4, 17)))
    labels.flatten()[0] = -100
    with torch.no_grad():
        out = hybrid(input_ids=ids, attention_mask=mask, labels=labels)
        scored = labels != -100
        expected = F.cross_entropy(out.logits[scored], labels[scored])
        torch.testing.assert_close(out.loss, expected)
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        training_loss = TrainModule(net, WeightOptions(), 1).loss(batch, path=PATH)
        torch.testing.assert_close(training_loss, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("labels", "problem", "targets"),
    [
        (1, None, torch.randn(3)),
        (1, None, torch.randn(3, 1)),
        (4, "regression", torch.randn(3, 4)),
        (4, None, torch.tensor([0, 3, 1])),
        (4, "single_label_classification", torch.tensor([0, -100, 1])),
        (4, None, torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])),
        (4, "multi_label_classification", torch.tensor([[0.0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])),
    ],
)
def test_the_problem_type_is_that_of_transformers(labels: int, problem: str | None, targets: torch.Tensor) -> None:
    hybrid = discretize(supernet("gpt2", "mamba", HeadSpec("classification", VOCAB, labels)), ["base"] * 3)
    hybrid.config.problem_type = problem
    config = GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=1, n_head=4, num_labels=labels, problem_type=problem)
    reference = GPT2ForSequenceClassification(config)
    ids, _ = tokens()
    out = hybrid(input_ids=ids, labels=targets)
    assert out.logits.shape == (3, labels)
    expected = reference.loss_function(pooled_logits=out.logits, labels=targets, config=reference.config)
    torch.testing.assert_close(out.loss, expected)
    assert hybrid.config.problem_type == problem, "the configuration is not changed by a batch"
    hybrid(input_ids=ids, labels=targets.double() if targets.is_floating_point() else targets).loss.backward()
    assert hybrid.score.weight.grad.abs().sum() > 0


def test_labels_that_do_not_fit_the_problem_type_are_refused() -> None:
    ids, _ = tokens()
    hybrid = discretize(supernet("gpt2", "mamba", HeadSpec("classification", VOCAB, 4)), PATH)
    for problem, labels, message in (
        (None, torch.zeros(3), r"are numbers of shape \(3, 4\), not torch.float32 \(3,\)"),
        ("single_label_classification", torch.zeros(3), r"are integers of shape \(3,\), not torch.float32 \(3,\)"),
        ("regression", torch.zeros(3, dtype=torch.long), r"are numbers of shape \(3, 4\), not torch.int64"),
    ):
        hybrid.config.problem_type = problem
        with pytest.raises(ValueError, match=message):
            hybrid(input_ids=ids, labels=labels)
    per_token = discretize(supernet("gpt2", "mamba", HeadSpec("tokens", VOCAB, 4)), PATH)
    per_token.config.problem_type = "regression"
    with pytest.raises(ValueError, match="one class for each: problem_type='regression'"):
        per_token(input_ids=ids, labels=torch.zeros_like(ids))


def test_a_configuration_without_a_head_gets_the_default_of_its_class(tmp_path: Path) -> None:
    hybrid = discretize(supernet("mamba", "gpt2", HeadSpec("classification", VOCAB, 5)), PATH, num_labels=5)
    hybrid.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("head") == "classification"
    (tmp_path / "config.json").write_text(json.dumps(config))
    ids, _ = tokens()
    with torch.no_grad():
        logits = AutoModelForSequenceClassification.from_pretrained(tmp_path)(input_ids=ids).logits
        assert torch.equal(logits, hybrid(input_ids=ids).logits)
    assert type(AutoModelForTokenClassification.from_pretrained(tmp_path).score) is HEADS["tokens"]  # newly initialized


def test_the_cost_of_a_head_counts_its_calls_per_token() -> None:
    cost = {kind: flops(head(8, 3), 10) for kind, head in HEADS.items()}
    assert cost["tokens"] == 2 * 8 * 3 == pytest.approx(10 * cost["classification"])
    assert cost["autoencoder"] == 2 * (8 * 8 * 2 + 8 * 3)
    assert cost["pair"] == pytest.approx(2 * (4 * 8 * 8 + 8 * 3) / 20)
    assert flops(nn.Linear(8, 3), 10) == cost["tokens"]
