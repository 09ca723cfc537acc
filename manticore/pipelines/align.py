"""`manticore align`: pretrained models and text to a projector set, and what that is worth before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console

from manticore.alignment import CalibrationBatch, StageFit, build_calibration, fit_projectors
from manticore.alignment.fit import check_alignable
from manticore.alignment.projector_set import ProjectorSet
from manticore.alignment.refine import refine
from manticore.components import load
from manticore.config.align import AlignOptions
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.nas.projectors import check_projector
from manticore.nas.selection.path_scores import path_losses
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.report.model_card import fit_table, projector_card
from manticore.tasks.language.documents import KINDS, kind_of, read_documents, read_text
from manticore.tasks.task import HeadSpec

MOST_PATHS = 64
"""Largest space whose paths are all scored before and after."""


def run(options: AlignOptions, out: Path, console: Console) -> Path:
    """Align, tell how well, and write the set in `out`, which must not exist.

    Raises ManticoreError, before anything is written, if a model or text cannot be used or `out` exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    space = SearchSpace(
        options.models,
        stages=options.stages,
        base=options.base,
        projector=options.projector,
        projector_options=options.projector_options,
    )
    check_projector(space.projector, space.projector_options)
    texts = [text for place in options.text for text in _texts(place)]
    base = space.base or space.names[0]
    machine = setup_hardware(RunOptions())
    components = [load(spec) for spec in space.components]
    supernet = Supernet(components, space, base, HeadSpec())
    check_alignable(supernet)
    text = build_calibration(components, base, texts, options.tokens, options.length).to(machine.device)
    supernet.to(machine.device)
    before = mean_mixed_loss(supernet, text.val)
    fits = fit_projectors(supernet, text.train, text.val)
    closed = mean_mixed_loss(supernet, text.val)
    losses = {"before": before, "aligned": closed}
    if options.steps:
        torch.manual_seed(options.seed)
        refine(supernet, text.train, options.steps)
        losses[f"after {options.steps} gradient steps"] = mean_mixed_loss(supernet, text.val)
    print_fit(fits, losses, text.summary, console)
    names = [file.name for file in options.text]
    facts = {
        "text": names,
        "steps": options.steps,
        "mean_mixed_loss": losses,
        "paired": text.paired,
        "fits": [asdict(fit) for fit in fits],
    }
    projectors = ProjectorSet.of(supernet, text.tokens, **facts)
    place = projectors.save(out, projector_card(projectors, fits, losses, names))
    console.print(f"{place}: a projector set of {' and '.join(space.names)}, base {base}", highlight=False)
    return place


def _texts(place: Path) -> list[str]:
    """The documents of a file or folder; a file of another kind is one, in UTF-8."""
    if place.is_dir() or kind_of(place) in KINDS:
        return [text for held in read_documents(place).values() for text in held]
    return [read_text(place)]


def mean_mixed_loss(supernet: Supernet, text: Sequence[CalibrationBatch]) -> float | None:
    """Mean loss over all paths but base's own, in nats per token; None in a space of more than `MOST_PATHS`."""
    if len(supernet.candidates) ** supernet.space.stages > MOST_PATHS:
        return None
    losses = path_losses(supernet, [batch.token_batch for batch in text])
    mixed = [loss for path, loss in losses.items() if set(path) != {supernet.base}]
    return sum(mixed) / len(mixed)


def print_fit(fits: Sequence[StageFit], losses: dict[str, float | None], words: str, console: Console) -> None:
    """The table of fits, and the mean loss of mixed paths before and after."""
    console.print(fit_table(fits, f"aligned on {words}; measured on others").rich())
    for when, loss in losses.items():
        if loss is not None:
            console.print(f"mean loss of mixed paths, {when}: {loss:.4f} nats per token", highlight=False)
