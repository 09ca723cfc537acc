"""Pico language models with tokenizers, as folders: what a user would have. And how well such a folder tells text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from manticore.components import BlockSize
from manticore.components.families import families
from tests.helpers.trained_tokenizers import reader

SIZES = {
    "gpt_neo": BlockSize(width=32, layers=4, heads=4, window_size=16),
    "mamba": BlockSize(width=24, layers=5, state_size=8),
}


def model_folder(folder: Path, family: str, words: PreTrainedTokenizerBase | None = None, length: int = 64) -> Path:
    """A random model of a family, with a tokenizer beside it."""
    torch.manual_seed(len(family))
    words = words or reader()
    config = families[family].scratch_config(family, SIZES[family], len(words), length)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = words.eos_token_id
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def read_folder(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder, as transformers reads them."""
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def bits_per_byte(model: PreTrainedModel, words: PreTrainedTokenizerBase, texts: Sequence[str], length: int) -> float:
    """By hand: every token of every text and its end, in chunks of `length` tokens, none of which knows another."""
    nats = size = 0.0
    for text in texts:
        ids = torch.tensor([words.bos_token_id, *words(text)["input_ids"], words.eos_token_id])
        for start in range(0, len(ids) - 1, length):
            chunk = ids[start : start + length + 1]
            logits = model(input_ids=chunk[None, :-1]).logits[0]
            nats += torch.nn.functional.cross_entropy(logits, chunk[1:], reduction="sum").item()
        size += len(text.encode())
    return nats / math.log(2) / size
