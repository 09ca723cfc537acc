"""Text as a sequence of bytes or characters, one token each, with EOS at the end.

Bytes have the names of GPT-2's byte-level tokenizer, one printable character each, so that a Hugging Face tokenizer can
be built from the vocabulary. Characters are those that are frequent enough in the training texts; all others are
`<unk>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError, UnknownName
from manticore.tasks.dataset import Examples
from manticore.tasks.vocabulary import Vocabulary

UNITS = ("bytes", "characters")

MIN_COUNT = 15
"""Number of occurrences from which a character has its own token, as in the code of S4."""

TokenIds = NDArray[np.uint16]
RawText = tuple[bytes, int]
"""A text in UTF-8 and its class."""


def _byte_names() -> list[str]:
    """256 names: a byte that is printable in Latin-1 has that character; the n-th other byte has chr(256 + n)."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    unprintable = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + unprintable.index(byte)) for byte in range(256)]


BYTES = Vocabulary.of(_byte_names())
_FIRST = BYTES.size - 256


def check_unit(unit: str) -> None:
    """Raises UnknownName if `unit` is neither bytes nor characters."""
    if unit not in UNITS:
        raise UnknownName("unit of text", unit, UNITS)


class CharTokenizer:
    """Encodes texts in at most `length` tokens, EOS included; longer texts are truncated.

    Args:
        unit: `bytes` or `characters`.
        length: largest number of tokens of a text.
        texts: training texts, whose characters (of the first `length - 1`) are counted.

    Raises UnknownName for another unit, and ManticoreError if no character is frequent enough.
    """

    def __init__(self, unit: str, length: int, texts: Iterable[bytes]) -> None:
        check_unit(unit)
        self.unit = unit
        self.length = length
        self.vocabulary = BYTES if unit == "bytes" else self._count_characters(texts)
        # Code points of the vocabulary in increasing order, so that ids are found by bisection.
        names = self.vocabulary.tokens[_FIRST:]
        self._codes = np.array([ord(character) for character in names], dtype=np.uint32)

    def _count_characters(self, texts: Iterable[bytes]) -> Vocabulary:
        counts = Counter(character for text in texts for character in self._characters(text))
        frequent = sorted(character for character, count in counts.items() if count >= MIN_COUNT)
        if not frequent:
            raise ManticoreError(f"no character is seen {MIN_COUNT} times in the training texts; give more of them")
        return Vocabulary.of(frequent)

    def _characters(self, text: bytes) -> str:
        return text.decode("utf-8", "replace")[: self.length - 1]

    def encode(self, text: bytes) -> TokenIds:
        """The ids of a text in UTF-8, EOS included."""
        if self.unit == "bytes":
            ids = np.frombuffer(text[: self.length - 1], np.uint8).astype(np.uint16) + _FIRST
        else:
            codes = np.frombuffer(self._characters(text).encode("utf-32-le"), "<u4")
            index = self._codes.searchsorted(codes).clip(max=len(self._codes) - 1)
            ids = np.where(self._codes[index] == codes, index + _FIRST, self.vocabulary.unk).astype(np.uint16)
        return np.append(ids, np.uint16(self.vocabulary.eos))

    def encode_all(self, examples: Sequence[tuple[Sequence[bytes], int]]) -> Examples:
        """Examples from texts and classes; the texts of an example are concatenated, each with its EOS."""
        sequences = [np.concatenate([self.encode(text) for text in texts]) for texts, _ in examples]
        offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        labels = np.array([label for _, label in examples], dtype=np.int64)
        return Examples(np.concatenate(sequences), offsets, labels)


def length(examples: Examples) -> NDArray[np.int64]:
    """A feature: the length of each sequence, in steps of a quarter of a doubling."""
    steps: NDArray[np.int64] = np.floor(4 * np.log2(examples.lengths)).astype(np.int64)
    return steps
