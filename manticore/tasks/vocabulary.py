"""A task's own small vocabulary. Knows nothing of how text becomes tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from manticore.errors import ManticoreError

PAD, UNK, EOS = "<pad>", "<unk>", "<eos>"


@dataclass(frozen=True)
class Vocabulary:
    """Tokens and their ids, a token's id being its place. Raises ManticoreError if a special or a token is amiss."""

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        missing = [special for special in (PAD, UNK, EOS) if special not in self.tokens]
        if missing:
            raise ManticoreError(f"a vocabulary needs {', '.join(missing)}; Vocabulary.of adds the special tokens")
        twice = sorted({token for token in self.tokens if self.tokens.count(token) > 1})
        if twice:
            raise ManticoreError(f"a vocabulary holds each token once; twice or more: {', '.join(twice)}")

    @classmethod
    def of(cls, tokens: Iterable[str]) -> Vocabulary:
        """The vocabulary of these tokens, with `<pad>`, `<unk>` and `<eos>` put first as ids 0, 1 and 2."""
        return cls((PAD, UNK, EOS, *tokens))

    @property
    def pad(self) -> int:
        """Id that fills a batch to its longest sequence."""
        return self.ids[PAD]

    @property
    def unk(self) -> int:
        """Id of every token that is not in the vocabulary."""
        return self.ids[UNK]

    @property
    def eos(self) -> int:
        """Id that ends every sequence."""
        return self.ids[EOS]

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
        return [self.ids.get(token, self.unk) for token in tokens]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of `ids`."""
        return [self.tokens[index] for index in ids]
