"""The search that trains nothing: an aligned supernet's stages are weighed as they are (`--strategy zero-shot`)."""

from __future__ import annotations

import time
from statistics import fmean

import torch

from manticore.alignment import CalibrationBatch
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.projectors import build_aligned_supernet, calibration_tokens
from manticore.nas.strategies.stage_kl import candidate_scores, donor_indices, stage_kl
from manticore.nas.supernet import Supernet

ZERO_SHOT_BATCHES = 2
"""Batches of the alphas' split that stages are weighed on: few, for all are weighed on the same."""

SHARPNESS = 100.0
"""Alphas for each nat per token of merit: a hundredth of a nat makes a weight e times as large."""


def kl_batches(exp: Experiment) -> list[CalibrationBatch]:
    """The text that stages are weighed on."""
    stream = exp.stream(("train_arch",), exp.recipe.search.batch_size, "zero-shot")
    batches = [stream.batch(step) for step in range(min(ZERO_SHOT_BATCHES, stream.per_epoch))]
    return [CalibrationBatch(batch["input_ids"], batch["attention_mask"]) for batch in batches]


def mean_stage_kl(exp: Experiment, base: str) -> float:
    """How far a base's predictions move when another component stands in for a stage, in the mean: nats per token."""
    exp = exp.read_as(base)
    supernet = build_aligned_supernet(exp, base, exp.recipe.search.relaxation, "search").to(exp.machine.device)
    held = stage_kl(supernet, [reading.to(exp.machine.device) for reading in kl_batches(exp)])
    return fmean(row[place] for row in held for place in donor_indices(supernet))


def score_paths(exp: Experiment, base: str) -> PhaseResult:
    """A supernet whose alphas say what each candidate is worth where all other stages are base's."""
    started = time.monotonic()
    supernet: Supernet = build_aligned_supernet(exp, base, exp.recipe.search.relaxation, "search")
    text = kl_batches(exp)
    device = exp.machine.device
    apart = stage_kl(supernet.to(device), [reading.to(device) for reading in text])
    supernet.to("cpu")
    with torch.no_grad():
        supernet.alpha.copy_(SHARPNESS * torch.tensor(candidate_scores(supernet, apart)))
    tokens = calibration_tokens(exp, base) + sum(
        int(reading.mask_BL.sum()) for reading in text if reading.mask_BL is not None
    )
    seconds = time.monotonic() - started
    exp.folder.keep("search", supernet, {"tokens": tokens, "seconds": seconds, "steps": 0, "flops": 0.0})
    exp.seconds["zero-shot"] = seconds
    return PhaseResult(supernet.eval(), tokens, seconds, exp.task)
