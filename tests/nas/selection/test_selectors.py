"""Selectors that evaluate paths: on losses that are known, they find the path with the smallest."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from manticore.nas.choices import Choices
from manticore.nas.selection import Budget, SelectionContext, selectors
from manticore.nas.selection.chain import fit_chain
from manticore.nas.selection.scores import enumerate_scores
from manticore.nas.selection.trial_paths import MAX_PATHS
from manticore.nas.supernet import Supernet
from manticore.utils.statistics import spearman
from tests.helpers.ops import op_supernet

CHOICES = Choices.free(["a", "b", "c"], 5)


def chain_loss(choices: Choices, rng: random.Random) -> Callable[[Sequence[str]], float]:
    """A loss with a term for each stage and one for every two neighbours."""
    single = [{name: rng.gauss(0, 1) for name in choices.candidates} for _ in range(choices.stages)]
    pairs = [{(a, b): rng.gauss(0, 1) for a in choices.candidates for b in choices.candidates} for _ in single]

    def loss(path: Sequence[str]) -> float:
        neighbours = sum(table[pair] for table, pair in zip(pairs, pairwise(path), strict=False))
        return sum(row[name] for row, name in zip(single, path, strict=True)) + neighbours

    return loss


def context(net: Supernet, loss: Callable[[Sequence[str]], float]) -> SelectionContext:
    """The loss of a path is known; that of mixing weights is its mean under them."""

    def val_loss(path: Sequence[str] | None = None, weights: Tensor | None = None) -> float:
        if path is not None:
            return loss(path)
        assert weights is not None
        total = 0.0
        for each in net.choices.paths():
            share = float((weights * net.one_hot(each)).sum(-1).prod())
            total += share * loss(each)
        return total

    return SelectionContext(Budget(), val_loss, random.Random(0))


@pytest.mark.parametrize("name", ["evaluated", "beam"])
def test_the_path_with_the_smallest_loss_is_found(name: str) -> None:
    net = op_supernet("gpt2", "mamba")
    loss = chain_loss(net.choices, random.Random(1))
    scores = selectors[name](net, context(net, loss))
    best = min(net.choices.paths(), key=loss)
    assert tuple(scores.best(net, Budget())) == best
    assert scores.score(best) == pytest.approx(-loss(best), abs=0.5)


def test_a_chain_is_fitted_to_a_sample_and_ranks_the_rest() -> None:
    loss, rng = chain_loss(CHOICES, random.Random(2)), random.Random(3)
    assert CHOICES.count > 3 * MAX_PATHS
    sample = {path: -loss(path) for path in (tuple(CHOICES.random_path(rng)) for _ in range(2 * MAX_PATHS))}
    predicted = enumerate_scores(fit_chain(CHOICES, sample), CHOICES)
    rest = [path for path in predicted if path not in sample]
    assert max(abs(predicted[path] + loss(path)) for path in rest) < 0.1, "the loss is a chain, so it is recovered"
    noisy = {path: score + rng.gauss(0, 0.5) for path, score in sample.items()}
    predicted = enumerate_scores(fit_chain(CHOICES, noisy), CHOICES)
    correlation = spearman([predicted[path] for path in rest], [-loss(path) for path in rest])
    assert correlation is not None
    assert correlation > 0.9


def test_replaced_stages_are_added_up_and_their_pairs_too() -> None:
    """Of a loss that is a chain, pairs of neighbours explain everything, and single stages the rest beside the base."""
    net = op_supernet("gpt2", "mamba")
    loss = chain_loss(net.choices, random.Random(5))
    base = (net.base,) * net.choices.stages
    single, pairs = (selectors[name](net, context(net, loss)) for name in ("replace-one", "replace-pairs"))
    for path in net.choices.paths():
        assert pairs.score(path) == pytest.approx(loss(base) - loss(path))
        alone = [loss(base) - loss((*base[:stage], name, *base[stage + 1 :])) for stage, name in enumerate(path)]
        assert single.score(path) == pytest.approx(sum(alone))


def test_perturbation_keeps_what_the_mixture_misses_most() -> None:
    net = op_supernet("gpt2", "mamba")
    with torch.no_grad():
        net.alpha.copy_(torch.randn(net.alpha.shape, generator=torch.Generator().manual_seed(0)))
    single: dict[Any, float] = {}
    rng = random.Random(4)

    def loss(path: Sequence[str]) -> float:
        return sum(single.setdefault((stage, name), rng.gauss(0, 1)) for stage, name in enumerate(path))

    scores = selectors["perturbation"](net, context(net, loss))
    chosen = scores.best(net, Budget())
    # The loss is linear in the weights of a stage: without candidate k it is (m - w_k l_k) / (1 - w_k), the m of the
    # mixture, which is largest for the candidate whose w_k (m - l_k) / (1 - w_k) is.
    weights_SK = net.weights().tolist()
    for stage, name in enumerate(chosen):
        losses = [single[(stage, candidate)] for candidate in net.candidates]
        mean = sum(weight * value for weight, value in zip(weights_SK[stage], losses, strict=True))
        gains = [w * (mean - value) / (1 - w) for w, value in zip(weights_SK[stage], losses, strict=True)]
        assert name == net.candidates[gains.index(max(gains))]
    net.choices.check(chosen)
