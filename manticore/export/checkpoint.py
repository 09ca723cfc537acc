"""Writes hybrids as Hugging Face checkpoints: weights, code, tokenizer and model card, atomically."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from manticore.errors import ManticoreError
from manticore.export.custom_code import embed_custom_code
from manticore.utils.io import atomic_dir, write_text


def save_checkpoint(hybrid: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None, out: Path, card: str) -> Path:
    """Write a hybrid as a Hugging Face checkpoint, which loads with or without manticore installed.

    Args:
        hybrid: the discrete hybrid.
        tokenizer: its tokenizer; None: the checkpoint has none.
        out: folder to write; must not exist.
        card: text of its README.md.

    Returns `out`. Raises ManticoreError if it exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    with atomic_dir(out) as part:
        hybrid.save_pretrained(part)
        embed_custom_code(part, hybrid.config)
        if tokenizer is not None:
            tokenizer.save_pretrained(part)
        write_text(part / "README.md", card)
    return out
