"""`manticore align`: fit the projectors between pretrained models on text and write them as a projector set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from rich.console import Console

from manticore.alignment import CalibrationBatch, StageFit, build_calibration, fit_projectors
from manticore.alignment.fit import check_alignable
from manticore.alignment.projector_set import ProjectorSet
from manticore.alignment.refine import refine
from manticore.components import load
from manticore.config.commands import AlignCommand
from manticore.config.loading import stages_for
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.nas.projector_checks import check_projector
from manticore.nas.selection.path_scores import path_losses
from manticore.nas.supernet import Supernet
from manticore.report.model_card import fit_table, projector_card
from manticore.tasks.language.documents import read_texts
from manticore.tasks.task import HeadSpec
from manticore.utils.console import info

MAX_PATHS = 64
"""Largest number of paths for which all are scored before and after alignment."""


def run(options: AlignCommand, console: Console) -> ProjectorSet:
    """Fit the projectors, print the quality of the fit, and write the set to `options.out`.

    Raises ManticoreError, before anything is written, if a model or text cannot be used, or if the folder exists.
    """
    if options.out.exists():
        raise ManticoreError(f"{options.out} exists; choose another folder")
    # A set has projectors for every donor at every stage, so that it fits any space of these components and cuts.
    space = replace(
        options.space,
        stages=options.stages or stages_for(options.for_task),
        projector_options=options.projector_options,
        ops=(),
        stage_candidates={},
        shared_stages=(),
    )
    check_projector(space.projector, space.projector_options)
    texts = [text for path in options.text for text in read_texts(path)]
    base = space.base or space.names[0]
    hardware = setup_hardware(RunOptions(device=options.device))
    components = [load(spec) for spec in space.components]
    supernet = Supernet(components, space, base, HeadSpec())
    check_alignable(supernet)
    share = options.target_share if options.target_text else 0.0
    tokens = options.align.tokens
    calibration = build_calibration(components, base, texts, round((1 - share) * tokens), options.length)
    if share:
        target = [text for path in options.target_text for text in read_texts(path)]
        mixed = build_calibration(components, base, target, round(share * tokens), options.length)
        info(console, f"target text: {mixed.tokens / (calibration.tokens + mixed.tokens):.0%} of the tokens")
        calibration = calibration.mixed_with(mixed)
    calibration = calibration.to(hardware.device)

    supernet.to(hardware.device)
    losses = {"before": mean_mixed_loss(supernet, calibration.val)}
    fits = fit_projectors(supernet, calibration.train, calibration.val)
    losses["aligned"] = mean_mixed_loss(supernet, calibration.val)
    if options.steps:
        torch.manual_seed(options.seed)
        refine(supernet, calibration.train, options.steps)
        losses[f"after {options.steps} gradient steps"] = mean_mixed_loss(supernet, calibration.val)
    print_fits(fits, losses, calibration.summary, console)

    files = [file.name for file in (*options.text, *options.target_text)]
    projectors = ProjectorSet.of(
        supernet,
        calibration.tokens,
        text=files,
        steps=options.steps,
        mean_mixed_loss=losses,
        paired=calibration.paired,
        fits=[asdict(fit) for fit in fits],
    )
    folder = projectors.save(options.out, projector_card(projectors, fits, losses, files))
    models = ",".join(spec.source or spec.name for spec in space.components)
    info(console, f"{folder}: a projector set of {' and '.join(space.names)}, base {base}, for {space.stages} stages")
    info(
        console,
        f"use it: manticore search --models {models} --stages {space.stages} --task {options.for_task} "
        f"--set align.projectors={folder}",
    )
    return replace(projectors, folder=folder)


def mean_mixed_loss(supernet: Supernet, batches: Sequence[CalibrationBatch]) -> float | None:
    """Mean loss over all paths with a donor, in nats per token; None for a space of more than `MAX_PATHS` paths."""
    if supernet.choices.count > MAX_PATHS:
        return None
    losses = path_losses(supernet, [batch.token_batch for batch in batches])
    mixed = [loss for path, loss in losses.items() if set(path) != {supernet.base}]
    return sum(mixed) / len(mixed)


def print_fits(fits: Sequence[StageFit], losses: dict[str, float | None], text: str, console: Console) -> None:
    """Print the table of fits and the mean losses of mixed paths; `text` summarizes the calibration text."""
    console.print(fit_table(fits, f"fitted on {text}; measured on held-out text").rich())
    for label, loss in losses.items():
        if loss is not None:
            info(console, f"mean loss of mixed paths, {label}: {loss:.4f} nats per token")
