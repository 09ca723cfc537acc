"""Chunks of tokens, labelled with the next token, from documents and a tokenizer.

Every token of a document, and its end, is predicted exactly once, from the tokens before it in the same chunk. No chunk
has tokens of two documents, so that no model can carry information from one document to the next.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Examples
from manticore.tasks.language.pieces import pieces

BATCH, BATCH_CHARACTERS = 256, 500_000
"""Most documents, and most characters of several, that are tokenized at once."""

Spans = Sequence[tuple[int, int]]
"""For each token, the characters it stands for: start and end."""


def boundary_tokens(tokenizer: Any) -> tuple[int, int]:
    """Ids before and after a document. Raises ManticoreError if the tokenizer has neither."""
    start, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    if start is None and end is None:
        raise ManticoreError("the tokenizer has no token for the end of a text (eos_token), which documents need")
    return (end if start is None else start), (start if end is None else end)


def chunk(documents: Iterable[str], tokenizer: Any, length: int, groups: Mapping[str, str] | None = None) -> Examples:
    """Examples of at most `length` tokens, each token labelled with the next one.

    `Examples.num_bytes` are the bytes of text that the labels of a chunk stand for. The end of a document, and
    characters that the tokenizer reads as unknown or skips, count no bytes. `Examples.groups` are numbers of documents,
    or of groups of documents.

    Args:
        documents: the texts.
        tokenizer: a fast Hugging Face tokenizer.
        length: largest number of tokens of a chunk.
        groups: name of the group of each document that belongs to one.

    Long documents are tokenized in pieces. Raises ManticoreError if there are no documents, if the tokenizer has no
    token for their ends, or if it must read a document of many megabytes as a whole.
    """
    start, end = boundary_tokens(tokenizer)
    rows: list[NDArray[np.int32]] = []
    sizes: list[int] = []
    numbers: list[int] = []
    seen: dict[str | int, int] = {}
    texts = list(documents)
    for index, ids, predicted in _tokenize(texts, tokenizer):
        number = seen.setdefault((groups or {}).get(texts[index], index), len(seen))
        stream = np.concatenate([[start], ids, [end]], dtype=np.int32)
        for begin in range(0, len(stream) - 1, length):
            stop = min(begin + length, len(stream) - 1)
            rows.append(stream[begin : stop + 1])
            sizes.append(int(predicted[stop] - predicted[begin]))
            numbers.append(number)
    if not rows:
        raise ManticoreError("there is no text to make examples of")
    lengths = np.array([len(row) - 1 for row in rows])
    id_type: Any = np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32
    return Examples(
        np.concatenate([row[:-1] for row in rows]).astype(id_type),
        np.cumsum([0, *lengths]),
        np.concatenate([row[1:] for row in rows]).astype(np.int32),
        np.array(sizes),
        np.array(numbers),
    )


def _tokenize(texts: Sequence[str], tokenizer: Any) -> Iterator[tuple[int, NDArray[np.int32], NDArray[np.int64]]]:
    """The index of each document, its ids, and the bytes that are predicted after 0, 1, ... of them and its end."""
    keeps_blanks = _keeps_blanks(tokenizer)
    for index, parts in groupby(_tokenize_pieces(texts, tokenizer), key=itemgetter(0)):
        ids: list[NDArray[np.int32]] = []
        predicted, total = [np.zeros(1, np.int64)], 0
        for _, piece, piece_ids, spans in parts:
            known = _bytes_predicted(piece, spans, keeps_blanks) - _bytes_unknown(piece, piece_ids, spans, tokenizer)
            ids.append(np.array(piece_ids, np.int32))
            predicted.append(total + known[1:-1])
            total += int(known[-1])
        yield index, np.concatenate(ids), np.concatenate([*predicted, [total]])


def _tokenize_pieces(texts: Sequence[str], tokenizer: Any) -> Iterator[tuple[int, str, Sequence[int], Spans]]:
    """The pieces of all documents in order: index of the document, text, token ids and their characters."""
    batch: list[tuple[int, str]] = []
    size = 0
    for index, text in enumerate(texts):
        for piece in pieces(text, tokenizer):
            if len(batch) == BATCH or size + len(piece) > BATCH_CHARACTERS:
                yield from _encode(batch, tokenizer)
                batch, size = [], 0
            batch.append((index, piece))
            size += len(piece)
    yield from _encode(batch, tokenizer)


def _encode(batch: Sequence[tuple[int, str]], tokenizer: Any) -> Iterator[tuple[int, str, Sequence[int], Spans]]:
    """Tokenize some pieces at once; yields for each what `_tokenize_pieces` yields."""
    if not batch:
        return
    texts = [text for _, text in batch]
    encoded = tokenizer(texts, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    for (index, text), ids, spans in zip(batch, encoded["input_ids"], encoded["offset_mapping"], strict=True):
        yield index, text, ids, spans


def _bytes_predicted(text: str, spans: Spans, keeps_blanks: bool) -> NDArray[np.int64]:
    """Bytes of `text` that are predicted after 0, 1, ... tokens, and after its end: (tokens + 2,).

    Characters outside all spans are not predicted, with two exceptions: blanks, which the token behind them predicts if
    the tokenizer `keeps_blanks`; and combining marks that a normalizer merges with the letter before them.
    """
    size = np.fromiter(map(_size, text), np.int64, count=len(text)) if not text.isascii() else np.ones(len(text), int)
    starts, stops = np.asarray(spans, np.int64).reshape(-1, 2).T
    # depth[i] after the cumulative sum: number of spans that cover character i.
    depth = np.zeros(len(text) + 1, np.int64)
    np.add.at(depth, starts, 1)
    np.add.at(depth, stops, -1)
    for index in np.flatnonzero(np.cumsum(depth)[:-1] == 0).tolist():
        size[index] *= keeps_blanks if text[index].isspace() else _is_composed(text, index)
    cumulative = np.concatenate([[0], np.cumsum(size)])
    after_tokens = np.maximum.accumulate(cumulative[stops]) if len(stops) else np.zeros(0, np.int64)
    return np.concatenate([[0], after_tokens, [cumulative[-1]]])


def _is_composed(text: str, index: int) -> bool:
    """Whether the character forms one letter (Unicode's NFC) with one to three characters before it."""
    return text[index] > "\x7f" and any(
        len(unicodedata.normalize("NFC", text[index - back : index + 1])) == 1 for back in range(1, min(index, 3) + 1)
    )


def _size(character: str) -> int:
    return len(character.encode())


def _keeps_blanks(tokenizer: Any) -> bool:
    """Whether one space, two spaces and a line end between words give different ids."""
    ids = tokenizer(["a b", "a  b", "a\nb"], add_special_tokens=False)["input_ids"]
    return len(set(map(tuple, ids))) == len(ids)


def _bytes_unknown(text: str, ids: Sequence[int], spans: Spans, tokenizer: Any) -> NDArray[np.int64]:
    """Bytes of `text` that the unknown token stands for in the first 0, 1, ... tokens, and in all: (tokens + 2,)."""
    lost = np.zeros(len(ids) + 2, np.int64)
    unknown = -1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id
    for index in np.flatnonzero(np.asarray(ids) == unknown).tolist():
        characters = text[slice(*spans[index])]
        lost[index + 1] = 0 if characters.strip() == tokenizer.unk_token else len(characters.encode())
    return np.cumsum(lost)
