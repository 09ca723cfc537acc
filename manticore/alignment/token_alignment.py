"""Aligns two tokenizations of a text at the positions where both end at the same character.

Two positions form a pair if the tokens up to them, in either tokenizer, represent exactly the same characters from the
start of the text. Positions are left out where a character is split between tokens, as byte-level tokenizers do, and
where a normalizer makes offsets ambiguous, as when it merges characters. So every pair is exact, and
`TokenAlignment.share` is the share of positions that pair.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from manticore.components.tokenizers import fingerprint, tokenizer_content

MAX_AMBIGUOUS_TOKENS = 64
"""Consecutive ambiguous positions after which the rest of a text is left out, so that the time stays linear."""

TokenSpans = list[tuple[int, int]]
"""For each token, its first character and the one after its last."""


@dataclass(frozen=True)
class TokenAlignment:
    """One text in the tokens of two tokenizers, a and b. Split characters are left out even if both are the same.

    Attributes:
        ids_a, ids_b: token ids without special tokens, (La,) and (Lb,).
        pairs_M2: (M, 2) int64: positions in `ids_a` and `ids_b` that end at the same character, in ascending order.
        ends_M: (M,) int64: number of characters of the text up to there.
    """

    ids_a: Tensor
    ids_b: Tensor
    pairs_M2: Tensor
    ends_M: Tensor

    @property
    def share(self) -> float:
        """Share of the positions of `ids_a` that pair: 0 to 1, and 0 for an empty text."""
        return len(self.pairs_M2) / max(len(self.ids_a), 1)


class OffsetTokenizer:
    """A tokenizer that also returns the number of characters up to each token.

    It encodes as `tokenizer(text, add_special_tokens=False)` does, without truncation and without post-processor, since
    some post-processors trim whitespace off the offsets. Construction takes about a second for a large vocabulary.

    Attributes:
        fingerprint: fingerprint of the tokenizer; see `tokenizers.fingerprint`.

    Raises ManticoreError for a slow tokenizer, which has no offsets.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.fingerprint = fingerprint(tokenizer)
        content = tokenizer_content(tokenizer) | {"post_processor": None, "truncation": None, "padding": None}
        self._full = _build(content, tokenizer)
        self._normalizer = self._full.normalizer
        # The same tokenizer without its normalizer, for text that is already normalized.
        self._bare = self._full if self._normalizer is None else _build(content | {"normalizer": None}, tokenizer)

    def encode(self, text: str) -> tuple[list[int], dict[int, int]]:
        """Token ids, and for each unambiguous number of characters the first position that ends there."""
        encoding = self._full.encode(text, add_special_tokens=False)
        ids, spans = list(encoding.ids), list(encoding.offsets)
        positions = _complete_positions(spans)
        normalized = text if self._normalizer is None else self._normalizer.normalize_str(text)
        if self._normalizer is not None and normalized != text:
            again = self._bare.encode(normalized, add_special_tokens=False)
            same = again.ids == ids
            positions = self._exact_positions(text, normalized, spans, again.offsets, positions) if same else []
        ends: dict[int, int] = {}
        for position in positions:
            ends.setdefault(spans[position][1], position)
        return ids, ends

    def _exact_positions(
        self, text: str, normalized: str, spans: TokenSpans, normalized_spans: TokenSpans, positions: list[int]
    ) -> list[int]:
        """The positions up to which the text normalizes to exactly the normalized text up to the same token.

        Offsets alone do not show this: the offset of a merged character ends after the first of its parts.
        """
        normalize, complete = self._normalizer.normalize_str, set(_complete_positions(normalized_spans))
        prefix = normalize("x").removesuffix("x")  # some normalizers put a mark before every text
        exact, start, normalized_start, ambiguous = [], 0, 0, 0
        for position in positions:
            end, normalized_end = spans[position][1], normalized_spans[position][1]
            part = normalize(text[start:end])
            no_gap = _gap(spans, position, text) <= _gap(normalized_spans, position, normalized)
            matches = normalized[normalized_start:normalized_end] in (part, part.removeprefix(prefix))
            if position in complete and no_gap and matches:
                exact.append(position)
                start, normalized_start, ambiguous = end, normalized_end, 0
            elif (ambiguous := ambiguous + 1) > MAX_AMBIGUOUS_TOKENS:
                break
        return exact


def align_texts(text: str, a: OffsetTokenizer, b: OffsetTokenizer) -> TokenAlignment:
    """Tokenize a text with both and pair the positions that end at the same character."""
    ids_a, ends_a = a.encode(text)
    ids_b, ends_b = (ids_a, ends_a) if a.fingerprint == b.fingerprint else b.encode(text)
    ends = sorted(ends_a.keys() & ends_b.keys())
    pairs = [(ends_a[end], ends_b[end]) for end in ends]
    return TokenAlignment(_ids(ids_a), _ids(ids_b), _ids(pairs).reshape(-1, 2), _ids(ends))


def _ids(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)


def _build(content: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """A tokenizer with the content of a `tokenizer.json`, which treats special tokens in a text as `tokenizer` does."""
    built = Tokenizer.from_str(json.dumps(content))
    built.encode_special_tokens = tokenizer.backend_tokenizer.encode_special_tokens
    return built


def _complete_positions(spans: TokenSpans) -> list[int]:
    """Positions where the tokens so far cover whole characters, and no later token begins before their end."""
    starts = [start for start, _ in spans[1:]] + [sys.maxsize]
    for position in range(len(starts) - 2, -1, -1):  # the first character of all later tokens
        starts[position] = min(starts[position], starts[position + 1])
    complete, furthest = [], 0
    for position, (_, end) in enumerate(spans):
        furthest = max(furthest, end)
        if 0 < end == furthest <= starts[position]:
            complete.append(position)
    return complete


def _gap(spans: TokenSpans, position: int, text: str) -> int:
    """Number of characters between a token and the next, or the end of the text, that no token represents."""
    following = spans[position + 1][0] if position + 1 < len(spans) else len(text)
    return max(0, following - spans[position][1])
