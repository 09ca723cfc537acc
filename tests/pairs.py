"""Pico language models with tokenizers, as folders: what a user would have."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerBase

from manticore.components import Size
from manticore.components.families import families
from tests.tasks.readers import reader

SIZES = {"gpt_neo": Size(width=32, layers=4, heads=4, window=16), "mamba": Size(width=24, layers=5, state=8)}


def model_folder(folder: Path, family: str, words: PreTrainedTokenizerBase | None = None, length: int = 64) -> Path:
    """A random model of a family, with a tokenizer beside it."""
    torch.manual_seed(len(family))
    words = words or reader()
    config = families[family].scratch(family, SIZES[family], len(words), length)
    config.bos_token_id = config.eos_token_id = config.pad_token_id = words.eos_token_id
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
