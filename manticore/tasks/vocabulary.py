"""The small vocabulary of a task that brings its own tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from manticore.errors import ManticoreError

SPECIALS = PAD, UNK, EOS = "<pad>", "<unk>", "<eos>"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids; the id of a token is its index. It has all three special tokens, or none of them.

    Raises ManticoreError if some special tokens are missing, or a token occurs twice.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        missing = [special for special in SPECIALS if special not in self.tokens]
        if 0 < len(missing) < len(SPECIALS):
            raise ManticoreError(f"a vocabulary needs {', '.join(missing)}; Vocabulary.of adds the special tokens")
        duplicates = sorted(token for token, times in Counter(self.tokens).items() if times > 1)
        if duplicates:
            raise ManticoreError(f"a vocabulary has each token once; duplicates: {', '.join(duplicates)}")

    @classmethod
    def of(cls, tokens: Iterable[str]) -> Vocabulary:
        """The vocabulary of these tokens, after `<pad>`, `<unk>` and `<eos>` with the ids 0, 1 and 2."""
        return cls((*SPECIALS, *tokens))

    @classmethod
    def plain(cls, size: int) -> Vocabulary:
        """The ids 0..size - 1, named by their numbers, without special tokens: for sequences of one length."""
        return cls(tuple(map(str, range(size))))

    @property
    def has_specials(self) -> bool:
        """Whether there are tokens for padding, for unknown tokens and for the end of a sequence."""
        return EOS in self.ids

    @property
    def pad(self) -> int:
        """Id of the padding; 0 without special tokens, where only the attention mask marks padding."""
        return self.ids.get(PAD, 0)

    @property
    def unk(self) -> int:
        """Id of tokens that are not in the vocabulary. Raises ManticoreError if there is none."""
        return self._special(UNK)

    @property
    def eos(self) -> int:
        """Id that ends every sequence. Raises ManticoreError if there is none."""
        return self._special(EOS)

    def _special(self, token: str) -> int:
        if token not in self.ids:
            raise ManticoreError(f"this vocabulary of {self.size} tokens has no {token}")
        return self.ids[token]

    @property
    def size(self) -> int:
        """Number of tokens V."""
        return len(self.tokens)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Ids by token."""
        return {token: index for index, token in enumerate(self.tokens)}

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of `tokens`; `unk` for unknown ones. No EOS is added."""
        ids = [self.ids.get(token) for token in tokens]
        return [self.unk if index is None else index for index in ids]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of `ids`."""
        return [self.tokens[index] for index in ids]
