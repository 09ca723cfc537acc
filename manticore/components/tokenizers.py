"""A component's tokenizer, read from where its weights are, and whether several are alike. Knows no models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from manticore.errors import BadFile, ManticoreError


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
    return all(same_vocabulary(held[0], other) for other in held[1:])


READS = ("normalizer", "pre_tokenizer", "model", "decoder")
"""Parts of a `tokenizer.json` that say which ids a text has, and which text ids have."""


def tokenizer_content(words: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What is in a tokenizer's `tokenizer.json`, as transformers has it in memory.

    Raises ManticoreError for a slow tokenizer, which has none.
    """
    if not words.is_fast:
        raise ManticoreError(
            f"{describe(words)} is a slow one, without a tokenizer.json: it cannot be compared or paired with others; "
            "save it once as a fast tokenizer"
        )
    held: dict[str, Any] = json.loads(words.backend_tokenizer.to_str())
    return held


def fingerprint(words: PreTrainedTokenizerBase) -> str:
    """SHA-256, in hex, of what a tokenizer does: the same before and after saving, whatever its name and folder.

    Raises ManticoreError for a slow tokenizer.
    """
    held = tokenizer_content(words)
    kept: dict[str, Any] = {part: _plain(held[part], decodes=part == "decoder") for part in READS}
    kept["added"] = sorted(
        (token["id"], token["content"], *(token[flag] for flag in _flags(held))) for token in held["added_tokens"]
    )
    kept["split_special"] = bool(words.backend_tokenizer.encode_special_tokens)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def same_vocabulary(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give every text the same ids. Raises ManticoreError for slow ones."""
    return a is b or fingerprint(a) == fingerprint(b)


def check_vocab_size(words: PreTrainedTokenizerBase, rows: int, name: str) -> None:
    """Raises ManticoreError unless every token id has a row in the embedding table of the model called `name`.

    A table may have more: it is often padded to a round number (50,277 tokens in 50,280 rows).
    """
    largest = max(words.get_vocab().values(), default=-1)
    if max(largest + 1, len(words)) > rows:
        raise ManticoreError(
            f"'{name}' has {rows:,} embedding rows, fewer than the {max(largest + 1, len(words)):,} tokens of "
            f"{describe(words)}: it is another model's tokenizer"
        )


def check_case_sensitive(words: PreTrainedTokenizerBase) -> None:
    """Raises ManticoreError if a tokenizer makes letters small: it would be credited with what it does not tell."""
    normalizer = words.backend_tokenizer.normalizer
    if normalizer is not None and "A" not in normalizer.normalize_str("A"):
        raise ManticoreError(
            f"{describe(words)} reads capitals as small letters, so that bits per byte of the text would be too few"
        )


def describe(words: PreTrainedTokenizerBase) -> str:
    """A tokenizer in words: where it was read, or its class."""
    return f"the tokenizer {words.name_or_path or type(words).__name__}"


def _flags(held: dict[str, Any]) -> tuple[str, ...]:
    """Flags of added tokens that tell where they are found. Without a normalizer there is no text but the original."""
    return ("single_word", "lstrip", "rstrip", *(("normalized",) if held["normalizer"] else ()))


def _plain(part: Any, decodes: bool) -> Any:
    """A part without what makes no difference: how offsets are trimmed, a byte decoder's options, '' for None."""
    if isinstance(part, list):
        return [_plain(held, decodes) for held in part]
    if not isinstance(part, dict):
        return part
    if decodes and part.get("type") == "ByteLevel":
        return "ByteLevel"
    kept = {key: value if key == "vocab" else _plain(value, decodes) for key, value in part.items()}
    kept.pop("trim_offsets", None)
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if key in kept:
            kept[key] = kept[key] or None
    return kept
