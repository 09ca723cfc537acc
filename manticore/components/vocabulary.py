"""Which tokenizers are one and the same, and whether token ids fit an embedding table. Knows nothing of models.

Sameness is a matter of content: what turns text into token ids, and ids back into text. Names, paths, padding and the
special tokens that a post-processor puts around a text play no part, so one tokenizer under two names stays one.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from manticore.errors import ManticoreError

READS = ("normalizer", "pre_tokenizer", "model", "decoder")
"""Parts of a `tokenizer.json` that say which ids a text has, and which text ids have."""


def content(words: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What is in a tokenizer's `tokenizer.json`, as transformers has it in memory.

    Raises ManticoreError for a slow tokenizer, which has none.
    """
    if not words.is_fast:
        raise ManticoreError(
            f"{named(words)} is a slow one, without a tokenizer.json: it cannot be compared or paired with others; "
            "save it once as a fast tokenizer"
        )
    held: dict[str, Any] = json.loads(words.backend_tokenizer.to_str())
    return held


def fingerprint(words: PreTrainedTokenizerBase) -> str:
    """SHA-256, in hex, of what a tokenizer does: the same before and after saving, whatever its name and folder.

    Raises ManticoreError for a slow tokenizer.
    """
    held = content(words)
    kept: dict[str, Any] = {part: _plain(held[part], decodes=part == "decoder") for part in READS}
    kept["added"] = sorted(
        (token["id"], token["content"], *(token[flag] for flag in _flags(held))) for token in held["added_tokens"]
    )
    kept["split_special"] = bool(words.backend_tokenizer.encode_special_tokens)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def same(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers give every text the same ids. Raises ManticoreError for slow ones."""
    return a is b or fingerprint(a) == fingerprint(b)


def check_rows(words: PreTrainedTokenizerBase, rows: int, name: str) -> None:
    """Raises ManticoreError unless every token id has a row in the embedding table of the model called `name`.

    A table may have more: it is often padded to a round number (50,277 tokens in 50,280 rows).
    """
    largest = max(words.get_vocab().values(), default=-1)
    if max(largest + 1, len(words)) > rows:
        raise ManticoreError(
            f"'{name}' has {rows:,} embedding rows, fewer than the {max(largest + 1, len(words)):,} tokens of "
            f"{named(words)}: it is another model's tokenizer"
        )


def check_letters(words: PreTrainedTokenizerBase) -> None:
    """Raises ManticoreError if a tokenizer makes letters small: it would be credited with what it does not tell."""
    normalizer = words.backend_tokenizer.normalizer
    if normalizer is not None and "A" not in normalizer.normalize_str("A"):
        raise ManticoreError(
            f"{named(words)} reads capitals as small letters, so that bits per byte of the text would be too few"
        )


def named(words: PreTrainedTokenizerBase) -> str:
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
