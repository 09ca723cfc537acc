"""What paths are selected by: their loss on the validation split, and on synthetic recall by the recipe's weights.

A loss of text hardly sees what a model reads from its context word for word, which states of fixed size lose first
(arXiv 2402.01032). The objective is therefore

    L(z) = L_val(z) + sum_i w_i L_i(z),

with L_i the mean loss of the answers to the probes of kind i (`tasks/language/probes`), in nats, as L_val.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from manticore.errors import ManticoreError
from manticore.experiment.experiment import Experiment
from manticore.nas.selection.paired import Difference, Losses, combined, loss_difference
from manticore.tasks.data_files import read_text
from manticore.tasks.dataset import Examples
from manticore.tasks.language.probes import ANSWER, SHORTEST, make_probe, text_ids
from manticore.tasks.language.recall_weights import RecallWeight, parse_recall
from manticore.tasks.language.text import SAMPLE
from manticore.training.scoring import Score

PROBES = 32
"""Prompts of each kind."""


@dataclass(frozen=True)
class Measured:
    """The losses of one path.

    Attributes:
        text: its score on the validation split.
        recall: its score on each kind of probes, with its weight.
    """

    text: Score
    recall: tuple[tuple[RecallWeight, Score], ...] = ()

    @property
    def value(self) -> float:
        """The objective in nats; infinite if a loss is not a number."""
        total = self.text.loss + sum(weight.weight * score.loss for weight, score in self.recall)
        return total if math.isfinite(total) else math.inf

    @property
    def losses(self) -> list[Losses]:
        """The losses of the units of each part, (N, 2), the validation split first."""
        parts = [self.text.losses, *(score.losses for _, score in self.recall)]
        return [part for part in parts if part is not None]

    @property
    def summary(self) -> str:
        """The recall losses as text; empty without any."""
        return ", ".join(f"{weight.kind} {score.loss:.3f}" for weight, score in self.recall)


class Objective:
    """The objective of a run.

    Args:
        exp: the run; its recipe has the weights.

    Raises ManticoreError if the task is no language task, or its sequences are too short for a probe.
    """

    def __init__(self, exp: Experiment) -> None:
        self.exp = exp
        self._text = selection_examples(exp)
        self.weights = parse_recall(exp.recipe.selection.recall)
        check_recall(exp)
        ids = text_ids(exp.task.hf_tokenizer(), read_text(SAMPLE)) if self.weights else []
        self._probes = [(weight, self._examples(weight, ids)) for weight in self.weights]

    def measure(self, net: nn.Module, **options: Any) -> Measured:
        """The losses of a model; `options` go to its forward pass, such as a path of a supernet."""
        text = self.exp.score_examples(net, self._text, **options)
        scores = ((weight, self.exp.score_examples(net, examples, **options)) for weight, examples in self._probes)
        return Measured(text, tuple(scores))

    def difference(self, losses: Sequence[Losses], rival: Sequence[Losses]) -> Difference | None:
        """The difference of the objectives of two paths by their `Measured.losses`; None where one is not known."""
        factors = [1.0, *(weight.weight for weight in self.weights)]
        if not len(losses) == len(rival) == len(factors):
            return None
        return combined(factors, list(map(loss_difference, losses, rival)))

    def _examples(self, weight: RecallWeight, ids: list[int]) -> Examples:
        exp, longest = self.exp, self.exp.task.max_length - ANSWER + 1
        length = longest if weight.length is None else weight.length
        if length > longest:
            raise ManticoreError(
                f"recall {weight}: a prompt of {length} tokens and its answer exceed the {exp.task.max_length} tokens "
                f"of a sequence of the task; at most {longest}"
            )
        return make_probe(weight.kind, ids, length, PROBES, exp.seed("recall") % 2**32).examples


def selection_examples(exp: Experiment) -> Examples:
    """The validation sequences that paths are evaluated on: `selection.sequences` of them, at even distances."""
    examples, count = exp.task.splits().val, exp.recipe.selection.sequences
    if count is None or count >= len(examples):
        return examples
    return examples.take(number * len(examples) // count for number in range(count))


def check_recall(exp: Experiment) -> None:
    """Raises ManticoreError if a recipe has weights of recall, and its task cannot have any."""
    if not exp.recipe.selection.recall:
        return
    if not exp.task.is_language_modeling:
        raise ManticoreError(f"selection.recall is for language models, and {exp.task.name} has its own vocabulary")
    if exp.task.max_length < SHORTEST + ANSWER - 1:
        raise ManticoreError(
            f"selection.recall needs sequences of at least {SHORTEST + ANSWER - 1} tokens, and those of the task have "
            f"{exp.task.max_length}"
        )
