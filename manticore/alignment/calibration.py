"""From documents to the batches that models are aligned on: passages spread over all text, read by every tokenizer."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from manticore.alignment import CalibrationBatch, DonorTokens
from manticore.alignment.token_alignment import OffsetTokenizer, align_texts
from manticore.components import Component
from manticore.errors import ManticoreError

HELD_OUT = 8
"""One passage in so many is kept for choosing dampings and measuring."""

WIDEST = 16
"""Characters of a passage, at most, for each token that is wanted of it."""

SHORT, GAIN = 0.9, 1.05
"""Share of the tokens asked for that is enough, and how many times as many a second look must find."""

BATCH = 8
"""Passages in a batch."""


@dataclass(frozen=True)
class Calibration:
    """Text to align on, in batches.

    Attributes:
        seen: to fit on.
        held: to measure on.
        tokens: base tokens in `seen`.
        shares: by component with another tokenizer, the share of them that pair with one of its own.
    """

    seen: list[CalibrationBatch]
    held: list[CalibrationBatch]
    tokens: int
    shares: dict[str, float]

    @property
    def words(self) -> str:
        """How much text there is, and how much of it pairs up."""
        told = "".join(f"; {share:.0%} of them pair with tokens of {name}" for name, share in self.shares.items())
        return f"{self.tokens:,} tokens{told}"


def split_passages(texts: Sequence[str], count: int, width: int) -> list[str]:
    """At most `count` passages of at most `width` characters, evenly spread over the texts; no two overlap.

    A text no longer than that is a passage as a whole, if it is one at all. Others start after a blank, where there is
    one, so that no word is cut at its start.
    """
    begins = [0, *accumulate(len(text) for text in texts)]
    starts: dict[int, list[int]] = {}
    for place in (number * begins[-1] // count for number in range(count)):
        chosen = bisect_right(begins, place) - 1
        start = place - begins[chosen] if len(texts[chosen]) > width else 0
        if start not in starts.setdefault(chosen, []):
            starts[chosen].append(start)
    out = []
    for chosen, edges in starts.items():
        text = texts[chosen]
        for start, stop in pairwise([*edges, len(text)]):
            blank = next((place for place in range(start, stop) if text[place].isspace()), start) if start else -1
            out.append(text[blank + 1 : min(stop, blank + 1 + width)])
    return [passage for passage in out if passage.strip()]


def build_calibration(
    components: Sequence[Component], base: str, texts: Sequence[str], tokens: int, length: int
) -> Calibration:
    """Text to align on.

    Args:
        components: who reads it; each must have a tokenizer.
        base: whose tokens are counted.
        texts: documents.
        tokens: base tokens to fit on, about; fewer if there is not so much text.
        length: base tokens of a passage.

    Raises ManticoreError if a component has no tokenizer, or too few positions, or if there is too little text.
    """
    readers = {held.name: OffsetTokenizer(_tokenizer(held, length)) for held in components}
    parts = _enough(texts, readers[base], tokens, length)
    if len(parts) < HELD_OUT:
        raise ManticoreError(f"the text is too short to align on: it has {len(parts)} passages of at least {HELD_OUT}")
    kept = [part for place, part in enumerate(parts) if place % HELD_OUT == HELD_OUT - 1]
    used = [part for place, part in enumerate(parts) if place % HELD_OUT != HELD_OUT - 1]
    seen = _batches(used, readers, base, length)
    tokens = sum(_tokens(reading) for reading in seen)
    return Calibration(seen, _batches(kept, readers, base, length), tokens, _shares(seen))


def _enough(texts: Sequence[str], own: OffsetTokenizer, tokens: int, length: int) -> list[str]:
    """Passages of about `tokens` tokens, and those that are held out; all there are, if that is less.

    Texts may be much shorter than a passage: then more of them are taken.
    """

    def take(count: int) -> tuple[list[str], int]:
        parts = split_passages(texts, count + -(-count // (HELD_OUT - 1)), length * WIDEST)
        read = sum(min(length, len(own.read(part)[0])) for part in parts)
        return parts, read * (HELD_OUT - 1) // HELD_OUT

    count = max(HELD_OUT, -(-tokens // length))
    parts, read = take(count)
    while read < SHORT * tokens:
        count = math.ceil(count * min(4.0, tokens / max(1, read)))
        more, now = take(count)
        if now < GAIN * read:  # that is all there is, only in smaller pieces
            break
        parts, read = more, now
    return parts


def _tokenizer(component: Component, length: int) -> PreTrainedTokenizerBase:
    if component.tokenizer is None:
        raise ManticoreError(f"'{component.name}' has no tokenizer beside its weights; align reads text")
    reach = getattr(component.config, "max_position_embeddings", length)
    if component.layout.positions is not None and reach < length:
        raise ManticoreError(f"'{component.name}' has {reach} positions; use --length {reach} or less")
    return component.tokenizer


def _tokens(reading: CalibrationBatch) -> int:
    return reading.ids_BL.numel() if reading.mask_BL is None else int(reading.mask_BL.sum())


def _batches(
    parts: Sequence[str], readers: Mapping[str, OffsetTokenizer], base: str, length: int
) -> list[CalibrationBatch]:
    own = readers[base]
    unlike = {name: other for name, other in readers.items() if other.print != own.print}
    return [_reading(parts[at : at + BATCH], own, unlike, length) for at in range(0, len(parts), BATCH)]


def _reading(
    parts: Sequence[str], own: OffsetTokenizer, unlike: Mapping[str, OffsetTokenizer], length: int
) -> CalibrationBatch:
    ids_BL, mask_BL = _padded([own.read(part)[0] for part in parts], length)
    donor = {}
    for name, other in unlike.items():
        both = [align_texts(part, own, other) for part in parts]
        theirs_BL, their_mask_BL = _padded([held.ids_b.tolist() for held in both], length)
        rows = [torch.full((len(held.places), 1), row) for row, held in enumerate(both)]
        places_M3 = torch.cat([torch.cat([row, held.places], dim=1) for row, held in zip(rows, both, strict=True)])
        inside = (places_M3[:, 1:] < length).all(dim=1)
        donor[name] = DonorTokens(theirs_BL, places_M3[inside], their_mask_BL)
    return CalibrationBatch(ids_BL, mask_BL, donor)


def _padded(held: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Ids and mask (B, L), cut to `length` and padded on the right."""
    longest = min(length, max(map(len, held)))
    ids_BL = torch.zeros(len(held), longest, dtype=torch.long)
    mask_BL = torch.zeros_like(ids_BL)
    for row, ids in enumerate(held):
        kept = ids[:longest]
        ids_BL[row, : len(kept)] = torch.tensor(kept, dtype=torch.long)
        mask_BL[row, : len(kept)] = 1
    return ids_BL, mask_BL


def _shares(readings: Sequence[CalibrationBatch]) -> dict[str, float]:
    """By component with another tokenizer, the share of base's tokens that pair with one of its own."""
    names = {name for reading in readings for name in reading.donor}
    total = sum(_tokens(reading) for reading in readings)
    return {name: sum(len(reading.donor[name].places_M3) for reading in readings) / total for name in sorted(names)}
