"""From documents to examples of next-token prediction, by a tokenizer. Knows no task and no model.

Every token of a document, and its end, is told exactly once, from what precedes it in the same document and in the same
chunk of `length` tokens. No chunk holds two documents, so nothing leaks from one to the next, whatever the model.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Examples

BLOCK = 256
"""Documents that are tokenized together."""

Spans = Sequence[tuple[int, int]]
"""Where the characters begin and end that a token stands for."""


def boundary(tokenizer: Any) -> tuple[int, int]:
    """Ids that stand before a document and after it. Raises ManticoreError if the tokenizer has no such token."""
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    if start is None and end is None:
        raise ManticoreError("the tokenizer has no token for the end of a text (eos_token), which documents need")
    return (end if start is None else start), (start if end is None else end)


def chunk(documents: Iterable[str], tokenizer: Any, length: int, groups: Mapping[str, str] | None = None) -> Examples:
    """Examples of at most `length` tokens, each labelled with the token after it.

    `Examples.sizes` are the bytes of text that a chunk tells, the end of a document counting none, nor what the
    tokenizer reads as unknown or passes over. `Examples.groups` are the numbers of documents, or of what they hang
    together with: `groups` has the names of groups by document.
    """
    start, end = boundary(tokenizer)
    blanks = _tells_blanks(tokenizer)
    rows: list[NDArray[np.int64]] = []
    sizes: list[int] = []
    numbers: list[int] = []
    seen: dict[str | int, int] = {}
    for place, (text, ids, spans) in enumerate(_tokenized(documents, tokenizer)):
        number = seen.setdefault((groups or {}).get(text, place), len(seen))
        stream = np.array([start, *ids, end])
        reached = _bytes_at(text, spans, blanks) - _bytes_lost(text, ids, spans, tokenizer)
        for begin in range(0, len(stream) - 1, length):
            stop = min(begin + length, len(stream) - 1)
            rows.append(stream[begin : stop + 1])
            sizes.append(int(reached[stop] - reached[begin]))
            numbers.append(number)
    if not rows:
        raise ManticoreError("there is no text to make examples of")
    lengths = np.array([len(row) - 1 for row in rows])
    kind: Any = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    return Examples(
        np.concatenate([row[:-1] for row in rows]).astype(kind),
        np.cumsum([0, *lengths]),
        np.concatenate([row[1:] for row in rows]).astype(np.int32),
        np.array(sizes),
        np.array(numbers),
    )


def _tokenized(documents: Iterable[str], tokenizer: Any) -> Iterable[tuple[str, Sequence[int], Spans]]:
    """Each document with its token ids and the characters they stand for."""
    held = list(documents)
    for start in range(0, len(held), BLOCK):
        texts = held[start : start + BLOCK]
        out = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        yield from zip(texts, out["input_ids"], out["offset_mapping"], strict=True)


def _bytes_at(text: str, spans: Spans, blanks: bool) -> NDArray[np.int64]:
    """Bytes of `text` told after 0, 1, ... tokens, and after its end.

    What no token stands for is not told; but blanks are, by the token after them, where a tokenizer tells `blanks`, and
    so are marks that are one letter with what stands before them: a normalizer puts the two together.
    """
    size = np.fromiter(map(_size, text), np.int64, count=len(text)) if not text.isascii() else np.ones(len(text), int)
    starts, stops = np.asarray(spans, np.int64).reshape(-1, 2).T
    depth = np.zeros(len(text) + 1, np.int64)
    np.add.at(depth, starts, 1)
    np.add.at(depth, stops, -1)
    for place in np.flatnonzero(np.cumsum(depth)[:-1] == 0).tolist():
        size[place] *= blanks if text[place].isspace() else _composed(text, place)
    upto = np.concatenate([[0], np.cumsum(size)])
    told = np.maximum.accumulate(upto[stops]) if len(stops) else np.zeros(0, np.int64)
    return np.concatenate([[0], told, [upto[-1]]])


def _composed(text: str, place: int) -> bool:
    """Whether what stands there is one letter (Unicode's NFC) with one to three before it."""
    return text[place] > "\x7f" and any(
        len(unicodedata.normalize("NFC", text[place - back : place + 1])) == 1 for back in range(1, min(place, 3) + 1)
    )


def _size(letter: str) -> int:
    return len(letter.encode())


def _tells_blanks(tokenizer: Any) -> bool:
    """Whether two spaces, one, and the end of a line between the same words are told apart."""
    held = tokenizer(["a b", "a  b", "a\nb"], add_special_tokens=False)["input_ids"]
    return len(set(map(tuple, held))) == len(held)


def _bytes_lost(text: str, ids: Sequence[int], spans: Spans, tokenizer: Any) -> NDArray[np.int64]:
    """Bytes of `text` that were read as unknown in 0, 1, ... tokens, and in all of it."""
    lost = np.zeros(len(ids) + 2, np.int64)
    unknown = -1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    for place in np.flatnonzero(np.asarray(ids) == unknown).tolist():
        piece = text[slice(*spans[place])]
        lost[place + 1] = 0 if piece.strip() == tokenizer.unk_token else len(piece.encode())
    return np.cumsum(lost)
