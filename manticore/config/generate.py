"""How `manticore generate` chooses tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from manticore.utils.fields import Checked, PositiveInt, Range


@dataclass(frozen=True)
class SamplingOptions(Checked):
    """How the next token is chosen: the most likely one, unless a temperature, top-p or top-k is set."""

    max_new_tokens: PositiveInt = 64
    """Largest number of new tokens."""

    # Below this, scaled logits exceed what single precision resolves.
    temperature: Annotated[float, Range(least=1e-4)] | None = None
    """Sample, with logits divided by this. Default: 1 if tokens are sampled."""

    top_p: Annotated[float, Range(above=0, most=1)] | None = None
    """Sample from the most likely tokens that make up this probability (arXiv 1904.09751)."""

    top_k: PositiveInt | None = None
    """Sample from this many most likely tokens."""

    num_beams: PositiveInt = 1
    """Number of continuations of a beam search, of which the most likely is kept."""

    seed: Annotated[int, Range(least=0, most=2**63 - 1)] = 0
    """Seed of the sampling."""
