"""LiNeS (arXiv 2410.17146): the update of a fine-tuning, scaled linearly with depth after the training.

Updates of the first layers help the target least and cost most on other data, so they are scaled down.
"""

from __future__ import annotations

from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor
from transformers import PreTrainedModel

from manticore.adapters.ladder import ladder_of
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.export.checkpoint import save_checkpoint
from manticore.export.load import hybrid_folder, load_hybrid, load_hybrid_task
from manticore.export.own_task import FINETUNING, task_options
from manticore.report.model_card import read_card
from manticore.tasks.dataset import Examples
from manticore.tasks.evaluation_task import text_evaluation_task
from manticore.tasks.language.documents import read_texts
from manticore.tasks.task import Task
from manticore.training.batching import Collate
from manticore.training.depth import update_scales
from manticore.training.scoring import score
from manticore.utils.console import info
from manticore.utils.io import read_json

FACTORS = tuple(step / 10 for step in range(11))
"""Factors of the first layer's update that are tried."""

TOLERANCE = 0.01
"""Largest loss of quality on the target that a chosen factor may cost, as a share of the loss."""


def run_lines(
    tuned: Path, first: float | None, control: Path | None, out: Path, console: Console, trust_code: bool = False
) -> Path:
    """Write a fine-tuned hybrid whose update has the factor `first` at the first layer and 1 at the last.

    Args:
        tuned: folder of a fine-tuning, whose `finetune.json` names the hybrid that it started from.
        first: the factor; None: of 0, 0.1, ..., 1 the one with the smallest loss on the control text among those whose
            loss on the validation split is at most 1 % above that of the fine-tuned hybrid.
        control: text, as files or folders, such as that of the pretraining; None if `first` is given.
        out: folder to write; must not exist.
        console: where to print.
        trust_code: run the code in the folders for ops and other parts that this process does not have.

    Raises ManticoreError if the folder is no finished fine-tuning of a hybrid that is still there, if a text is needed
    for a hybrid that predicts labels, or if `out` exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    start = start_of(tuned, "--lines")
    before, model = load_hybrid(start, trust_code), load_hybrid(tuned, trust_code)
    if ladder_of(model) is not None or set(before.state_dict()) != set(model.state_dict()):
        raise ManticoreError(f"{tuned} and {start} are not the same hybrid; --lines scales a change of weights")
    base = {name: weight.detach().clone() for name, weight in before.named_parameters()}
    update = {name: weight.detach() - base[name] for name, weight in model.named_parameters()}
    task = load_hybrid_task(tuned, model, task_options(tuned, {}))
    note = ""
    if first is None:
        assert control is not None
        first, note = _choose(model, base, update, task, control, console)
    scale_update(model, base, update, first)
    card = f"{read_card(tuned)}\n## LiNeS\n\nThe update of the fine-tuning has the factor {first:g} at the first layer "
    card += f"and 1 at the last, linearly between them (arXiv 2410.17146).{note}\n"
    save_checkpoint(model.to("cpu"), task.hf_tokenizer(), out, card)
    info(console, f"{out}: {tuned} with the factor {first:g} at the first layer")
    return out


def start_of(tuned: Path, flag: str) -> Path:
    """The hybrid that a finished fine-tuning started from.

    Raises ManticoreError, which names the flag, if the folder is no finished fine-tuning of a hybrid that is still
    there.
    """
    if not (tuned / FINETUNING).is_file() or not (tuned / "hybrid").is_dir():
        raise ManticoreError(f"{tuned} is no finished fine-tuning; {flag} takes the --out of manticore finetune")
    settings = read_json(tuned / FINETUNING)
    start = Path(settings["hybrid"])
    if "path" in settings:
        raise ManticoreError(f"{tuned} started from a path of the search in {start}; export that, and fine-tune it")
    if not (hybrid_folder(start) / "config.json").exists():
        raise ManticoreError(f"{start}, the hybrid that {tuned} started from, is not there any more")
    return start


@torch.no_grad()
def scale_update(model: PreTrainedModel, base: dict[str, Tensor], update: dict[str, Tensor], first: float) -> None:
    """Set the weights of a hybrid to `base + factor * update` (see `update_scales`)."""
    scales = update_scales(model, first)
    for name, weight in model.named_parameters():
        weight.copy_(base[name] + scales[name] * update[name])


def _choose(
    model: PreTrainedModel,
    base: dict[str, Tensor],
    update: dict[str, Tensor],
    task: Task,
    control: Path,
    console: Console,
) -> tuple[float, str]:
    """The factor with the smallest loss on the control text, and a sentence on what it costs."""
    if not task.is_language_modeling:
        raise ManticoreError("--lines-control is text, and this hybrid predicts labels; give --lines a number")
    hardware = setup_hardware(RunOptions())
    text = text_evaluation_task(read_texts(control), task.hf_tokenizer(), task.max_length)
    losses: dict[float, tuple[float, float]] = {}
    for first in FACTORS:
        scale_update(model, base, update, first)
        with hardware.scoring():
            target = _bits(model, task.splits().val, task.collate, hardware.device)
            losses[first] = target, _bits(model, text.splits().test, text.collate, hardware.device)
        info(
            console, f"  factor {first:g}: target {losses[first][0]:.4f}, control {losses[first][1]:.4f} bits per byte"
        )
    limit = losses[1.0][0] * (1 + TOLERANCE)
    chosen = min(
        (first for first in FACTORS if losses[first][0] <= limit), key=lambda first: (losses[first][1], -first)
    )
    (target, kept), (target_tuned, lost) = losses[chosen], losses[1.0]
    note = (
        f" It was chosen on the validation split ({target_tuned:.4f} to {target:.4f} bits per byte) and a control text "
        f"({lost:.4f} to {kept:.4f})."
    )
    return chosen, note


def _bits(model: PreTrainedModel, examples: Examples, collate: Collate, device: torch.device) -> float:
    value = score(model, examples, collate, RunOptions().eval_batch_size, device).bits_per_byte
    assert value is not None
    return value
