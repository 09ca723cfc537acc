"""Pico language-model hybrids with a tokenizer."""

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

TOKENIZER = "prose"
LENGTH = 64
"""Context length of the attention component."""


def pico_hybrid(kind: str = "lm", rows: int = 336) -> PreTrainedModel:
    """A hybrid on the path Mamba, GPT-2, with GPT-2 as base; its embedding has more rows than tokens (330)."""
    torch.manual_seed(4)  # with this seed, greedy decoding does not end the text
    scratch = Scratch(ATTENTION, RECURRENT, rows, LENGTH)
    parts = [load(ComponentSpec(name, init="scratch"), scratch) for name in ("gpt2", "mamba")]
    head_spec = HeadSpec() if kind == "lm" else HeadSpec(kind, rows, 4)
    net = Supernet(parts, SearchSpace(["gpt2", "mamba"], stages=2), "gpt2", head_spec)
    with torch.no_grad():  # large enough that the greedy tokens differ
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return discretize(net.eval(), ["mamba", "gpt2"], **({} if kind == "lm" else {"num_labels": 4}))


def hybrid_tokenizer() -> PreTrainedTokenizerFast:
    """The hybrid's tokenizer; byte 0 is the end-of-text token."""
    core = tokenizer(TOKENIZER).backend_tokenizer
    return PreTrainedTokenizerFast(tokenizer_object=core.from_str(core.to_str()), eos_token="Ā")


def export_hybrid(out: Path, kind: str = "lm", with_tokenizer: bool = True, rows: int = 336) -> Path:
    """Write a `pico_hybrid` as a checkpoint."""
    return save_checkpoint(
        pico_hybrid(kind, rows), hybrid_tokenizer() if with_tokenizer else None, out, "# A pico hybrid\n"
    )
