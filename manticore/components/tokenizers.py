"""Tokenizers of components: reading them, comparing them, and checks on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from manticore.errors import BadFile, ManticoreError

CONTENT_PARTS = ("normalizer", "pre_tokenizer", "model", "decoder")
"""Parts of a `tokenizer.json` that determine how text is encoded and decoded."""


def read_tokenizer(source: str, options: Mapping[str, Any]) -> PreTrainedTokenizerBase | None:
    """Read the tokenizer of a model; None if the model has none. Code beside it is never run.

    Args:
        source: folder or hub id.
        options: `revision`, `local_files_only` and others, as `AutoTokenizer.from_pretrained` takes them.

    Raises BadFile for a damaged tokenizer.json in a folder, and for a tokenizer that cannot encode text.
    """
    tokenizer: PreTrainedTokenizerBase | None
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **{**options, "trust_remote_code": False})
    except Exception:  # transformers, tokenizers, hub and JSON raise different ones
        tokenizer = None
    # Without tokenizer files, transformers returns an empty tokenizer of the model's type, with special tokens only.
    if tokenizer is None or len(tokenizer) <= len(tokenizer.get_added_vocab()):
        _check_file(Path(source) / "tokenizer.json")
        return None
    try:
        tokenizer("")
    except Exception as error:  # of settings of another type, such as a length that is a text
        file = Path(source) / "tokenizer_config.json"
        raise BadFile(file, f"a tokenizer that cannot encode text ({' '.join(str(error).split())[:100]})") from None
    return tokenizer


def _check_file(file: Path) -> None:
    """Raises BadFile if there is such a file and it is no tokenizer, or one without tokens."""
    if not file.is_file():
        return
    try:
        tokens = Tokenizer.from_file(str(file)).get_vocab_size(with_added_tokens=False)
    except Exception as error:
        raise BadFile(file, f"cannot be read as a tokenizer ({str(error).strip().splitlines()[0][:100]})") from None
    if not tokens:
        raise BadFile(file, "a tokenizer without tokens")


def one_vocabulary(tokenizers: Sequence[PreTrainedTokenizerBase | None]) -> bool:
    """Whether all tokenizers encode every text as the same ids; None, for a model without a tokenizer, is ignored.

    Raises ManticoreError for slow tokenizers.
    """
    present = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
    return all(same_vocabulary(present[0], tokenizer) for tokenizer in present[1:])


def same_vocabulary(a: PreTrainedTokenizerBase, b: PreTrainedTokenizerBase) -> bool:
    """Whether two tokenizers encode every text as the same ids. Raises ManticoreError for slow tokenizers."""
    return a is b or fingerprint(a) == fingerprint(b)


def fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256, in hex, of how a tokenizer encodes and decodes; it does not depend on name, folder or saving.

    Raises ManticoreError for a slow tokenizer.
    """
    content = tokenizer_content(tokenizer)
    parts: dict[str, Any] = {part: _canonical(content[part], decoder=part == "decoder") for part in CONTENT_PARTS}
    flags = _added_token_flags(content)
    parts["added"] = sorted(
        (token["id"], token["content"], *(token[flag] for flag in flags)) for token in content["added_tokens"]
    )
    parts["split_special"] = bool(tokenizer.backend_tokenizer.encode_special_tokens)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def tokenizer_content(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The content of a tokenizer's `tokenizer.json`. Raises ManticoreError for a slow tokenizer, which has none."""
    if not tokenizer.is_fast:
        raise ManticoreError(
            f"{describe(tokenizer)} is a slow one, without a tokenizer.json: it cannot be compared or paired with "
            "others; save it once as a fast tokenizer"
        )
    content: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    return content


def check_vocab_size(tokenizer: PreTrainedTokenizerBase, rows: int, name: str) -> None:
    """Raises ManticoreError unless every token id has a row in the embedding table of the model called `name`.

    A table may have more rows than tokens: it is often padded to a round number (50,277 tokens in 50,280 rows).
    """
    largest_id = max(tokenizer.get_vocab().values(), default=-1)
    tokens = max(largest_id + 1, len(tokenizer))
    if tokens > rows:
        raise ManticoreError(
            f"'{name}' has {rows:,} embedding rows, fewer than the {tokens:,} tokens of {describe(tokenizer)}: "
            "it is another model's tokenizer"
        )


def check_case_sensitive(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ManticoreError if a tokenizer lowercases text: its bits per byte would be underestimated."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    if normalizer is not None and "A" not in normalizer.normalize_str("A"):
        raise ManticoreError(
            f"{describe(tokenizer)} lowercases text, so bits per byte of the text would be underestimated"
        )


def describe(tokenizer: PreTrainedTokenizerBase) -> str:
    """A tokenizer in a message: where it was read, or its class."""
    return f"the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__}"


def _added_token_flags(content: dict[str, Any]) -> tuple[str, ...]:
    """Flags that determine where added tokens match; `normalized` has no effect without a normalizer."""
    return ("single_word", "lstrip", "rstrip", *(("normalized",) if content["normalizer"] else ()))


def _canonical(part: Any, decoder: bool) -> Any:
    """A part without entries that change no encoding: trimmed offsets, options of a byte decoder, '' for None."""
    if isinstance(part, list):
        return [_canonical(item, decoder) for item in part]
    if not isinstance(part, dict):
        return part
    if decoder and part.get("type") == "ByteLevel":
        return "ByteLevel"
    canonical = {key: value if key == "vocab" else _canonical(value, decoder) for key, value in part.items()}
    canonical.pop("trim_offsets", None)
    for key in ("continuing_subword_prefix", "end_of_word_suffix"):
        if key in canonical:
            canonical[key] = canonical[key] or None
    return canonical
