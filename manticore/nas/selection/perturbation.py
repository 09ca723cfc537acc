"""Selection by perturbation (DARTS-PT, arXiv 2108.04392): at each stage the candidate whose removal costs most.

The cost is the rise of the mixture's validation loss. Stages are decided in random order. A decided stage has its
selected candidate alone while the others are decided; the weights are not tuned in between.
"""

from __future__ import annotations

from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.scores import PathScores, StageScoreTable
from manticore.nas.supernet import Supernet


@selectors.register("perturbation")
def perturbation(supernet: Supernet, context: SelectionContext) -> PathScores:
    """For each candidate the validation loss of the mixture without it, in nats."""
    weights_SK, choices = supernet.weights().detach().clone(), supernet.choices
    scores_SK = [[0.0] * len(supernet.candidates) for _ in range(choices.stages)]
    for group in context.rng.sample(choices.decisions, len(choices.decisions)):
        allowed = choices.allowed[group[0]]
        losses = {}
        for index in allowed if len(allowed) > 1 else ():
            without_SK = weights_SK.clone()
            without_SK[list(group), index] = 0
            without_SK[list(group)] /= without_SK[list(group)].sum(-1, keepdim=True).clamp_min(1e-30)
            losses[index] = context.val_loss(weights=without_SK)
        if not losses:
            continue
        for index, loss in losses.items():
            for stage in group:
                scores_SK[stage][index] = loss / len(group)
        weights_SK[list(group)] = 0
        weights_SK[list(group), max(losses, key=lambda index: losses[index])] = 1
    return StageScoreTable(supernet.candidates, scores_SK)
