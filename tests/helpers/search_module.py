"""A search at pico size that can be stepped by hand, or trained with `fit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from rich.console import Console
from transformers import GPT2Config, GPT2LMHeadModel

from manticore.components import load
from manticore.components.spec import ComponentSpec
from manticore.errors import ManticoreError
from manticore.nas.options import AlphaOptions
from manticore.nas.space import SearchSpace
from manticore.nas.strategies import Strategy, strategies
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch, Example, Examples
from manticore.tasks.task import HeadSpec
from manticore.training.batching import BatchSampler
from manticore.training.options import LoopOptions, SearchOptions, WeightOptions
from manticore.training.search_module import SearchModule
from manticore.training.trainer import Hardware, fit
from tests.helpers.pico import VOCAB, component

LABELS = 5
STEPS = 12
WEIGHTS = WeightOptions(lr=1e-2, warmup_steps=3)


def collate(examples: Sequence[Example]) -> Batch:
    """Sequences padded on the right with 0."""
    longest = max(len(ids) for ids, _ in examples)
    ids = torch.tensor([[*row.tolist(), *[0] * (longest - len(row))] for row, _ in examples])
    return {
        "input_ids": ids,
        "attention_mask": (ids != 0).long(),
        "labels": torch.tensor([label for _, label in examples]),
    }


def examples(count: int, seed: int = 0) -> Examples:
    """Random sequences of 3 to 9 tokens."""
    rng = np.random.default_rng(seed)
    return Examples.pack(
        [(rng.integers(3, VOCAB, rng.integers(3, 10)).tolist(), int(rng.integers(LABELS))) for _ in range(count)]
    )


def batch(seed: int = 0, count: int = 6) -> Batch:
    """One batch of random sequences."""
    return collate(list(examples(count, seed)))


def net(relaxation: str = "softmax", dropout: float = 0.0, **space: Any) -> Supernet:
    """A supernet of a GPT-2, with dropout if asked for, and a Mamba."""
    torch.manual_seed(5)
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    config = GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, n_positions=32, **rates)
    parts = [
        load(ComponentSpec(name="attention", model=GPT2LMHeadModel(config))),
        component("mamba", "recurrent", width=8, layers=3),
    ]
    options = {"stages": 2, **space}
    head_spec = HeadSpec("classification", VOCAB, LABELS)
    return Supernet(parts, SearchSpace(["attention", "recurrent"], **options), "attention", head_spec, relaxation)


def module(
    strategy: str | type[Strategy] = "darts",
    supernet: Supernet | None = None,
    kind: type[SearchModule] = SearchModule,
    loop: LoopOptions | None = None,
    **options: Any,
) -> Any:
    """A search of `STEPS` steps, a quarter of them warm-up."""
    settings: dict[str, Any] = {"weights": WEIGHTS, "alphas": AlphaOptions(lr=0.1), "entropy_weight": 1.0, **options}
    chosen = strategies[strategy] if isinstance(strategy, str) else strategy
    search = SearchOptions(steps=STEPS, warmup_steps=STEPS // 4, **settings)
    return kind(supernet if supernet is not None else net(), chosen(), search, loop or LoopOptions(log_every=2))


def skip_if_refused(strategy: type[Strategy], searched: Any) -> None:
    """Skip the test if the strategy says in one line that it cannot search this network."""
    try:
        strategy().check(searched)
    except ManticoreError as error:
        pytest.skip(str(error))


def train(
    searching: SearchModule, folder: Path, callbacks: Sequence[lightning.Callback] = (), every: int = 4
) -> SearchModule:
    """`fit` on streams of 40 examples, 4 in a batch."""
    streams = {
        name: BatchSampler(examples(40, seed), 4, seed, collate) for seed, name in enumerate(searching.strategy.streams)
    }
    folder.mkdir(parents=True, exist_ok=True)
    fit(searching, streams, "search", folder, Hardware("cpu", "32-true", every), Console(quiet=True), callbacks)
    return searching
