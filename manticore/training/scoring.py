"""What a model is worth on some examples: loss in nats and accuracy, without touching it.

Labels are one for a sequence, (B,), or one for each token, (B, L) with `IGNORE` where nothing is scored. Every scored
label weighs the same; how sure the accuracy is follows from the number of sequences, the tokens of one being no
independent trials.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from manticore.tasks.dataset import IGNORE, Examples
from manticore.training.batching import Batch, Collate
from manticore.training.metrics import ACCURACY, BITS, Metric
from manticore.utils.statistics import ratio_std_error, student_quantile

MAD_BATCH = 128
"""Sequences over which the MAD benchmark averages the classes' recalls before it averages over batches."""


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy in nats and share of right answers over the labels of `count` examples.

    Attributes:
        macro_batch: accuracy as MAD computes it (see `macro_batch`); None where a sequence has one label, and of text.
        bits_per_byte: of text, how many bits the model needs to tell a byte, the ends of documents included; else None.
        deviation: standard error of `measured`; by default that of `count` independent answers.
        documents: of text, the bits and the bytes of each document, or group of documents, in their order.
        computed: a metric with a `compute` of its own, and its value.
    """

    loss: float
    accuracy: float
    count: int
    macro_batch: float | None = None
    bits_per_byte: float | None = None
    deviation: float | None = None
    documents: list[tuple[float, int]] | None = field(default=None, compare=False, repr=False)
    computed: tuple[Metric, float] | None = None

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
        """Half the width of the 95 % interval of the accuracy (normal), or of the bits per byte (Student's).

        None for a text of one document, which says nothing of others, and for a metric with a `compute` of its own.
        """
        if self.computed is not None:
            return None
        if self.deviation is not None:
            few = self.documents is not None and len(self.documents) > 1
            return (student_quantile(0.975, len(self.documents or ()) - 1) if few else 1.96) * self.deviation
        if self.bits_per_byte is not None:
            return None
        return 1.96 * math.sqrt(self.accuracy * (1 - self.accuracy) / max(1, self.count))

    def format(self) -> str:
        """The value with its margin, where it has one: `accuracy 63.0 ± 1.5 %`, `1.912 ± 0.008 bits per byte`."""
        text = self.metric.format(self.value, self.margin)
        return text if self.metric.label in text else f"{self.metric.label} {text}"

    def to_dict(self) -> dict[str, float]:
        """Plain data, with the margin; what there is not is left out, and of text the share of right tokens."""
        unsaid = {"deviation", "documents", "computed", *(() if self.bits_per_byte is None else ("accuracy",))}
        held = {key: value for key, value in asdict(self).items() if value is not None and key not in unsaid}
        if self.computed is not None:
            held[self.metric.name] = self.value
        return held if self.margin is None else {**held, "margin": self.margin}


def logits_of(net: nn.Module, batch: Batch, **options: object) -> Tensor:
    """A supernet's logits, or those in a Hugging Face model's output: (B, labels), or (B, L, labels)."""
    out = net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **options)
    logits: Tensor = out if isinstance(out, Tensor) else out.logits
    return logits


@torch.no_grad()
def score(
    net: nn.Module,
    examples: Examples,
    collate: Collate,
    batch_size: int,
    device: torch.device | str = "cpu",
    metric: Metric | None = None,
    **options: object,
) -> Score:
    """Loss and accuracy of `net` on all `examples`, and `metric` if it has a `compute` of its own.

    Sequences are read in order of length, so that little is padded; the result does not depend on the order. Further
    `options` go to the forward pass of `net`.
    """
    was_training = net.training
    net.eval().to(device)
    order = np.argsort(examples.lengths, kind="stable")
    nats_N, told = np.zeros(len(examples)), []
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        batch = collate([examples[int(index)] for index in places])
        batch = {key: value.to(device) for key, value in batch.items()}
        logits, labels = logits_of(net, batch, **options).float(), batch["labels"]
        nats = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="none")
        nats_N[places] = nats.view(len(places), -1).sum(-1, dtype=torch.float64).cpu().numpy()
        told.append(_told(logits.argmax(-1), labels, places))
    net.train(was_training)
    answers, labels_, owners = (np.concatenate(parts) for parts in zip(*told, strict=True))
    result = _score(nats_N, answers, labels_, owners, examples)
    if metric is None or metric.compute is None:
        return result
    return replace(result, computed=(metric, metric.compute(answers, labels_)))


Numbers = NDArray[np.int64]
Floats = NDArray[np.float64]


def _told(answers: Tensor, labels: Tensor, places: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Answer, label and the example's place, of each scored label."""
    scored = labels != IGNORE
    owners = torch.from_numpy(places)[scored.nonzero()[:, 0].cpu()]
    return answers[scored].cpu().numpy(), labels[scored].cpu().numpy(), owners.numpy()


def _score(nats_N: Floats, answers: Numbers, labels: Numbers, owners: Numbers, examples: Examples) -> Score:
    right, count = answers == labels, len(examples)
    loss, accuracy = float(nats_N.sum()) / len(labels), int(right.sum()) / len(labels)
    if not examples.per_token:
        return Score(loss, accuracy, count)
    if examples.num_bytes is not None:
        groups = np.arange(count) if examples.groups is None else examples.groups
        nats, sizes = np.bincount(groups, nats_N), np.bincount(groups, examples.num_bytes)
        told = [(float(bits), int(size)) for bits, size in zip(nats / math.log(2), sizes, strict=True) if size]
        bits, deviation = bits_per_byte(nats_N, examples.num_bytes, examples.groups)
        return Score(loss, accuracy, count, bits_per_byte=bits, deviation=deviation, documents=told)
    deviation = clustered_std(right, owners, count)
    return Score(loss, accuracy, count, macro_batch(answers, labels, owners, count), deviation=deviation)


def bits_per_byte(nats_N: Floats, sizes_N: Numbers, groups_N: Numbers | None) -> tuple[float, float | None]:
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


def clustered_std(right: NDArray[np.bool_], owners: Numbers, count: int) -> float:
    """Standard error of the share of right answers, where answers of the same sequence may depend on each other.

    With one answer for each sequence it is the binomial `sqrt(p (1 - p) / n)`.

    Args:
        right: (answers,) whether each answer is right.
        owners: (answers,) index of the sequence each answer belongs to.
        count: number of sequences.
    """
    residuals = np.bincount(owners, right - right.mean(), minlength=count)
    return ratio_std_error(residuals, len(right), count, ddof=0)


def macro_batch(answers: Numbers, labels: Numbers, owners: Numbers, count: int, size: int = MAD_BATCH) -> float:
    """Accuracy as the MAD benchmark has it (Poli et al., arXiv 2403.17844).

    In each batch of `size` sequences, in the order of the examples: the mean of the classes' recalls over all classes
    that are a label or an answer there, a class that is only answered counting 0. Then the mean over batches, weighted
    by their numbers of sequences.
    """
    classes, batches = int(max(answers.max(), labels.max())) + 1, owners // size
    held = np.unique(batches)
    means = []
    for batch in held:
        given, wanted = answers[batches == batch], labels[batches == batch]
        hits = np.bincount(wanted[given == wanted], minlength=classes)
        true, said = np.bincount(wanted, minlength=classes), np.bincount(given, minlength=classes)
        means.append((hits / np.maximum(true, 1))[true + said > 0].mean())
    return float(np.average(means, weights=np.minimum(size, count - size * held)))
