"""The result of `manticore grow`: how well each layer of a twin reproduces its parent's attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from manticore.results.codec import ResultFile


@dataclass(frozen=True)
class GrownLayer:
    """One layer of a twin.

    Attributes:
        layer: its number, from 1.
        start: squared error of the mixer at the start on held-out text, as a share of the variance of attention's
            outputs.
        error: the same after training.
        loss: nats per token of the parent with this layer alone replaced.
        seconds: time of its training.
    """

    layer: int
    start: float
    error: float
    loss: float
    seconds: float


@dataclass(frozen=True)
class GrowthResult(ResultFile):
    """A twin and its layers.

    Attributes:
        parent: source of the parent.
        mixer: kind of the mixers.
        tokens: tokens of text that the mixers were trained on.
        held_out: tokens of text that they were scored on.
        loss: nats per token of the parent on the held-out text.
        twin_loss: nats per token of the twin with all its mixers.
        layers: the replaced layers.
        cache_seconds: time of the pass through the parent.
        seconds: time of everything.
    """

    FILE: ClassVar[str] = "growth.json"
    FORMAT: ClassVar[int] = 1

    parent: str
    mixer: str
    tokens: int
    held_out: int
    loss: float
    twin_loss: float
    layers: tuple[GrownLayer, ...]
    cache_seconds: float
    seconds: float

    @property
    def summary(self) -> str:
        """`30 recurrent layers, 4.310 nats per token of held-out text; its parent has 3.524`."""
        count = len(self.layers)
        layers = f"{count} recurrent layer{'s' if count > 1 else ''}"
        return f"{layers}, {self.twin_loss:.3f} nats per token of held-out text; its parent has {self.loss:.3f}"
