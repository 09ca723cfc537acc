"""The Pareto front of paths with bits of their weights: predicted from rises of the loss, then measured as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from manticore.errors import ManticoreError
from manticore.experiment.bits import bit_loss, check_bit_search, measured_rises
from manticore.experiment.experiment import Experiment
from manticore.experiment.pareto import by_hand, quality_factor
from manticore.nas.bits import FULL, BitCosts, BitPath, front_with_bits
from manticore.nas.resources import parse_objectives
from manticore.nas.selection import Budget
from manticore.nas.selection.pareto import FrontPoint, undominated
from manticore.nas.supernet import Supernet
from manticore.results.pareto import ParetoFront, ParetoPoint
from manticore.results.path_scores import SavedScores

MAX_MEASURED = 64
"""Largest number of paths with bits that are measured; of a larger front paths at even distances."""


def find_bit_front(
    exp: Experiment,
    net: Supernet,
    saved: SavedScores,
    objectives: Sequence[str],
    bits: Sequence[int],
    budget: Budget,
    selected: BitPath,
) -> ParetoFront:
    """The front over paths and bits, and the paths that it is compared with.

    The rises of the loss of single stages predict the front, as in `select_with_bits`. Its paths are measured as a
    whole under simulated quantization, beside the selected path, components alone and hybrids by hand with the largest
    number of bits, and the front is that of the measured losses.

    Args:
        exp: the run on the task of the search.
        net: its supernet, with the weights of the search.
        saved: the scores of the search: minus validation losses.
        objectives: a quality and resources; see `parse_objectives`.
        bits: numbers of bits.
        budget: limits that all paths of the front keep to.
        selected: the path that the run selected, with its bits; none, or others than `bits`, stand for the largest.

    Raises ManticoreError for scores or a quality that are not losses, and if no path is within the limits.
    """
    check_bit_search(saved.selector, bits)
    quality, parsed = parse_objectives(objectives)
    factor, costs, scores = quality_factor(exp, saved, quality), BitCosts(net, budget.length, bits), saved.scores
    resources = [resource.at(costs.length) for resource in parsed]
    loss = bit_loss(exp, net)
    rises = measured_rises(costs, scores.best(net, budget.without("weight_bytes")), loss)
    predicted = front_with_bits(scores, costs, rises, resources, budget)
    if not predicted:
        raise ManticoreError(f"no path that was scored has {budget.summary} with these bits")
    spread = max(1.0, (len(predicted) - 1) / (MAX_MEASURED - 1))
    kept = [predicted[round(spread * at)] for at in range(min(len(predicted), MAX_MEASURED))]
    labels = {_at(net, path, max(bits)): label for path, label in by_hand(net.choices, exp.space.names).items()}
    known = bool(selected.bits) and {*costs.names(selected)} <= {*costs.choices.candidates}
    labels[selected if known else _at(net, selected.path, max(bits))] = "selected"
    points = dict[BitPath, ParetoPoint]()
    for chosen in dict.fromkeys((*kept, *labels)):
        own = tuple(costs.cost(costs.names(chosen), resource) for resource in resources)
        points[chosen] = ParetoPoint(
            chosen.path, -factor * loss(chosen), own, False, labels.get(chosen, ""), bits=chosen.bits
        )
    sign = 1.0 if quality == "score" else -1.0
    named = {tuple(costs.names(chosen)): chosen for chosen in points}
    front = {
        named[point.path]
        for point in undominated(
            FrontPoint(names, sign * points[chosen].quality, points[chosen].costs)
            for names, chosen in named.items()
            if budget.allows(costs, names)
        )
    }
    marked = [replace(point, on_front=chosen in front) for chosen, point in points.items()]
    ordered = sorted(
        (point for point in marked if math.isfinite(point.quality)),
        key=lambda point: (not point.on_front, point.costs, point.path, point.bits),
    )
    limits = "" if budget.unlimited else budget.summary
    return ParetoFront(quality, saved.selector, tuple(map(str, resources)), limits, tuple(ordered))


def _at(net: Supernet, path: Sequence[str], bits: int) -> BitPath:
    """A path with the same number of bits at all stages that have a segment."""
    return BitPath(tuple(path), tuple(bits if name in net.components else FULL for name in path))
