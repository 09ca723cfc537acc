"""The search that trains nothing: an aligned supernet's stages are weighed as they are (`--strategy zero-shot`)."""

from __future__ import annotations

import time
from statistics import fmean

import torch

from manticore.alignment import Reading
from manticore.runs.aligning import ready, seen_before
from manticore.runs.workshop import Trained, Workshop
from manticore.selection.fidelity import merits, others, stage_divergences
from manticore.supernet import Supernet

ZERO_SHOT_BATCHES = 2
"""Batches of the alphas' split that stages are weighed on: few, for all are weighed on the same."""

SHARPNESS = 100.0
"""Alphas for each nat per token of merit: a hundredth of a nat makes a weight e times as large."""


def text_of(shop: Workshop) -> list[Reading]:
    """The text that stages are weighed on."""
    stream = shop.stream(("alphas",), shop.recipe.search.batch_size, "zero-shot")
    batches = [stream.batch(step) for step in range(min(ZERO_SHOT_BATCHES, stream.per_epoch))]
    return [Reading(batch["input_ids"], batch["attention_mask"]) for batch in batches]


def openness(shop: Workshop, home: str) -> float:
    """How far a home's predictions move when another component stands in for a stage, in the mean: nats per token."""
    shop = shop.read_as(home)
    supernet = ready(shop, home, shop.recipe.search.relaxation, "search").to(shop.machine.device)
    held = stage_divergences(supernet, [reading.to(shop.machine.device) for reading in text_of(shop)])
    return fmean(row[place] for row in held for place in others(supernet))


def score_paths(shop: Workshop, home: str) -> Trained:
    """A supernet whose alphas say what each candidate is worth where all other stages are home's."""
    started = time.monotonic()
    supernet: Supernet = ready(shop, home, shop.recipe.search.relaxation, "search")
    text = text_of(shop)
    device = shop.machine.device
    apart = stage_divergences(supernet.to(device), [reading.to(device) for reading in text])
    supernet.to("cpu")
    with torch.no_grad():
        supernet.alpha.copy_(SHARPNESS * torch.tensor(merits(supernet, apart)))
    tokens = seen_before(shop, home) + sum(
        int(reading.mask_BL.sum()) for reading in text if reading.mask_BL is not None
    )
    seconds = time.monotonic() - started
    shop.folder.keep("search", supernet, {"tokens": tokens, "seconds": seconds, "steps": 0, "flops": 0.0})
    shop.seconds["zero-shot"] = seconds
    return Trained(supernet.eval(), tokens, seconds, shop.task)
