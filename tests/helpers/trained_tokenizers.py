"""Tokenizers learnt in a second, shared by tests of language tasks."""

from __future__ import annotations

from functools import cache

from transformers import PreTrainedTokenizerFast

from manticore.tasks.language.bpe import train_bpe
from manticore.tasks.language.documents import passages, read_documents
from manticore.tasks.language.text import SAMPLE


@cache
def sample() -> list[str]:
    """The passages of the text that comes along."""
    (held,) = read_documents(SAMPLE).values()
    return [part for text in held for part in passages(text, 4096)]


@cache
def reader(size: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE of some of it."""
    return train_bpe(sample()[::20], size, 64)
