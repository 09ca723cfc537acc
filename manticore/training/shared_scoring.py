"""Scores whose batches are shared out over the processes that train together.

Which examples are in a batch does not depend on the number of processes, and the first one puts the batches together in
their order: the score is that of one process.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

from torch import nn

from manticore.errors import LostProcess, ManticoreError
from manticore.tasks.dataset import Examples
from manticore.training.batching import Collate
from manticore.training.metrics import Metric
from manticore.training.scoring import BatchScores, Score, score, score_batches, score_of
from manticore.training.trainer import Hardware, SharedWork, packed, unpacked
from manticore.utils.ranks import Ranks

MOST_KEPT = 4
"""Number of sets of examples that every process keeps, so that they are sent once for many scores."""


def score_together(
    hardware: Hardware,
    net: nn.Module,
    examples: Examples,
    collate: Collate,
    batch_size: int,
    metric: Metric | None = None,
    **options: object,
) -> Score:
    """`scoring.score` on the hardware of a run, by all processes that train together.

    The first process scores by itself during a training, in which the others take part, and what cannot be sent.
    """
    ranks = hardware.ranks
    batches = -(-len(examples) // batch_size)
    if ranks.count > 1 and not ranks.busy and not ranks.left and batches > 1:
        try:
            number, data = _data_message(ranks, examples, collate)
            work = SharedScoring(_net_message(ranks, net), number, data, batch_size, options)
            message = packed(work)
        except ManticoreError:  # a part of it, such as a local function, cannot be pickled
            ranks.kept.clear()
        else:
            return _lead(work, message, hardware, net, examples, collate, metric)
    with hardware.scoring():
        return score(net, examples, collate, batch_size, hardware.device, metric, **options)


@dataclass(frozen=True)
class SharedScoring(SharedWork):
    """A scoring that the first process sends to the others.

    Attributes:
        net: the packed model; None if all processes have it.
        number: under which all processes keep the data.
        data: the packed examples, and the function that makes batches of them; None if all processes have them.
        batch_size: sequences in a batch.
        options: further arguments of the forward pass.
    """

    net: bytes | None
    number: int
    data: bytes | None
    batch_size: int
    options: dict[str, Any]

    def take_part(self, hardware: Hardware) -> None:
        """See `SharedWork`."""
        kept = hardware.ranks.kept
        if self.net is not None:
            kept["net"] = unpacked(self.net)
        if self.data is not None:
            kept[f"data {self.number}"] = unpacked(self.data)
        self.gather(hardware, kept["net"], *kept[f"data {self.number}"])
        kept["net"].to("cpu")

    def gather(self, hardware: Hardware, net: nn.Module, examples: Examples, collate: Collate) -> list[BatchScores]:
        """Score the batches of this process; in the first one all batches, in their order.

        Raises, in the first process, the first error of any.
        """
        ranks = hardware.ranks
        own: list[BatchScores] | Exception
        try:
            with hardware.scoring():
                part = (ranks.rank, ranks.count)
                own = score_batches(net, examples, collate, self.batch_size, hardware.device, part, **self.options)
        except Exception as error:
            own = error
        parts = ranks.gather(own if not isinstance(own, Exception) else _plain(own))
        if isinstance(own, Exception) and ranks.is_first:
            raise own
        if not ranks.is_first:
            return []
        done: list[list[BatchScores]] = []
        for scored in parts:
            if isinstance(scored, Exception):
                raise scored
            done.append(scored)
        return [batch for batches in zip_longest(*done) for batch in batches if batch is not None]


def _lead(
    work: SharedScoring,
    message: bytes,
    hardware: Hardware,
    net: nn.Module,
    examples: Examples,
    collate: Collate,
    metric: Metric | None,
) -> Score:
    """The score, as the first process."""
    ranks = hardware.ranks
    try:
        ranks.send(message)
        batches = work.gather(hardware, net, examples, collate)
    except (LostProcess, KeyboardInterrupt, SystemExit) as error:  # the others wait for messages that will not come
        ranks.left.append(error)
        raise
    return score_of(batches, examples, metric)


def _plain(error: Exception) -> Exception:
    """An error that can be pickled."""
    if isinstance(error, ManticoreError):
        return ManticoreError(str(error), error.exit_status)
    return RuntimeError(f"{type(error).__name__}: {error}")


def _net_message(ranks: Ranks, net: nn.Module) -> bytes | None:
    """The packed model; None if the others have it with these weights. Raises ManticoreError if it cannot be packed."""
    data = packed(net)
    digest = blake2b(data, digest_size=16).digest()
    if ranks.kept.get("net") == digest:
        return None
    ranks.kept["net"] = digest
    return data


def _data_message(ranks: Ranks, examples: Examples, collate: Collate) -> tuple[int, bytes | None]:
    """The number of the examples, and the packed examples; None if the others have them, for examples do not change.

    Raises ManticoreError if they cannot be packed.
    """
    kept: dict[int, tuple[Examples, Collate]] = ranks.kept.setdefault("data", {})
    for number, (known, known_collate) in kept.items():
        if known is examples and known_collate == collate:
            return number, None
    data = packed((examples, collate))
    number = ranks.kept["data sent"] = ranks.kept.get("data sent", -1) + 1
    kept[number % MOST_KEPT] = (examples, collate)
    return number % MOST_KEPT, data
