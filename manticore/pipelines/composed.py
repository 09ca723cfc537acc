"""Exports of a hybrid with the changes of several adapters, trained one by one on the same weights, added up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from safetensors.torch import load_file

from manticore.errors import ManticoreError
from manticore.export.adapter_folder import adapter_folder, merge_adapters
from manticore.export.checkpoint import ADAPTER_NOTE, save_checkpoint
from manticore.export.load import hybrid_folder, load_hybrid, local_tokenizer
from manticore.export.quantized import check_full_precision
from manticore.report.model_card import read_card
from manticore.utils.console import info

WEIGHTS = "model.safetensors"


def run_composed(hybrid: Path, adapters: Sequence[Path], out: Path, console: Console, trust_code: bool = False) -> Path:
    """Write a hybrid with the sum of changes `W + D_1 + D_2 + ...` (arXiv 2110.07560, section 3.2).

    Args:
        hybrid: folder of a hybrid. If it has an adapter, its change is one of the summands.
        adapters: folders of fine-tunings with `--keep-adapter`, of the same weights.
        out: folder to write; must not exist.
        console: where to print.
        trust_code: run the code in the hybrid's folder.

    Raises ManticoreError if a folder has no adapter, an adapter is for other weights, or its training changed weights
    beside it.
    """
    own = adapter_folder(hybrid_folder(hybrid))
    folders = [] if own is None else [own]
    for path in adapters:
        if (folder := adapter_folder(path)) is None:
            raise ManticoreError(f"{path} has no adapter; train one with manticore finetune --adapter --keep-adapter")
        _check_base(hybrid_folder(hybrid), folder)
        folders.append(folder)
    base = load_hybrid(hybrid, trust_code, merge=False)
    check_full_precision(base, hybrid, "--adapters")
    model = merge_adapters(base, folders)
    names = ", ".join(str(folder) for folder in folders)
    card = read_card(hybrid).replace(ADAPTER_NOTE, "")
    card += f"\n## Adapters\n\nThe weights have the changes of {len(folders)} adapters, added up.\n"
    save_checkpoint(model, local_tokenizer(hybrid), out, card)
    info(console, f"{out}: {hybrid} with the changes of {names}")
    return out


def _check_base(hybrid: Path, adapter: Path) -> None:
    """Check that an adapter's folder and the hybrid have the same weights, where the adapter is still beside them."""
    beside = adapter.parent / WEIGHTS
    if not beside.exists() or not (hybrid / WEIGHTS).exists():
        return
    weights, base = load_file(hybrid / WEIGHTS), load_file(beside)
    changed = [name for name, weight in weights.items() if name not in base or not torch.equal(weight, base[name])]
    if changed:
        raise ManticoreError(
            f"{adapter} is not for the weights in {hybrid}: {changed[0]} differs in {beside}; to add adapters up, "
            "train each from the same hybrid with --set adapter.freeze=all"
        )
