"""Tokenizers that train in a second, shared by tests of language tasks."""

from __future__ import annotations

from functools import cache

from transformers import PreTrainedTokenizerFast

from manticore.tasks.language.documents import passages, read_documents
from manticore.tasks.language.pretraining import train_bpe
from manticore.tasks.language.text import SAMPLE


@cache
def sample() -> list[str]:
    """The passages of the shipped sample text."""
    (documents,) = read_documents(SAMPLE).values()
    return [passage for text in documents for passage in passages(text, 4096)]


@cache
def small_tokenizer(size: int = 512) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `size` tokens, trained on part of the sample."""
    return train_bpe(sample()[::20], size, 64)
