"""A component's tokenizer, read from where its weights are, and whether several are alike. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from manticore.components.vocabulary import same


def read_tokenizer(source: str, where: Mapping[str, Any]) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model's weights, or None if there is none that can be read.

    Args:
        source: folder or hub id.
        where: revision and the like, as transformers takes them.
    """
    try:
        words: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **where)
    except Exception:  # transformers, tokenizers, hub and JSON each have their own
        return None
    # Where there are no files transformers makes one up from the model's kind, with special tokens and nothing else.
    return words if len(words) > len(words.get_added_vocab()) else None


def one_vocabulary(tokenizers: Sequence[PreTrainedTokenizerBase | None]) -> bool:
    """Whether all give every text the same ids; who has none is taken to agree. Raises ManticoreError for slow ones."""
    held = [words for words in tokenizers if words is not None]
    return all(same(held[0], other) for other in held[1:])
