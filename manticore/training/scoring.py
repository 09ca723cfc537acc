"""Scores of a model on examples: loss in nats, accuracy, and bits per byte of text.

Labels are one per sequence, (B,), or one per token, (B, L), with `IGNORE` for tokens that are not scored. All scored
labels have equal weight. Standard errors take sequences to be independent, not the tokens of a sequence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from manticore.errors import ManticoreError
from manticore.tasks.dataset import IGNORE, Batch, Examples
from manticore.tasks.items import describe_type
from manticore.training.batching import Collate, batch_to
from manticore.training.metrics import ACCURACY, BITS, Integers, Metric
from manticore.utils.module_state import eval_mode
from manticore.utils.statistics import Interval, ratio_interval, ratio_std_error, student_quantile

Floats = NDArray[np.float64]

MAD_BATCH = 128
"""Sequences in a batch of the MAD benchmark, which averages recalls within batches first."""


@dataclass(frozen=True)
class Score:
    """A model's score on some examples.

    Attributes:
        loss: mean cross-entropy over the scored labels, in nats.
        accuracy: share of right answers.
        count: number of examples.
        macro_batch: accuracy as MAD computes it (see `macro_batch`); None where a sequence has one label, and for text.
        bits_per_byte: for text, cross-entropy in bits per byte, the ends of documents included; else None.
        std_error: standard error of `value`; None: the binomial one of `count` independent answers.
        documents: for text, bits and bytes of each document or group of documents, in their order.
        computed: the metric with a `compute` function, if there is one, and its value.
        units: of each independent unit, a document or else an example, its share of the value: bits and bytes, or right
            answers and answers; (N, 2). None where the metric has a `compute` function.
        losses: of each independent unit its cross-entropy in nats and the number of its scored labels; (N, 2).
    """

    loss: float
    accuracy: float
    count: int
    macro_batch: float | None = None
    bits_per_byte: float | None = None
    std_error: float | None = None
    documents: list[tuple[float, int]] | None = field(default=None, compare=False, repr=False)
    computed: tuple[Metric, float] | None = None
    units: Floats | None = field(default=None, compare=False, repr=False)
    losses: Floats | None = field(default=None, compare=False, repr=False)

    @property
    def metric(self) -> Metric:
        """The computed metric if there is one, else bits per byte of text, else accuracy."""
        if self.computed is not None:
            return self.computed[0]
        return ACCURACY if self.bits_per_byte is None else BITS

    @property
    def value(self) -> float:
        """The score by `metric`."""
        if self.computed is not None:
            return self.computed[1]
        return self.accuracy if self.bits_per_byte is None else self.bits_per_byte

    @property
    def sort_key(self) -> float:
        """A number that is larger for a better score."""
        return self.metric.sort_key(self.value)

    @property
    def margin(self) -> float | None:
        """Half the width of the 95 % interval: normal for accuracy, Student's for bits per byte.

        None for a text of a single document, and for a metric with a `compute` function.
        """
        if self.computed is not None:
            return None
        if self.std_error is not None:
            documents = len(self.documents or ())
            return (student_quantile(0.975, documents - 1) if documents > 1 else 1.96) * self.std_error
        if self.bits_per_byte is not None:
            return None
        return 1.96 * math.sqrt(self.accuracy * (1 - self.accuracy) / max(1, self.count))

    def format(self) -> str:
        """The value with its margin, where it has one: `accuracy 63.0 ± 1.5 %`, `1.912 ± 0.008 bits per byte`."""
        text = self.metric.format(self.value, self.margin)
        return text if self.metric.label in text else f"{self.metric.label} {text}"

    def to_dict(self) -> dict[str, float]:
        """Plain data with the margin. Missing values are left out, and for text the accuracy."""
        omitted = {
            "std_error",
            "documents",
            "computed",
            "units",
            "losses",
            *(() if self.bits_per_byte is None else ("accuracy",)),
        }
        record = {key: value for key, value in vars(self).items() if value is not None and key not in omitted}
        if self.computed is not None:
            record[self.metric.name] = self.value
        return record if self.margin is None else {**record, "margin": self.margin}


class BatchScores(NamedTuple):
    """What a model does on a batch.

    Attributes:
        indices: of the examples, (B,).
        nats_B: cross-entropy of each example, summed over its scored labels, (B,).
        answers, labels, owners: of each scored label: the answer, the label, the index of the example.
    """

    indices: Integers
    nats_B: Floats
    answers: Integers
    labels: Integers
    owners: Integers


def logits_of(net: nn.Module, batch: Batch, **options: object) -> Tensor:
    """Logits of a supernet or of a Hugging Face model, (B, labels) or (B, L, labels); `options` go to `net`."""
    out = net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **options)
    logits = out if isinstance(out, Tensor) else getattr(out, "logits", None)
    if not isinstance(logits, Tensor):
        raise ManticoreError(f"the model must return logits, or an output that has them, not {describe_type(out)}")
    return logits


def score(
    net: nn.Module,
    examples: Examples,
    collate: Collate,
    batch_size: int,
    device: torch.device | str = "cpu",
    metric: Metric | None = None,
    **options: Any,
) -> Score:
    """Score a model.

    Args:
        net: a supernet or a Hugging Face model; it is left on `device`, in the mode that it was in.
        examples: what to score it on.
        collate: function from a list of examples to a batch.
        batch_size: sequences in a forward pass.
        device: where to run it.
        metric: a metric to compute as well, if it has a `compute` function.
        options: further arguments of the forward pass.
    """
    return score_of(score_batches(net, examples, collate, batch_size, device, **options), examples, metric)


@torch.no_grad()
def score_batches(
    net: nn.Module,
    examples: Examples,
    collate: Collate,
    batch_size: int,
    device: torch.device | str = "cpu",
    part: tuple[int, int] = (0, 1),
    **options: Any,
) -> list[BatchScores]:
    """Run a model on batches of the examples: with a `part` of (i, n), on the batches i, i + n, i + 2n, and so on.

    Which examples are in a batch does not depend on the part. See `score` for the other arguments.
    """
    first, every = part
    net.to(device)
    order = np.argsort(examples.lengths, kind="stable")  # batches of similar length have little padding
    parts = []
    with eval_mode(net):
        for start in range(first * batch_size, len(order), every * batch_size):
            indices = order[start : start + batch_size]
            batch = batch_to(collate([examples[int(index)] for index in indices]), device)
            logits, labels = logits_of(net, batch, **options).float(), batch["labels"]
            nats = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="none")
            nats_B = nats.view(len(indices), -1).sum(-1, dtype=torch.float64).cpu().numpy()
            parts.append(BatchScores(indices, nats_B, *_scored_answers(logits.argmax(-1), labels, indices)))
    return parts


def score_of(batches: Sequence[BatchScores], examples: Examples, metric: Metric | None = None) -> Score:
    """The score from all batches of the examples, in their order."""
    nats_N = np.zeros(len(examples))
    for batch in batches:
        nats_N[batch.indices] = batch.nats_B
    answers = np.concatenate([batch.answers for batch in batches])
    all_labels = np.concatenate([batch.labels for batch in batches])
    owners = np.concatenate([batch.owners for batch in batches])
    result = replace(
        _score(nats_N, answers, all_labels, owners, examples), losses=_unit_losses(nats_N, owners, examples)
    )
    if metric is None or metric.compute is None:
        return result
    return replace(result, computed=(metric, metric.compute(answers, all_labels)), units=None)


def _scored_answers(answers: Tensor, labels: Tensor, indices: Integers) -> tuple[Integers, Integers, Integers]:
    """Answer, label and index of the example of each scored label."""
    scored = labels != IGNORE
    owners = torch.from_numpy(indices)[scored.nonzero()[:, 0].cpu()]
    return answers[scored].cpu().numpy(), labels[scored].cpu().numpy(), owners.numpy()


def _score(nats_N: Floats, answers: Integers, labels: Integers, owners: Integers, examples: Examples) -> Score:
    right, count = answers == labels, len(examples)
    loss, accuracy = float(nats_N.sum()) / len(labels), int(right.sum()) / len(labels)
    answered = np.stack([np.bincount(owners, right, count), np.bincount(owners, minlength=count)], 1, dtype=np.float64)
    if not examples.per_token:
        return Score(loss, accuracy, count, units=answered)
    if examples.num_bytes is not None:
        groups = np.arange(count) if examples.groups is None else examples.groups
        nats, sizes = np.bincount(groups, nats_N), np.bincount(groups, examples.num_bytes)
        documents = [(float(bits), int(size)) for bits, size in zip(nats / math.log(2), sizes, strict=True) if size]
        bits, std_error = bits_per_byte(nats_N, examples.num_bytes, examples.groups)
        units = np.array(documents, np.float64)
        return Score(loss, accuracy, count, None, bits, std_error, documents, units=units)
    std_error = clustered_std(right, owners, count)
    macro = macro_batch(answers, labels, owners, count)
    return Score(loss, accuracy, count, macro, std_error=std_error, units=answered)


def _unit_losses(nats_N: Floats, owners: Integers, examples: Examples) -> Floats:
    """Cross-entropy and number of labels of each document, or of each example where there are no documents, (N, 2)."""
    counts_N = np.bincount(owners, minlength=len(examples))
    groups = np.arange(len(examples)) if examples.groups is None else examples.groups
    return np.stack([np.bincount(groups, nats_N), np.bincount(groups, counts_N)], 1, dtype=np.float64)


def paired_lead(score: Score, rival: Score) -> Interval | None:
    """How far `score` is ahead of `rival` by their metric, with its 95 % interval over the units of both.

    The difference of two models on one example varies less than the score of either, so that its interval is narrower
    than their margins. Positive where `score` is better. None without scores by unit, and for units of different sizes,
    as with tokenizers that do not know the same characters.
    """
    units, rival_units = score.units, rival.units
    if units is None or rival_units is None or score.metric != rival.metric:
        return None
    if units.shape != rival_units.shape or not np.array_equal(units[:, 1], rival_units[:, 1]):
        return None
    scored = units[:, 1] > 0
    sign = 1.0 if score.metric.higher_is_better else -1.0
    ahead = sign * (units[scored, 0] - rival_units[scored, 0])
    return ratio_interval(ahead.tolist(), units[scored, 1].tolist())


def bits_per_byte(nats_N: Floats, sizes_N: Integers, groups_N: Integers | None) -> tuple[float, float | None]:
    """Bits per byte of text and its standard error, which takes documents to be independent, not chunks.

    Args:
        nats_N: sum of the cross-entropies of each chunk's labels, in nats.
        sizes_N: bytes of text of each chunk.
        groups_N: index of each chunk's document; None: each chunk is a document.

    The standard error of a single document is None.
    """
    total = sizes_N.sum()
    ratio = nats_N.sum() / total
    groups_N = np.arange(len(nats_N)) if groups_N is None else groups_N
    residuals, count = np.bincount(groups_N, nats_N - ratio * sizes_N), len(np.unique(groups_N))
    bits = float(ratio / math.log(2))
    return bits, ratio_std_error(residuals, total, count) / math.log(2) if count > 1 else None


def clustered_std(right: NDArray[np.bool_], owners: Integers, count: int) -> float:
    """Standard error of the share of right answers, where answers of the same sequence may depend on each other.

    With one answer for each sequence it is the binomial `sqrt(p (1 - p) / n)`.

    Args:
        right: (answers,) whether each answer is right.
        owners: (answers,) index of the sequence each answer belongs to.
        count: number of sequences.
    """
    residuals = np.bincount(owners, right - right.mean(), minlength=count)
    return ratio_std_error(residuals, len(right), count, ddof=0)


def macro_batch(answers: Integers, labels: Integers, owners: Integers, count: int, size: int = MAD_BATCH) -> float:
    """Accuracy as the MAD benchmark computes it (Poli et al., arXiv 2403.17844).

    For each batch of `size` sequences, in the order of the examples: the mean recall over all classes that occur as a
    label or an answer (0 for a class that occurs as an answer only). The result is the mean over batches, weighted by
    their number of sequences.

    Args:
        answers, labels: (answers,) class of each answer and of its label.
        owners: (answers,) index of the sequence each answer belongs to.
        count: number of sequences.
        size: sequences in a batch.
    """
    classes, batches = int(max(answers.max(), labels.max())) + 1, owners // size
    present = np.unique(batches)
    recalls = []
    for batch in present:
        predicted, true = answers[batches == batch], labels[batches == batch]
        hits = np.bincount(true[predicted == true], minlength=classes)
        num_true, num_predicted = np.bincount(true, minlength=classes), np.bincount(predicted, minlength=classes)
        recalls.append((hits / np.maximum(num_true, 1))[num_true + num_predicted > 0].mean())
    return float(np.average(recalls, weights=np.minimum(size, count - size * present)))
