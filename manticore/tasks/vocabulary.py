"""A task's own small vocabulary. Knows nothing of how text becomes tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from manticore.errors import ManticoreError

SPECIALS = PAD, UNK, EOS = "<pad>", "<unk>", "<eos>"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids, a token's id being its place: with the three special tokens, or with none of them.

    Raises ManticoreError if a special or a token is amiss.
    """

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        missing = [special for special in SPECIALS if special not in self.tokens]
        if 0 < len(missing) < len(SPECIALS):
            raise ManticoreError(f"a vocabulary needs {', '.join(missing)}; Vocabulary.of adds the special tokens")
        twice = sorted(token for token, times in Counter(self.tokens).items() if times > 1)
        if twice:
            raise ManticoreError(f"a vocabulary holds each token once; twice or more: {', '.join(twice)}")

    @classmethod
    def of(cls, tokens: Iterable[str]) -> Vocabulary:
        """The vocabulary of these tokens, with `<pad>`, `<unk>` and `<eos>` put first as ids 0, 1 and 2."""
        return cls((*SPECIALS, *tokens))

    @classmethod
    def plain(cls, size: int) -> Vocabulary:
        """The ids 0..size - 1 under their own names, without specials: for sequences of one length."""
        return cls(tuple(map(str, range(size))))

    @property
    def has_specials(self) -> bool:
        """Whether sequences can be padded by a token of their own, hold unknown tokens, and end in EOS."""
        return EOS in self.ids

    @property
    def pad(self) -> int:
        """Id that fills a batch to its longest sequence; 0 without specials, told from a token by the mask alone."""
        return self.ids.get(PAD, 0)

    @property
    def unk(self) -> int:
        """Id of every token that is not in the vocabulary. Raises ManticoreError if there is none."""
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
        """Token to id."""
        return {token: index for index, token in enumerate(self.tokens)}

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of `tokens`, unknown ones as `unk`; no EOS is added."""
        found = [self.ids.get(token) for token in tokens]
        return [self.unk if index is None else index for index in found]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of `ids`."""
        return [self.tokens[index] for index in ids]
