"""Where two unlike tokenizers have read the same characters of a text. Knows nothing of models.

Two token positions pair if the tokens up to there, in either tokenizer, stand for the same characters from the start
of the text: no character is half read (byte-level tokenizers may split one), none is in doubt (a normalizer may merge
some). What is in doubt is left out, so a pair is never wrong; `share` says how much is left.
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

MAX_PENDING_TOKENS = 64
"""Doubtful positions in a row after which the rest of a text is given up, so that reading takes linear time."""

Spans = list[tuple[int, int]]
"""For each token, the first character it stands for and the one after its last."""


@dataclass(frozen=True)
class TokenAlignment:
    """One text as two tokenizers read it. Where they are one, half-read characters are left out all the same.

    Attributes:
        ids_a, ids_b: token ids, (La,) and (Lb,), no special tokens added.
        places: (M, 2) int64: positions of `ids_a` and `ids_b` that end at the same character, in rising order.
        ends: (M,) int64: the number of characters read there.
    """

    ids_a: Tensor
    ids_b: Tensor
    places: Tensor
    ends: Tensor

    @property
    def share(self) -> float:
        """Share of the positions of `ids_a` that pair with one of `ids_b`: 0 to 1, and 0 for an empty text."""
        return len(self.places) / max(len(self.ids_a), 1)


class OffsetTokenizer:
    """A tokenizer that also tells, for each token, how far in the text it ends.

    It reads as `tokenizer(text, add_special_tokens=False)` does, without truncation. Post-processors are left out:
    some trim the spaces off what a token is said to stand for. Making one takes a second for a large vocabulary.

    Attributes:
        print: the tokenizer's fingerprint.

    Raises ManticoreError for a slow tokenizer, which cannot tell.
    """

    def __init__(self, words: PreTrainedTokenizerBase) -> None:
        self.print = fingerprint(words)
        held = tokenizer_content(words) | {"post_processor": None, "truncation": None, "padding": None}
        self.full = _built(held, words)
        self.normalizer = self.full.normalizer
        self.bare = self.full if self.normalizer is None else _built(held | {"normalizer": None}, words)

    def read(self, text: str) -> tuple[list[int], dict[int, int]]:
        """Token ids, and by number of characters from the start: the first position after exactly those."""
        found = self.full.encode(text, add_special_tokens=False)
        ids, spans = list(found.ids), list(found.offsets)
        clear = _clear(spans)
        plain = text if self.normalizer is None else self.normalizer.normalize_str(text)
        if self.normalizer is not None and plain != text:
            again = self.bare.encode(plain, add_special_tokens=False)
            clear = self._sure(text, plain, spans, again.offsets, clear) if again.ids == ids else []
        ends: dict[int, int] = {}
        for place in clear:
            ends.setdefault(spans[place][1], place)
        return ids, ends

    def _sure(self, text: str, plain: str, spans: Spans, plain_spans: Spans, clear: list[int]) -> list[int]:
        """Those of `clear` where what was read, and nothing else, becomes the normalized text read so far.

        Offsets alone do not say: a merged character is said to end where its first part does.
        """
        normal, whole = self.normalizer.normalize_str, set(_clear(plain_spans))
        before = normal("x").removesuffix("x")  # some put a mark before every text
        sure, start, begin, doubts = [], 0, 0, 0
        for place in clear:
            end, stop = spans[place][1], plain_spans[place][1]
            made = normal(text[start:end])
            follows = _gap(spans, place, text) <= _gap(plain_spans, place, plain)
            if place in whole and follows and plain[begin:stop] in (made, made.removeprefix(before)):
                sure.append(place)
                start, begin, doubts = end, stop, 0
            elif (doubts := doubts + 1) > MAX_PENDING_TOKENS:
                break
        return sure


def align_texts(text: str, a: OffsetTokenizer, b: OffsetTokenizer) -> TokenAlignment:
    """The text as both read it, and where they have read the same characters."""
    ids_a, ends_a = a.read(text)
    ids_b, ends_b = (ids_a, ends_a) if a.print == b.print else b.read(text)
    ends = sorted(ends_a.keys() & ends_b.keys())
    places = [(ends_a[end], ends_b[end]) for end in ends]
    return TokenAlignment(_ids(ids_a), _ids(ids_b), _ids(places).reshape(-1, 2), _ids(ends))


def align_spans(text: str, a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> TokenAlignment:
    """`paired`, for a single text. Raises ManticoreError for a slow tokenizer."""
    return align_texts(text, OffsetTokenizer(a), OffsetTokenizer(b))


def _ids(values: Sequence[Any]) -> Tensor:
    return torch.tensor(values, dtype=torch.long)


def _built(held: dict[str, Any], words: PreTrainedTokenizerBase) -> Tokenizer:
    made = Tokenizer.from_str(json.dumps(held))
    made.encode_special_tokens = words.backend_tokenizer.encode_special_tokens
    return made


def _clear(spans: Spans) -> list[int]:
    """Positions where every character before the end has been read whole, and none after it has been begun."""
    starts = [start for start, _ in spans[1:]] + [sys.maxsize]
    for place in range(len(starts) - 2, -1, -1):
        starts[place] = min(starts[place], starts[place + 1])
    clear, furthest = [], 0
    for place, (_, end) in enumerate(spans):
        furthest = max(furthest, end)
        if 0 < end == furthest <= starts[place]:
            clear.append(place)
    return clear


def _gap(spans: Spans, place: int, text: str) -> int:
    """Characters between the token at `place` and the next, or the text's end, that no token stands for."""
    following = spans[place + 1][0] if place + 1 < len(spans) else len(text)
    return max(0, following - spans[place][1])
