"""A pretraining as one frozen dataclass: the model, its data and its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml

from manticore.adapters.options import AdapterOptions
from manticore.components.spec import BlockSize
from manticore.config.loading import merge
from manticore.config.sections import RunOptions
from manticore.training.options import WeightOptions
from manticore.utils.fields import Checked, NonNegativeInt, OpenUnitInterval, PositiveInt, Range, from_mapping
from manticore.utils.io import write_text


@dataclass(frozen=True)
class PretrainRecipe(Checked):
    """A language model trained from scratch.

    Raises:
        UnknownName: a family or choice that does not exist, with the nearest.
        ManticoreError: a value of another type, or out of range.
    """

    family: str = "gpt_neo"
    """Model family, such as gpt_neo or mamba."""

    size: BlockSize = BlockSize(128, 6, heads=4)
    """Sizes of the model."""

    vocabulary: Annotated[int, Range(least=257)] = 8192
    """Number of tokens of the byte-level BPE that is trained on the text if no tokenizer is given."""

    length: Annotated[int, Range(least=2)] = 512
    """Tokens of a sequence, and positions of a model with a position table."""

    passage: NonNegativeInt = 16384
    """Bytes of a passage. A longer document is cut between paragraphs into passages, which count as documents; 0:
    documents stay whole."""

    held_out: OpenUnitInterval = 0.01
    """Fraction of every file, from its end, that is left out of training and scored."""

    steps: PositiveInt = 2000
    """Number of optimizer steps."""

    batch_size: PositiveInt = 8
    """Sequences in a batch."""

    weights: WeightOptions = WeightOptions(optimizer="muon", lr=4e-3, weight_decay=0.1)
    """Optimizer of the weights."""

    adapter: AdapterOptions = AdapterOptions(freeze="targets")
    """Adapters that are trained in place of the weights of linear layers, which stay as they are drawn."""

    run: RunOptions = RunOptions()
    """Machine, seed and bookkeeping."""

    def __post_init__(self) -> None:
        from manticore.adapters.catalog import (
            check_needs_no_inputs,
            check_options,
        )  # imports transformers, which the command line need not
        from manticore.components.families import families

        super().__post_init__()
        _ = families[self.family]
        check_options(self.adapter)
        check_needs_no_inputs(self.adapter)

    def save(self, file: Path) -> None:
        """Write as YAML, atomically."""
        text = yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True, width=100)
        write_text(file, f"# Runs again with: manticore pretrain --config {file.name} --text TEXT --out FOLDER\n{text}")


def pretrain_recipe(layers: Sequence[Mapping[str, Any]]) -> PretrainRecipe:
    """The recipe of merged mappings, of which later ones override earlier ones. Raises as `PretrainRecipe` does."""
    values: dict[str, Any] = {}
    for layer in layers:
        values = merge(values, layer)
    return from_mapping(PretrainRecipe, values, "recipe key")
