"""Calibration text: passages of documents, tokenized by the base and by donors that have another tokenizer.

Notation: B batch, L length, M pairs of positions.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import torch
from torch import Tensor

from manticore.alignment.token_alignment import OffsetTokenizer, align_texts
from manticore.components import Component
from manticore.components.context_length import check_context_length, component_context_length
from manticore.errors import ManticoreError
from manticore.tasks.dataset import pad_batch

VAL_EVERY = 8
"""One of this number of passages is used for validation."""

MAX_CHARS_PER_TOKEN = 16
"""Largest number of characters of a passage, divided by its largest number of tokens."""

MIN_TOKEN_SHARE = 0.9
"""Share of the requested tokens that suffices. With fewer, more passages are taken."""

MIN_GROWTH = 1.05
"""Smallest factor by which more passages must raise the number of tokens; below it, the text has no more."""

BATCH_SIZE = 8
"""Passages in a batch."""


@dataclass(frozen=True)
class DonorTokens:
    """A batch of calibration text in the tokens of one donor component.

    Attributes:
        ids_BL: (B, L_k) token ids of the donor.
        pairs_M3: (M, 3) int64: sequence, position in the base's tokens, position in the donor's tokens, where both
            tokens end at the same character.
        mask_BL: (B, L_k), 1 for tokens and 0 for padding; None: no padding.
    """

    ids_BL: Tensor
    pairs_M3: Tensor
    mask_BL: Tensor | None = None

    def to(self, device: torch.device | str) -> DonorTokens:
        """A copy on another device."""
        mask_BL = None if self.mask_BL is None else self.mask_BL.to(device)
        return DonorTokens(self.ids_BL.to(device), self.pairs_M3.to(device), mask_BL)


@dataclass(frozen=True)
class CalibrationBatch:
    """A batch of calibration text.

    Attributes:
        ids_BL: (B, L) token ids of the base.
        mask_BL: (B, L), 1 for tokens and 0 for padding; None: no padding.
        donors: by component, the text in its own tokens; components with the base's tokenizer are absent.
    """

    ids_BL: Tensor
    mask_BL: Tensor | None = None
    donors: Mapping[str, DonorTokens] = field(default_factory=dict)

    @property
    def token_batch(self) -> tuple[Tensor, Tensor | None]:
        """Token ids and mask of the base."""
        return self.ids_BL, self.mask_BL

    def to(self, device: torch.device | str) -> CalibrationBatch:
        """A copy on another device."""
        mask_BL = None if self.mask_BL is None else self.mask_BL.to(device)
        donors = {name: tokens.to(device) for name, tokens in self.donors.items()}
        return CalibrationBatch(self.ids_BL.to(device), mask_BL, donors)

    @property
    def tokens(self) -> int:
        """Number of base tokens, padding excluded."""
        return self.ids_BL.numel() if self.mask_BL is None else int(self.mask_BL.sum())


@dataclass(frozen=True)
class Calibration:
    """Calibration text in batches.

    Attributes:
        train: batches that projectors are fitted on.
        val: batches that dampings are chosen on and the fit is measured on.
        tokens: number of base tokens in `train`.
        paired: for each donor with another tokenizer, the share of base tokens that pair with one of the donor's.
    """

    train: list[CalibrationBatch]
    val: list[CalibrationBatch]
    tokens: int
    paired: dict[str, float]

    def to(self, device: torch.device | str) -> Calibration:
        """A copy on another device."""
        train, val = ([batch.to(device) for batch in batches] for batches in (self.train, self.val))
        return Calibration(train, val, self.tokens, self.paired)

    def mixed_with(self, target: Calibration) -> Calibration:
        """This text and another, whose batches are spread evenly among those of this one.

        Text of a later target in the text of an earlier training, in the share rho, costs little there and helps the
        target most (the finetuner's fallacy, arXiv 2603.16177).
        """
        tokens = self.tokens + target.tokens
        shares = self.tokens / tokens, target.tokens / tokens
        paired = {
            name: sum(part.paired[name] * share for part, share in zip((self, target), shares, strict=True))
            for name in self.paired
        }
        return Calibration(_spread(self.train, target.train), _spread(self.val, target.val), tokens, paired)

    @property
    def summary(self) -> str:
        """`4,096 tokens; 81% of them pair with tokens of mamba`."""
        paired = "".join(f"; {share:.0%} of them pair with tokens of {name}" for name, share in self.paired.items())
        return f"{self.tokens:,} tokens{paired}"


def _spread(batches: Sequence[CalibrationBatch], more: Sequence[CalibrationBatch]) -> list[CalibrationBatch]:
    """Two lists in one, each in its order and evenly spread."""
    placed = [((index + 0.5) / len(part), batch) for part in (batches, more) for index, batch in enumerate(part)]
    return [batch for _, batch in sorted(placed, key=lambda item: item[0])]


def build_calibration(
    components: Sequence[Component], base: str, texts: Sequence[str], tokens: int, length: int
) -> Calibration:
    """Cut documents into passages and tokenize them for every component.

    Args:
        components: the base and its donors; each must have a tokenizer.
        base: name of the base component, whose tokens are counted.
        texts: documents.
        tokens: approximate number of base tokens to fit on; fewer if the documents have fewer.
        length: largest number of tokens of a passage.

    Raises ManticoreError if a component has no tokenizer or a shorter context than `length`, or if the documents give
    fewer than `VAL_EVERY` passages.
    """
    tokenizers = {component.name: _offset_tokenizer(component, length) for component in components}
    passages = _take_passages(texts, tokenizers[base], tokens, length)
    if len(passages) < VAL_EVERY:
        raise ManticoreError(
            f"the text is too short to align on: it has {len(passages)} passages of at least {VAL_EVERY}"
        )
    train_passages = [passage for index, passage in enumerate(passages) if index % VAL_EVERY != VAL_EVERY - 1]
    train = _batches(train_passages, tokenizers, base, length)
    val = _batches(passages[VAL_EVERY - 1 :: VAL_EVERY], tokenizers, base, length)
    return Calibration(train, val, sum(batch.tokens for batch in train), _paired_shares(train))


def split_passages(texts: Sequence[str], count: int, width: int) -> list[str]:
    """Cut at most `count` passages of at most `width` characters, evenly spread over the texts, without overlap.

    A text of at most `width` characters is used whole or not at all. A passage that begins inside a longer text begins
    after a whitespace character, where there is one, so that its first word is whole.
    """
    offsets = [0, *accumulate(len(text) for text in texts)]
    starts: dict[int, list[int]] = {}  # by text, where passages begin
    for position in (number * offsets[-1] // count for number in range(count)):
        index = bisect_right(offsets, position) - 1
        start = position - offsets[index] if len(texts[index]) > width else 0
        if start not in starts.setdefault(index, []):
            starts[index].append(start)
    passages = []
    for index, edges in starts.items():
        text = texts[index]
        for start, stop in pairwise([*edges, len(text)]):
            space = next((at for at in range(start, stop) if text[at].isspace()), start) if start else -1
            passages.append(text[space + 1 : min(stop, space + 1 + width)])
    return [passage for passage in passages if passage.strip()]


def _take_passages(texts: Sequence[str], tokenizer: OffsetTokenizer, tokens: int, length: int) -> list[str]:
    """Passages with about `tokens` tokens to fit on, and those for validation; the whole text if it has fewer tokens.

    Documents may be much shorter than `length` tokens, so the number of passages is raised until the tokens suffice.
    """

    def take(count: int) -> tuple[list[str], int]:
        passages = split_passages(texts, count + -(-count // (VAL_EVERY - 1)), length * MAX_CHARS_PER_TOKEN)
        total = sum(min(length, len(tokenizer.encode(passage)[0])) for passage in passages)
        return passages, total * (VAL_EVERY - 1) // VAL_EVERY

    count = max(VAL_EVERY, -(-tokens // length))
    passages, taken = take(count)
    while taken < MIN_TOKEN_SHARE * tokens:
        count = math.ceil(count * min(4.0, tokens / max(1, taken)))
        more_passages, more_taken = take(count)
        if more_taken < MIN_GROWTH * taken:  # the text has no more tokens, it is only cut into smaller passages
            break
        passages, taken = more_passages, more_taken
    return passages


def _offset_tokenizer(component: Component, length: int) -> OffsetTokenizer:
    if component.tokenizer is None:
        raise ManticoreError(f"'{component.name}' has no tokenizer beside its weights; align reads text")
    limits = {component.name: component_context_length(component)}
    check_context_length(limits, length, "a passage", "use --length {limit} or less")
    return OffsetTokenizer(component.tokenizer)


def _batches(
    passages: Sequence[str], tokenizers: Mapping[str, OffsetTokenizer], base: str, length: int
) -> list[CalibrationBatch]:
    base_tokenizer = tokenizers[base]
    different = {name: each for name, each in tokenizers.items() if each.fingerprint != base_tokenizer.fingerprint}
    return [
        _batch(passages[start : start + BATCH_SIZE], base_tokenizer, different, length)
        for start in range(0, len(passages), BATCH_SIZE)
    ]


def _batch(
    passages: Sequence[str], base: OffsetTokenizer, donors: Mapping[str, OffsetTokenizer], length: int
) -> CalibrationBatch:
    ids_BL, mask_BL = _pad([base.encode(passage)[0] for passage in passages], length)
    tokens = {}
    for name, tokenizer in donors.items():
        alignments = [align_texts(passage, base, tokenizer) for passage in passages]
        donor_ids_BL, donor_mask_BL = _pad([alignment.ids_b.tolist() for alignment in alignments], length)
        rows = [torch.full((len(alignment.pairs_M2), 1), row) for row, alignment in enumerate(alignments)]
        pairs_M3 = torch.cat(
            [torch.cat([row, alignment.pairs_M2], dim=1) for row, alignment in zip(rows, alignments, strict=True)]
        )
        within = (pairs_M3[:, 1:] < length).all(dim=1)
        tokens[name] = DonorTokens(donor_ids_BL, pairs_M3[within], donor_mask_BL)
    return CalibrationBatch(ids_BL, mask_BL, tokens)


def _pad(sequences: Sequence[Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask (B, L): sequences cut to `length` and padded on the right with id 0."""
    examples = [(np.asarray(ids[:length], dtype=np.int64), 0) for ids in sequences]
    batch = pad_batch(examples, pad=0, per_token=False)
    return batch["input_ids"], batch["attention_mask"]


def _paired_shares(batches: Sequence[CalibrationBatch]) -> dict[str, float]:
    """For each donor with another tokenizer, the share of base tokens that pair with one of the donor's."""
    names = sorted({name for batch in batches for name in batch.donors})
    total = sum(batch.tokens for batch in batches)
    return {name: sum(len(batch.donors[name].pairs_M3) for batch in batches) / total for name in names}
