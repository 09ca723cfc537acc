"""A component's tokenizer, read from where its weights are, and whether several are alike. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from manticore.components.vocabulary import same
from manticore.errors import BadFile


def read_tokenizer(source: str, where: Mapping[str, Any]) -> PreTrainedTokenizerBase | None:
    """The tokenizer beside a model's weights, or None if there is none that can be read.

    Args:
        source: folder or hub id.
        where: revision and the like, as transformers takes them.

    Raises BadFile for a damaged tokenizer.json in a folder.
    """
    try:
        words: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, **where)
    except Exception:  # transformers, tokenizers, hub and JSON each have their own
        _check(Path(source) / "tokenizer.json")
        return None
    # Where there are no files transformers makes one up from the model's kind, with special tokens and nothing else.
    if len(words) > len(words.get_added_vocab()):
        return words
    _check(Path(source) / "tokenizer.json")
    return None


def _check(file: Path) -> None:
    """Raises BadFile if there is such a file, and no tokenizer with tokens in it."""
    if not file.is_file():
        return
    try:
        tokens = Tokenizer.from_file(str(file)).get_vocab_size(with_added_tokens=False)
    except Exception as error:
        raise BadFile(file, f"cannot be read as a tokenizer ({str(error).strip().splitlines()[0][:100]})") from None
    if not tokens:
        raise BadFile(file, "a tokenizer without tokens")


def one_vocabulary(tokenizers: Sequence[PreTrainedTokenizerBase | None]) -> bool:
    """Whether all give every text the same ids; who has none is taken to agree. Raises ManticoreError for slow ones."""
    held = [words for words in tokenizers if words is not None]
    return all(same(held[0], other) for other in held[1:])
