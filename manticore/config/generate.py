"""Options of `manticore generate`."""

from __future__ import annotations

from dataclasses import dataclass

from manticore.errors import ManticoreError

MIN_TEMPERATURE = 1e-4
"""Smallest temperature: below it, scaled logits exceed what single precision resolves."""


@dataclass(frozen=True)
class SamplingOptions:
    """How the next token is chosen: greedily, unless a temperature, top-p or top-k is set.

    Attributes:
        max_new_tokens: largest number of new tokens.
        temperature: logits are divided by it; None: 1 where tokens are sampled.
        top_p: sample from the most likely tokens that make up this probability (arXiv 1904.09751).
        top_k: sample from this many most likely tokens.
        num_beams: number of continuations of the beam search, of which the most likely is kept.
        seed: seed of the sampling.
    """

    max_new_tokens: int = 64
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    num_beams: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ManticoreError(f"top-p must be above 0 and at most 1, got {self.top_p}")
        if self.temperature is not None and not self.temperature >= MIN_TEMPERATURE:
            raise ManticoreError(
                f"temperature must be at least {MIN_TEMPERATURE}, got {self.temperature}; leave it out for greedy"
            )
        if not 0 <= self.seed < 1 << 63:
            raise ManticoreError(f"the seed must be a whole number of at most 63 bits, got {self.seed}")
