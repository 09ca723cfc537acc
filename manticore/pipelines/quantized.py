"""`manticore export --quantize`: a hybrid with quantized weights, compared with the simulated quantization."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel

from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.experiment.run_dir import RunDir
from manticore.export.checkpoint import ADAPTER_NOTE, SERVING, save_checkpoint
from manticore.export.equality import NEW_TOKENS, SEQUENCES, TOLERANCE, Outputs, compared_length, differences, outputs
from manticore.export.load import load_hybrid, local_tokenizer
from manticore.export.quantized import (
    TORCHAO,
    Quantization,
    check_full_precision,
    check_torchao,
    quantize_hybrid,
)
from manticore.nas.architecture import Architecture
from manticore.nas.bits import FULL, bit_segments, hybrid_bytes, rounded_segments
from manticore.nas.cost import parameters
from manticore.report.model_card import read_card
from manticore.report.run.summary import FULL_PRECISION
from manticore.utils.console import info
from manticore.utils.path_text import path_text

FULL_BYTES = 4
"""Bytes of a weight in full precision."""


def run_quantized(source: Path, bits: Sequence[int], out: Path, console: Console, trust_code: bool = False) -> Path:
    """Write the hybrid of a folder with quantized weights, after a comparison of what is read back.

    Args:
        source: folder of a run, of a fine-tuning or of a hybrid. An adapter beside its weights is merged.
        bits: of the weights of all stages, or of each; empty: those that the run selected its path with.
        out: folder to write; must not exist.
        console: where to print.
        trust_code: run the code in the folder for ops and other parts that this process does not have.

    Raises ManticoreError, before anything is written, if torchao is not installed, if the bits are not known or not
    those of the stages, if no weight can be quantized, if the hybrid is quantized already, if `out` exists, or if the
    weights that are read back have other outputs than simulated quantization.
    """
    check_torchao(f"--quantize {TORCHAO}")
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    setup_hardware(RunOptions())
    hybrid = load_hybrid(source, trust_code)
    check_full_precision(hybrid, source, "--quantize")
    architecture = stage_bits(source, hybrid, bits)
    length, full_bytes = compared_length(hybrid), FULL_BYTES * parameters(hybrid)
    counted = hybrid_bytes(hybrid, architecture.bits)
    with rounded_segments(bit_segments(hybrid.model.stages, architecture.bits)):
        simulated = outputs(hybrid, length)
    quantization = quantize_hybrid(hybrid, architecture.bits)
    if not quantization.integers:
        raise ManticoreError(f"torchao has no integers for the layers of {source}: {', '.join(quantization.rounded)}")
    notes = list[str]()

    def check(folder: Path) -> str:
        notes.append(_compare(simulated, outputs(load_hybrid(folder, trust_code), length), length))
        return _section(architecture, quantization, notes[0])

    save_checkpoint(hybrid, local_tokenizer(source), out, _full_card(source), check=check)
    stored = sum(file.stat().st_size for file in out.glob("*.safetensors"))
    info(console, f"{out}: {architecture.summary()}, quantized with {TORCHAO}")
    info(console, f"weights: {stored:,} bytes on disk, {full_bytes:,} in full precision")
    info(
        console,
        f"weight_bytes counts {counted:,.0f}: half a byte for a weight of 4 bits, and 2 bytes for a scale "
        f"and for what a segment does not round, which have 1 and {FULL_BYTES} bytes on disk",
    )
    if quantization.rounded:
        info(console, f"in full precision with rounded values: {', '.join(quantization.rounded)}")
    info(console, f"read back: {notes[0]}")
    return out


def _compare(simulated: Outputs, loaded: Outputs, length: int) -> str:
    """What was compared, as a sentence without a full stop. Raises ManticoreError if the outputs differ."""
    difference, same_tokens = differences(simulated, loaded)
    if not (difference <= TOLERANCE and same_tokens):
        raise ManticoreError(
            f"the quantized weights, read back, have other outputs than simulated quantization: logits differ by "
            f"{difference:.1g}{'' if same_tokens else ', and generation adds other tokens'}; nothing is written",
            exit_status=1,
        )
    generated = "" if simulated.generated is None else f", and greedy generation adds the same {NEW_TOKENS} tokens"
    return (
        f"the logits of {SEQUENCES} sequences of {length} random tokens differ by at most {difference:.1g} from those "
        f"of simulated quantization{generated}"
    )


def stage_bits(source: Path, hybrid: PreTrainedModel, bits: Sequence[int]) -> Architecture:
    """The path of a hybrid with the bits of its stages, 16 for ops and skipped stages.

    Args:
        source: its folder.
        hybrid: the hybrid.
        bits: for all stages, or for each; empty: those in the `architecture.json` of a run.

    Raises ManticoreError if they are not known, not those of the stages, or 16 everywhere.
    """
    config, stages = hybrid.config, len(hybrid.config.path)
    chosen = tuple(bits) * stages if len(bits) == 1 else tuple(bits)
    if not chosen:
        file = RunDir(source).architecture
        selected = Architecture.load(file) if file.is_file() else None
        if selected is not None and selected.path == tuple(config.path):
            chosen = selected.bits
        if not chosen:
            raise ManticoreError(
                f"{source} has no bits of a selection for {path_text(config.path)}; name them: --bits 8, or one for "
                f"each of the {stages} stages"
            )
    if len(chosen) != stages:
        raise ManticoreError(f"--bits has {len(chosen)} numbers for {stages} stages; give one, or one for each stage")
    chosen = tuple(
        number if name in config.components else FULL for name, number in zip(config.path, chosen, strict=True)
    )
    if set(chosen) == {FULL}:
        raise ManticoreError("at 16 bits no weight is rounded; export without --quantize")
    return Architecture(tuple(config.components), tuple(config.path), config.base, ops=tuple(config.ops), bits=chosen)


def _full_card(source: Path) -> str:
    """The card of the hybrid in full precision, without what is not true of a quantized one."""
    lines = read_card(source).replace(ADAPTER_NOTE, "").splitlines(keepends=True)
    card = "".join(line for line in lines if not line.startswith(f"- {FULL_PRECISION}"))
    return re.sub(rf"{SERVING}.*?(?=\n## |\Z)", "", card, flags=re.DOTALL)


def _section(architecture: Architecture, quantization: Quantization, checked: str) -> str:
    kinds = ", ".join(f"`{kind}`" for kind in quantization.rounded)
    rest = f" {kinds} have rounded values in full precision." if kinds else ""
    return (
        f"\n## Quantized\n\n{architecture.summary()}. The weights of {len(quantization.integers)} linear layers are "
        f"integers of torchao (`pip install torchao`) on a symmetric grid, with one scale for each output channel; "
        f"weights of 4 bits have a byte each.{rest} Load the folder in float32, as it is saved. Checked after "
        f"reloading: {checked}.\n"
    )
