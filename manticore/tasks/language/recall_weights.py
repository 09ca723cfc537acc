"""Weights of synthetic recall in the objective of a selection, as text: `copying=0.5@256`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from manticore.errors import ManticoreError, UnknownName, shown
from manticore.tasks.language.probes import KINDS, SHORTEST, ProbeKind


@dataclass(frozen=True)
class RecallWeight:
    """The weight of one kind of probes. `str` writes it as it is parsed.

    Attributes:
        kind: of the probes.
        weight: of their loss, beside the validation loss with the weight 1.
        length: tokens of a prompt; None: as long as the sequences of the task allow.
    """

    kind: ProbeKind
    weight: float
    length: int | None = None

    def __str__(self) -> str:
        return f"{self.kind}={self.weight:g}{'' if self.length is None else f'@{self.length}'}"

    @classmethod
    def parse(cls, text: str) -> RecallWeight:
        """A weight of text such as `copying=0.5@256`. Raises UnknownName for another kind, else ManticoreError."""
        match = re.fullmatch(r"\s*([^=@\s]+)\s*=\s*([0-9.]+(?:e[+-]?\d+)?)(?:@(\d+))?\s*", str(text), re.IGNORECASE)
        if match is None:
            raise ManticoreError(
                f"recall is a kind of probes, its weight, and @ and the tokens of a prompt, such as copying=0.5@256, "
                f"not {shown(text)}"
            )
        kind, number, length = match.groups()
        known: dict[str, ProbeKind] = {each: each for each in KINDS}
        if kind not in known:
            raise UnknownName("kind of recall", kind, known)
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not 0 < weight < float("inf"):
            raise ManticoreError(f"recall {text}: the weight must be a number above 0")
        if length is not None and int(length) < SHORTEST:
            raise ManticoreError(f"recall {text}: a prompt has at least {SHORTEST} tokens")
        return cls(known[kind], weight, None if length is None else int(length))


def parse_recall(texts: Sequence[str]) -> tuple[RecallWeight, ...]:
    """Weights of text, each kind and length once. Raises as `RecallWeight.parse` does."""
    weights = tuple(map(RecallWeight.parse, texts))
    keys = [(weight.kind, weight.length) for weight in weights]
    if len(set(keys)) < len(keys):
        raise ManticoreError(f"recall names a kind and a length twice: {', '.join(map(str, texts))}")
    return weights
