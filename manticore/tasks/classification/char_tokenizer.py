"""Text as sequences: a token a byte, or a token a character, and EOS at the end. Knows no task.

Bytes are named as GPT-2's byte-level tokenizer names them, so that a Hugging Face tokenizer can be made of the names:
one printable character each. Characters are those a text to learn from has often enough; all others are `<unk>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError, UnknownName
from manticore.tasks.dataset import Examples
from manticore.tasks.vocabulary import Vocabulary

UNITS = ("bytes", "characters")
COMMON = 15
"""Times a character must be seen to get a token, as in the S4 line of work."""

Ids = NDArray[np.uint16]
RawText = tuple[bytes, int]
"""A text in UTF-8 and its class."""
Encoder = Callable[[bytes], Ids]


def _names() -> list[str]:
    """256 names: a printable Latin-1 character stands for its byte, the n-th other byte is called chr(256 + n)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


BYTES = Vocabulary.of(_names())
_FIRST = BYTES.size - 256


def check_unit(unit: str) -> None:
    """Raises UnknownName if there is no such unit."""
    if unit not in UNITS:
        raise UnknownName("unit of text", unit, UNITS)


def char_encoder(unit: str, length: int, known: Iterable[bytes]) -> tuple[Vocabulary, Encoder]:
    """The vocabulary of a unit, and the function that spells a text in at most `length` tokens, EOS included.

    Args:
        unit: `bytes` or `characters`.
        length: what is longer loses its end.
        known: texts, cut to that length, whose characters are counted.

    Raises UnknownName, or ManticoreError if the texts are too few to count characters in.
    """
    check_unit(unit)
    if unit == "bytes":
        return BYTES, lambda text: _ended(np.frombuffer(text[: length - 1], np.uint8).astype(np.uint16) + _FIRST)
    seen = Counter(character for text in known for character in _read(text)[: length - 1])
    vocabulary = Vocabulary.of(sorted(character for character, times in seen.items() if times >= COMMON))
    codes = np.array([ord(character) for character in vocabulary.tokens[_FIRST:]], dtype=np.uint32)
    if not len(codes):
        raise ManticoreError(f"no character is seen {COMMON} times in the training texts; give more of them")

    def spell(text: bytes) -> Ids:
        read = np.frombuffer(_read(text)[: length - 1].encode("utf-32-le"), "<u4")
        place = codes.searchsorted(read).clip(max=len(codes) - 1)
        return _ended(np.where(codes[place] == read, place + _FIRST, vocabulary.unk).astype(np.uint16))

    return vocabulary, spell


def _read(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _ended(ids: Ids) -> Ids:
    return np.append(ids, np.uint16(BYTES.eos))


def pack_encoded(texts: Sequence[tuple[Sequence[bytes], int]], spell: Encoder) -> Examples:
    """Examples from texts with their classes; the texts of one example follow each other, each with its EOS."""
    spelled = [np.concatenate([spell(text) for text in held]) for held, _ in texts]
    offsets = np.cumsum([0, *map(len, spelled)], dtype=np.int64)
    return Examples(np.concatenate(spelled), offsets, np.array([label for _, label in texts], dtype=np.int64))


def length(examples: Examples) -> NDArray[np.int64]:
    """A cue: how long each sequence is, in steps of a quarter of a doubling."""
    steps: NDArray[np.int64] = np.floor(4 * np.log2(examples.lengths)).astype(np.int64)
    return steps
