"""Copying and recall are scored from what a model generates, parents beside a hybrid; the card has a table."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationMixin, GPT2Config, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

import manticore as mc
from manticore.cli import main
from manticore.errors import ManticoreError
from manticore.pipelines.generation_scores import GenerationScore, generated, parents_of, score_table
from manticore.tasks.dataset import IGNORE
from manticore.tasks.language.probes import ANSWER, CUE, KINDS, SHORTEST, make_probe
from manticore.tasks.language.recall_weights import RecallWeight, parse_recall
from tests.helpers.cli import call, refusal

TEXT = [*np.random.default_rng(0).integers(0, 90, 2000)]


class Copier(PreTrainedModel, GenerationMixin):
    """Predicts the token that followed the last earlier occurrence of the last `CUE` tokens: a perfect copier."""

    config_class = GPT2Config
    _is_stateful = True

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__(config)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, input_ids: torch.Tensor, attention_mask: Any = None, **_: Any) -> CausalLMOutput:
        logits = torch.zeros(*input_ids.shape, self.config.vocab_size)
        for row, ids in enumerate(input_ids.tolist()):
            starts = range(len(ids) - CUE - 1, -1, -1)
            match = next((at for at in starts if ids[at : at + CUE] == ids[-CUE:]), None)
            if match is not None:
                logits[row, -1, ids[match + CUE]] = 1.0
        return CausalLMOutput(logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: torch.Tensor, attention_mask: Any = None, **_: Any
    ) -> dict[str, torch.Tensor]:
        return {"input_ids": input_ids}


@pytest.mark.parametrize("kind", ["copying", "recall"])
def test_a_perfect_copier_has_every_answer(kind: Any) -> None:
    probe = make_probe(kind, TEXT, 64, 5)
    assert probe.prompts_NL.shape == (5, 64)
    out_NA = generated(Copier(GPT2Config(vocab_size=90)), probe, batch_size=2)
    assert (out_NA == probe.answers_NA).all()


@pytest.mark.parametrize("kind", ["copying", "recall"])
def test_the_answer_follows_the_cue_once(kind: Any) -> None:
    probe = make_probe(kind, TEXT, 40, 20)
    for prompt, answer in zip(probe.prompts_NL.tolist(), probe.answers_NA.tolist(), strict=True):
        cue = prompt[-CUE:]
        starts = [at for at in range(len(prompt) - CUE) if prompt[at : at + CUE] == cue]
        assert starts
        assert prompt[starts[0] + CUE : starts[0] + CUE + ANSWER] == answer
        assert starts[0] == 0 or kind == "recall"
        assert len(set(answer)) == ANSWER


@pytest.mark.parametrize("length", [64, 65])
def test_the_value_of_a_key_is_the_one_before(length: int) -> None:
    probe = make_probe("pairs", TEXT, length, 20)
    assert probe.prompts_NL.shape == (20, length)
    assert probe.answers_NA.shape == (20, 1)
    scored = 0
    first = 1 - length % 2
    for prompt, answer, labels in zip(
        probe.prompts_NL.tolist(), probe.answers_NA[:, 0].tolist(), probe.labels_NT.tolist(), strict=True
    ):
        pairs = list(zip(prompt[first:-1:2], prompt[first + 1 : -1 : 2], strict=True))
        assert dict(pairs)[prompt[-1]] == answer == labels[-1]
        assert len(set(pairs)) == len({key for key, _ in pairs}), "a key has one value"
        keys = [key for key, _ in pairs]
        for number, (key, value) in enumerate(pairs):
            assert labels[first + 2 * number] == (value if key in keys[:number] else IGNORE)
        assert set(labels[1 - first :: 2]) == {IGNORE}
        scored += sum(label != IGNORE for label in labels)
    assert scored > 20 * length / 8


@pytest.mark.parametrize("kind", ["copying", "recall"])
def test_labels_are_the_answer_behind_the_prompt(kind: Any) -> None:
    probe = make_probe(kind, TEXT, 40, 3)
    examples = probe.examples
    ids, labels = examples[1]
    assert ids.tolist() == [*probe.prompts_NL[1], *probe.answers_NA[1, :-1]]
    assert labels.tolist() == [IGNORE] * 39 + probe.answers_NA[1].tolist()
    assert ids.max() < 90


def test_weights_of_recall_are_parsed() -> None:
    assert parse_recall(["copying=0.5@256", " pairs = 2 "]) == (
        RecallWeight("copying", 0.5, 256),
        RecallWeight("pairs", 2.0),
    )
    assert str(RecallWeight("copying", 0.5, 256)) == "copying=0.5@256"
    for text, message in {
        "copying": "such as copying=0.5@256, not 'copying'",
        "copyng=1": "unknown kind of recall 'copyng'",
        "copying=0": "the weight must be a number above 0",
        "copying=1..2": "the weight must be a number above 0",
        "pairs=1@4": "a prompt has at least 24 tokens",
    }.items():
        with pytest.raises(ManticoreError, match=message):
            parse_recall([text])
    with pytest.raises(ManticoreError, match="twice"):
        parse_recall(["pairs=1", "pairs=2"])


def test_probes_repeat_and_differ_by_seed() -> None:
    first, again = make_probe("recall", TEXT, 64, 3), make_probe("recall", TEXT, 64, 3)
    assert np.array_equal(first.prompts_NL, again.prompts_NL)
    assert not np.array_equal(first.answers_NA, make_probe("recall", TEXT, 64, 3, seed=1).answers_NA)
    with pytest.raises(ManticoreError, match="too short"):
        make_probe("recall", TEXT, SHORTEST - 1, 3)
    with pytest.raises(ManticoreError, match="fewer than a prompt"):
        make_probe("recall", TEXT[:30], 64, 3)


def test_the_table_marks_the_best_and_dashes_what_does_not_fit() -> None:
    scores = [
        GenerationScore("hybrid", "copying", 64, 1.0, 1.0, 4),
        GenerationScore("hybrid", "copying", 128, 0.5, 0.6, 4),
        GenerationScore("mamba", "copying", 64, 0.25, 0.4, 4),
    ]
    rows = score_table(scores).rows
    assert rows[0].cells == ("copying, hybrid", "100.0 %", "50.0 %")
    assert rows[1].cells == ("copying, mamba", "25.0 %", "–")
    assert (rows[0].best, rows[1].best) == ((1, 2), ())


@pytest.mark.e2e
def test_the_command_scores_the_hybrid_beside_its_parents(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hybrid, file = tmp_path / "by-hand", tmp_path / "scores.json"
    export = ["export", "--models", "gpt-neo-nano,mamba-nano", "--path", "gpt-neo-nano,mamba-nano"]
    assert main([*export, "--out", str(hybrid)]) == 0
    assert list(parents_of(str(hybrid))) == [("gpt-neo-nano", "gpt-neo-nano"), ("mamba-nano", "mamba-nano")]
    sizes = ["--lengths", "64,1024", "--examples", "2", "--json", file]
    for _ in range(2):  # the second time replaces the section
        status, out, err = call(capsys, "evaluate", hybrid, "--generation", *sizes)
        assert (status, err) == (0, "")
    scores = json.loads(file.read_text())
    assert {(score["model"], score["kind"], score["length"]) for score in scores} == {
        *((model, kind, 64) for model in ("hybrid", "gpt-neo-nano", "mamba-nano") for kind in KINDS),
        *(("mamba-nano", kind, 1024) for kind in KINDS),  # GPT-Neo has 512 positions
    }
    assert all(0 <= score["exact"] <= score["tokens"] <= 1 for score in scores)
    again = mc.evaluate_generation(hybrid, lengths=[64], examples=2, quiet=True)
    assert [asdict(score) for score in again] == [score for score in scores if score["length"] == 64]
    assert capsys.readouterr().out == ""
    card = (hybrid / "README.md").read_text("utf-8")
    assert card.count("## Generation\n") == 1
    assert "| copying, mamba-nano |" in card
    assert "added to the card" in out
    assert "gpt-neo-nano reads at most 512 tokens: prompts of 1,024 are left out\n" in out
    error = refusal(capsys, "evaluate", hybrid, "--generation", "--lengths", "1024", "--examples", "2")
    assert error.startswith("manticore: error: --lengths: a prompt and an answer of 8 tokens do not fit into ")


def test_flags_that_do_not_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    assert "give one of --lm-eval and --generation" in refusal(
        capsys, "evaluate", "mamba-nano", "--generation", "--lm-eval", "arc_easy"
    )
    assert "drop the flags of a task" in refusal(capsys, "evaluate", "mamba-nano", "--generation", "--task", "text")
    assert "go with --lm-eval" in refusal(capsys, "evaluate", "mamba-nano", "--limit", "3")
