"""The options of `manticore grow`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from manticore.components.sources import check_component, check_text
from manticore.errors import ManticoreError
from manticore.utils.devices import Precision
from manticore.utils.fields import Checked, NonNegativeInt, PositiveFloat, PositiveInt, Range


@dataclass(frozen=True, kw_only=True)
class GrowCommand(Checked):
    """`manticore grow`."""

    model: str
    """The parent: alias, hub id or folder of a language model with attention."""

    mixer: Literal["mamba2", "mamba"] = "mamba2"
    """Recurrent mixer in place of attention."""

    text: tuple[Path, ...]
    """Text to learn from: .txt, .md, .jsonl or .parquet, other files as UTF-8, or folders of such files."""

    layers: tuple[int, ...] | None = None
    """Layers to replace, counted from 1. Default: all."""

    tokens: PositiveInt = 61440
    """Tokens of text to learn from."""

    length: Annotated[int, Range(least=2)] = 256
    """Tokens of a block of text."""

    start: Literal["attention", "gate", "random"] = "attention"
    """Initial weights of a mixer: attention (x, B, C and outputs are attention's values, keys, queries and outputs),
    gate (and the gate is the mean of outputs and values) or random."""

    ridge: bool = True
    """Fit the output projection by least squares, at the start and at the end."""

    steps: NonNegativeInt = 300
    """Optimizer steps of a layer; 0: it keeps its initial weights."""

    lr: PositiveFloat = 2e-3
    """Peak learning rate."""

    batch_size: PositiveInt = 8
    """Blocks of a step."""

    expand: PositiveInt = 1
    """Channels of a mixer, in units of the width."""

    state_size: PositiveInt | None = None
    """Features of the state of a channel. Default: those of attention's heads for mamba2, 16 for mamba."""

    heads: PositiveInt | None = None
    """Heads of mamba2. Default: as many as have the size of attention's heads."""

    groups: PositiveInt | None = None
    """Groups of heads of mamba2 that share B and C. Default: one for each head."""

    cache_gb: PositiveFloat = 4.0
    """Largest size on disk, in GB, of the cached inputs and outputs of attention; layers take turns."""

    precision: Precision = "32-true"
    """Precision of the forward passes: bf16-mixed has matrix products in bfloat16, which is faster where the CPU has
    instructions for it."""

    workers: PositiveInt = 1
    """Number of processes, each of which trains a layer."""

    seed: NonNegativeInt = 0
    """Seed of fresh weights and of the order of blocks."""

    out: Path
    """Folder for the twin; must not exist. OUT.growing has what is finished; the same command resumes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_component(self.model)
        if self.mixer == "mamba" and (self.heads or self.groups):
            raise ManticoreError("--heads and --groups are of mamba2; mamba has neither")
        if not self.text:
            raise ManticoreError("--text must name at least one file or folder of text")
        for path in self.text:
            check_text(path)
        if self.out.exists():
            raise ManticoreError(f"{self.out} exists; choose another folder")
