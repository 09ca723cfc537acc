"""From a trained hybrid to a folder anyone can load: weights, code, tokenizer, card. Written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from manticore.errors import ManticoreError
from manticore.export.custom_code import embed_custom_code
from manticore.utils.io import atomic_dir, write_text


def save_checkpoint(hybrid: PreTrainedModel, words: PreTrainedTokenizerBase | None, out: Path, card: str) -> Path:
    """Write `hybrid` as a Hugging Face checkpoint.

    Args:
        hybrid: the discrete hybrid.
        words: the tokenizer, if there is one.
        out: the folder; must not exist.
        card: text of its README.md.

    Raises ManticoreError if `out` exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    with atomic_dir(out) as part:
        hybrid.save_pretrained(part)
        embed_custom_code(part, hybrid.config)
        if words is not None:
            words.save_pretrained(part)
        write_text(part / "README.md", card)
    return out
