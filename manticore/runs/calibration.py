"""From text files to the batches that models are aligned on: passages spread over all text, read by every tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from manticore.alignment import Foreign, Reading
from manticore.components import Component
from manticore.errors import BadFile, ManticoreError

HELD_OUT = 8
"""One passage in so many is kept for choosing dampings and measuring."""

WIDEST = 16
"""Characters of a passage, at most, for each token that is wanted of it."""

BATCH = 8
"""Passages in a batch."""


@dataclass(frozen=True)
class Calibration:
    """Batches to fit on and to measure on, and how many home tokens the first have."""

    seen: list[Reading]
    held: list[Reading]
    tokens: int


def read_texts(files: Sequence[Path]) -> list[str]:
    """The files' texts. Raises BadFile for one that cannot be read, is no UTF-8 text, or is empty."""
    texts = []
    for file in files:
        try:
            text = file.read_bytes().decode("utf-8")
        except OSError as error:
            raise BadFile(file, f"cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise BadFile(file, "not text in UTF-8") from None
        if "\0" in text:
            raise BadFile(file, "not text: it has zero bytes")
        if not text.strip():
            raise BadFile(file, "holds no text")
        texts.append(text)
    return texts


def passages(texts: Sequence[str], count: int, width: int) -> list[str]:
    """About `count` passages of at most `width` characters, evenly spread over the texts; no two overlap.

    A passage starts after a blank, where there is one, so that no word is cut at its start.
    """
    whole = sum(len(text) for text in texts)
    out = []
    for text in texts:
        share = max(1, round(count * len(text) / whole))
        edges = [place * len(text) // share for place in range(share + 1)]
        for start, stop in pairwise(edges):
            blank = next((place for place in range(start, stop) if text[place].isspace()), start) if start else -1
            out.append(text[blank + 1 : min(stop, blank + 1 + width)])
    return [passage for passage in out if passage.strip()]


def calibration(
    components: Sequence[Component], home: str, texts: Sequence[str], tokens: int, length: int
) -> Calibration:
    """Text to align on.

    Args:
        components: who reads it; each must have a tokenizer.
        home: whose tokens are counted.
        texts: as `read_texts` returns them.
        tokens: home tokens to fit on, about; fewer if there is not so much text.
        length: home tokens of a passage.

    Raises ManticoreError if a component has no tokenizer, or too few positions, or if there is too little text.
    """
    tokenizers = {held.name: _tokenizer(held, length) for held in components}
    count = max(HELD_OUT, -(-tokens // length))
    parts = passages(texts, count + -(-count // (HELD_OUT - 1)), length * WIDEST)
    if len(parts) < HELD_OUT:
        raise ManticoreError(f"the text is too short to align on: it has {len(parts)} passages of at least {HELD_OUT}")
    kept = [part for place, part in enumerate(parts) if place % HELD_OUT == HELD_OUT - 1]
    used = [part for place, part in enumerate(parts) if place % HELD_OUT != HELD_OUT - 1]
    seen = _batches(used, tokenizers, home, length)
    return Calibration(seen, _batches(kept, tokenizers, home, length), sum(_tokens(reading) for reading in seen))


def _tokenizer(component: Component, length: int) -> PreTrainedTokenizerBase:
    if component.tokenizer is None:
        raise ManticoreError(f"'{component.name}' has no tokenizer beside its weights; align reads text")
    reach = getattr(component.config, "max_position_embeddings", length)
    if component.anatomy.positions is not None and reach < length:
        raise ManticoreError(f"'{component.name}' has {reach} positions; use --length {reach} or less")
    return component.tokenizer


def _tokens(reading: Reading) -> int:
    return reading.ids_BL.numel() if reading.mask_BL is None else int(reading.mask_BL.sum())


def _batches(
    parts: Sequence[str], tokenizers: Mapping[str, PreTrainedTokenizerBase], home: str, length: int
) -> list[Reading]:
    own = tokenizers[home].get_vocab()
    unlike = {name: other for name, other in tokenizers.items() if name != home and other.get_vocab() != own}
    return [_reading(parts[at : at + BATCH], tokenizers[home], unlike, length) for at in range(0, len(parts), BATCH)]


def _reading(
    parts: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
    unlike: Mapping[str, PreTrainedTokenizerBase],
    length: int,
) -> Reading:
    ids_BL, mask_BL, ends = _tokenize(tokenizer, parts, length)
    foreign = {}
    for name, other in unlike.items():
        theirs_BL, their_mask_BL, their_ends = _tokenize(other, parts, length)
        foreign[name] = Foreign(theirs_BL, _places(ends, their_ends), their_mask_BL)
    return Reading(ids_BL, mask_BL, foreign)


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, parts: Sequence[str], length: int
) -> tuple[Tensor, Tensor, list[list[int]]]:
    """Ids and mask (B, L), padded on the right, and the character at which each token ends."""
    held = [tokenizer(part, add_special_tokens=False, return_offsets_mapping=True, verbose=False) for part in parts]
    longest = min(length, max(len(one["input_ids"]) for one in held))
    ids_BL = torch.zeros(len(parts), longest, dtype=torch.long)
    mask_BL = torch.zeros_like(ids_BL)
    for row, one in enumerate(held):
        kept = one["input_ids"][:longest]
        ids_BL[row, : len(kept)] = torch.tensor(kept, dtype=torch.long)
        mask_BL[row, : len(kept)] = 1
    return ids_BL, mask_BL, [[stop for _, stop in one["offset_mapping"][:longest]] for one in held]


def _places(ours: list[list[int]], theirs: list[list[int]]) -> Tensor:
    """Where tokens of both end at the same character, (M, 3): sequence, place in ours, place in theirs.

    Of several tokens that end there, such as the bytes of one letter, the last has read all of it.
    """
    found = []
    for row, (here, there) in enumerate(zip(ours, theirs, strict=True)):
        last, other = ({end: place for place, end in enumerate(ends)} for ends in (here, there))
        found += [(row, last[end], other[end]) for end in last if end in other]
    return torch.tensor(found, dtype=torch.long).reshape(-1, 3)
