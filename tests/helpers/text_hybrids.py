"""Pico hybrids that read and write text, with a tokenizer trained here."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from manticore.components import Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.export.checkpoint import save_checkpoint
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import ATTENTION, RECURRENT
from tests.helpers.tokenizers import tokenizer

WORDS = "prose"
LENGTH = 64
"""Positions of the attention component."""


def speaking(kind: str = "lm", rows: int = 336) -> PreTrainedModel:
    """Mamba first, then GPT-2, which is base; its table is longer than the vocabulary (330)."""
    torch.manual_seed(4)  # greedy, it fills its positions without ending the text
    scratch = Scratch(ATTENTION, RECURRENT, rows, LENGTH)
    parts = [load(ComponentSpec(name, init="scratch"), scratch) for name in ("gpt2", "mamba")]
    head_spec = HeadSpec() if kind == "lm" else HeadSpec(kind, rows, 4)
    net = Supernet(parts, SearchSpace(["gpt2", "mamba"], stages=2), "gpt2", head_spec)
    with torch.no_grad():  # loud enough that tokens differ
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return discretize(net.eval(), ["mamba", "gpt2"], **({} if kind == "lm" else {"num_labels": 4}))


def words() -> PreTrainedTokenizerFast:
    """The hybrid's tokenizer; the byte 0 ends a text."""
    core = tokenizer(WORDS).backend_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=core.from_str(core.to_str()), eos_token="Ā")


def exported(out: Path, kind: str = "lm", with_words: bool = True, rows: int = 336) -> Path:
    """The same as a folder."""
    return save_checkpoint(speaking(kind, rows), words() if with_words else None, out, "# A pico hybrid\n")
