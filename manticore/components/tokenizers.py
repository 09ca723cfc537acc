"""A component's tokenizer, read from where its weights are, and whether several are alike. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from manticore.components.vocabulary import same
from manticore.errors import BadFile

FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
"""Where tokenizers have their tokens."""


def read_tokenizer(source: str, where: Mapping[str, Any]) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model's weights, or None if there is none.

    Args:
        source: folder or hub id.
        where: revision and the like, as transformers takes them.

    Raises BadFile if there is one in a folder that cannot be read.
    """
    file = next((Path(source) / name for name in FILES if (Path(source) / name).is_file()), None)
    try:
        words: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **where)
    except Exception as error:  # transformers, tokenizers, hub and JSON each have their own
        if file is None:
            return None
        reason = str(error).strip().splitlines()[0][:100] if str(error).strip() else type(error).__name__
        raise BadFile(file, f"cannot be read as a tokenizer ({reason})") from None
    # Where there are no files transformers makes one up from the model's kind, with special tokens and nothing else.
    if len(words) > len(words.get_added_vocab()):
        return words
    if file is not None:
        raise BadFile(file, "a tokenizer without tokens of its own")
    return None


def one_vocabulary(tokenizers: Sequence[PreTrainedTokenizerBase | None]) -> bool:
    """Whether all give every text the same ids; who has none is taken to agree. Raises ManticoreError for slow ones."""
    held = [words for words in tokenizers if words is not None]
    return all(same(held[0], other) for other in held[1:])
