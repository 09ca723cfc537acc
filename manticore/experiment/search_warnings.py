"""Warnings about the choice of a search: it was decided by noise, or the supernet has collapsed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from manticore.components.spec import SKIP
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.nas.choices import PathNames
from manticore.nas.collapse import collapse_warnings
from manticore.nas.selection import Budget, runner_up
from manticore.nas.stage_scores import StageScores, late_records
from manticore.nas.strategies import strategies
from manticore.nas.supernet import Supernet
from manticore.report.run.reading import Alphas, read_alphas
from manticore.utils.path_text import path_text


def search_warnings(
    exp: Experiment, search: PhaseResult[Supernet], path: Sequence[str], budget: Budget
) -> tuple[str, ...]:
    """The warnings of a search whose scores of paths are computed, as sentences without a full stop.

    Args:
        exp: the run.
        search: the search.
        path: the selected path.
        budget: the limits of the selection.
    """
    alphas = read_alphas(exp.run_dir.alphas, exp.space.stages)
    warnings = [_noise(search, tuple(path), budget, alphas)]
    if alphas is not None and strategies[exp.recipe.search.strategy].descends:
        warnings += collapse_warnings(alphas.candidates, alphas.weights[-1], alphas.curvatures)
    return tuple(filter(None, warnings))


def _noise(search: PhaseResult[Supernet], path: PathNames, budget: Budget, alphas: Alphas | None) -> str:
    """The warning that the difference between the path and the runner-up is noise; empty if it is not, or not known."""
    assert search.path_scores is not None
    rival = runner_up(search.path_scores, search.net, budget, path)
    if rival is None:
        return ""
    if search.compare is not None:
        difference = search.compare(path, rival)
        if difference is None or not difference.is_noise:
            return ""
        side = "better" if difference.mean <= 0 else "worse"
        return (
            f"the search decides on noise: on the validation split the path is {abs(difference.mean):.2g} nats {side} "
            f"than the runner-up, {path_text(rival)}, with a standard error of {difference.std_error:.2g}"
        )
    if search.stage_scores is not None:
        return _noise_of_stage(search.stage_scores)
    return "" if alphas is None else _noise_of_weights(alphas, path, rival)


def _noise_of_weights(alphas: Alphas, path: PathNames, rival: PathNames) -> str:
    """The warning that mixing weights of path and runner-up differ by less than they varied late in the search."""
    late = late_records(alphas.weights)
    stage = next(stage for stage, (name, second) in enumerate(zip(path, rival, strict=True)) if name != second)
    column, rival_column = (alphas.candidates.index(names[stage]) for names in (path, rival))
    gaps = [weights[stage][column] - weights[stage][rival_column] for weights in late]
    mean = math.fsum(gaps) / len(gaps)
    deviation = math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / max(1, len(gaps) - 1))
    if len(gaps) < 2 or abs(gaps[-1]) > deviation:
        return ""
    return (
        f"the search decides on noise: at stage {stage + 1} the mixing weights of {path[stage]} and {rival[stage]} "
        f"differ by {abs(gaps[-1]):.2g}, and that difference has a standard deviation of {deviation:.2g} over the last "
        f"{len(gaps)} recorded steps"
    )


def _noise_of_stage(scores: StageScores) -> str:
    """The warning that the score of a donor is within its standard error of the threshold."""
    if scores.threshold is None:
        return ""
    for stage, row in enumerate(scores.values):
        for column, name in enumerate(scores.candidates):
            spread = scores.spread_at(stage, column)
            if spread and name != SKIP and abs(row[column] - scores.threshold) <= spread:
                return (
                    f"the search decides on noise: the {scores.measure} of {name} at stage {stage + 1} is "
                    f"{row[column]:.3g} with a standard error of {spread:.2g}, and the limit is {scores.threshold:.3g}"
                )
    return ""
