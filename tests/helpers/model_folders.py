"""Folders of pico language models with tokenizers, and a reference computation of their bits per byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from manticore.components import BlockSize
from manticore.components.families import families
from tests.helpers.trained_tokenizers import small_tokenizer

SIZES = {
    "gpt_neo": BlockSize(width=32, layers=4, heads=4, window_size=16),
    "gpt_neox": BlockSize(width=32, layers=4, heads=4),
    "llama": BlockSize(width=32, layers=4, heads=4),
    "mamba": BlockSize(width=24, layers=5, state_size=8),
}


def model_folder(
    folder: Path,
    family: str,
    tokenizer: PreTrainedTokenizerBase | None = None,
    length: int = 64,
    layers: int | None = None,
) -> Path:
    """Write a random model of a family and a tokenizer. `layers` takes the place of the number in `SIZES`."""
    torch.manual_seed(len(family))
    tokenizer = tokenizer or small_tokenizer()
    size = replace(SIZES[family], layers=layers or SIZES[family].layers)
    config = families[family].scratch_config(family, size, len(tokenizer), length)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def read_folder(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder, read by transformers."""
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def bits_per_byte(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], length: int
) -> float:
    """Reference computation: every token of every text and its end, in independent chunks of `length` tokens."""
    nats = size = 0.0
    for text in texts:
        ids = torch.tensor([tokenizer.bos_token_id, *tokenizer(text)["input_ids"], tokenizer.eos_token_id])
        for start in range(0, len(ids) - 1, length):
            chunk = ids[start : start + length + 1]
            logits = model(input_ids=chunk[None, :-1]).logits[0]
            nats += torch.nn.functional.cross_entropy(logits, chunk[1:], reduction="sum").item()
        size += len(text.encode())
    return nats / math.log(2) / size
