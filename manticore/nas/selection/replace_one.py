"""The score of a path is the sum of what each of its choices changes by itself, with the base at all other stages.

With L(z) the objective of path z, and z[s := k] the base with candidate k at stage s (Puzzle, arXiv 2411.19146),

    u[s, k] = L(base) - L(base[s := k]),   score of a path = sum_s u[s, z_s].

It takes S (K - 1) + 1 evaluations and assumes that stages are independent. `replace-pairs` adds what two neighbours
change together beyond their sum, with (S - 1) (K - 1)^2 evaluations more.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from manticore.errors import ManticoreError
from manticore.nas.choices import Choices, PathNames
from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.scores import ChainScores, PathScores, StageScoreTable
from manticore.nas.supernet import Supernet


def replaced_scores(choices: Choices, base: str, loss: Callable[[PathNames], float]) -> StageScoreTable:
    """The table u (S, K) above, 0 for the base. Stages that choose together share what they change equally.

    Args:
        choices: of the search space; the base is one at every stage.
        base: the base model.
        loss: the objective of a path.
    """
    reference = loss((base,) * choices.stages)
    values = [[0.0] * len(choices.candidates) for _ in range(choices.stages)]
    for group in choices.decisions:
        for index in choices.allowed[group[0]]:
            name = choices.candidates[index]
            if name == base:
                continue
            path = tuple(name if stage in group else base for stage in range(choices.stages))
            for stage in group:
                values[stage][index] = (reference - loss(path)) / len(group)
    return StageScoreTable(choices.candidates, values)


@selectors.register("replace-one")
def replace_one(supernet: Supernet, context: SelectionContext) -> PathScores:
    """The sum of u. Raises ManticoreError if the base is no candidate of some stage."""
    _check_base(supernet)
    return replaced_scores(supernet.choices, supernet.base, lambda path: context.val_loss(path=path))


@selectors.register("replace-pairs")
def replace_pairs(supernet: Supernet, context: SelectionContext) -> PathScores:
    """The sum of u, and for two neighbours k and m that are both replaced, of

        L(base[s := k]) + L(base[s + 1 := m]) - L(base) - L(base[s := k, s + 1 := m]).

    Neighbours that choose together have no such term. Raises ManticoreError as `replace-one` does.
    """
    _check_base(supernet)
    choices, base = supernet.choices, supernet.base
    single = replaced_scores(choices, base, lambda path: context.val_loss(path=path))
    reference, size = context.val_loss(path=(base,) * choices.stages), len(choices.candidates)
    groups = {stage: group for group in choices.decisions for stage in group}
    pairs = [[[0.0] * size for _ in range(size)] for _ in range(choices.stages - 1)]
    for stage, table in enumerate(pairs):
        if len(groups[stage]) > 1 or len(groups[stage + 1]) > 1:
            continue
        for left, right in product(choices.allowed[stage], choices.allowed[stage + 1]):
            names = choices.candidates[left], choices.candidates[right]
            if base not in names:
                path = ((base,) * stage) + names + (base,) * (choices.stages - stage - 2)
                together = reference - context.val_loss(path=path)
                table[left][right] = together - single.values[stage][left] - single.values[stage + 1][right]
    return ChainScores(choices.candidates, single.values, pairs)


def _check_base(supernet: Supernet) -> None:
    if not supernet.choices.has_alone(supernet.base):
        raise ManticoreError(
            f"replace-one compares paths with the base alone, and '{supernet.base}' is not a candidate of every stage; "
            "set selection.selector=evaluated"
        )
