"""A pretraining as a frozen dataclass: what a language model is made of, and how it learns. Knows no files of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from manticore.components.families import families
from manticore.components.spec import BlockSize
from manticore.config.loading import instantiate, merge
from manticore.config.recipe import WEIGHT_BOUNDS
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.training.options import OPTIMIZERS, WeightOptions
from manticore.utils.io import write_text


@dataclass(frozen=True)
class PretrainRecipe:
    """A language model from nothing: family, sizes, tokenizer, text, schedule."""

    family: str = "gpt_neo"
    """Row of the table of families, such as gpt_neo or mamba."""

    size: BlockSize = BlockSize(128, 6, heads=4)
    """Width, layers and what else a family has of sizes."""

    vocabulary: int = 8192
    """Tokens of the byte-level BPE that is learnt from the text, unless a tokenizer is given."""

    length: int = 512
    """Tokens of a sequence; also the positions of a model that has them."""

    passage: int = 16384
    """Bytes beyond which a document is cut between paragraphs into passages, each a document of its own."""

    held_out: float = 0.01
    """Share at the end of every file that is not learnt from, and that the model is scored on."""

    steps: int = 2000
    """Number of optimizer steps."""

    batch_size: int = 8
    """Sequences in a batch."""

    weights: WeightOptions = field(default_factory=lambda: WeightOptions(optimizer="muon", lr=4e-3, weight_decay=0.1))
    """How weights move."""

    run: RunOptions = RunOptions()
    """The machine and the bookkeeping."""

    def __post_init__(self) -> None:
        _ = families[self.family]
        if self.weights.optimizer not in OPTIMIZERS:
            raise UnknownName("optimizer", self.weights.optimizer, OPTIMIZERS)
        least = {"vocabulary": 257, "length": 2, "passage": 0, "steps": 1, "batch_size": 1}
        for key, bound in least.items():
            if getattr(self, key) < bound:
                raise ManticoreError(f"{key} must be at least {bound}, got {getattr(self, key)}")
        for key, fewest in WEIGHT_BOUNDS.items():
            value = getattr(self.weights, key)
            if not fewest <= value < math.inf:
                raise ManticoreError(f"weights.{key} must be at least {fewest:g}, got {value:g}")
        if not 0 < self.held_out < 1:
            raise ManticoreError(f"held_out must be above 0 and below 1, got {self.held_out:g}")

    def save(self, file: Path) -> None:
        """Write as YAML, whole or not at all."""
        held = yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True, width=100)
        write_text(file, f"# Runs again with: manticore pretrain --config {file.name} --text TEXT --out FOLDER\n{held}")


def pretrain_recipe(layers: Sequence[Mapping[str, Any]]) -> PretrainRecipe:
    """The recipe that mappings come to, later ones over earlier ones. Raises ManticoreError."""
    held: dict[str, Any] = {}
    for layer in layers:
        held = merge(held, layer)
    return instantiate(held, PretrainRecipe)
