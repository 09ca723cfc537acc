"""The gradients of strategies and relaxations against cases whose answer is known."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manticore.nas.choices import Choices
from manticore.nas.relaxations import RelaxationContext, relaxations
from manticore.nas.strategies import Fair, FullLayout, Sandwich, Uniform, strategies
from manticore.nas.strategies.gaea import ExponentiatedGradient
from manticore.nas.strategies.rloo import leave_one_out
from manticore.nas.strategies.sdarts import ASCENTS, EPSILON
from manticore.nas.strategies.second_order import unrolled_gradient


class Quadratic:
    """L_train = |w - alpha|^2 / 2 and L_arch = |w - c|^2 / 2, which depends on alpha through w alone."""

    def __init__(self, w: Tensor, alpha: Tensor, c: Tensor, rate: float) -> None:
        self.w, self.alpha, self.c, self.weight_lr = nn.Parameter(w), nn.Parameter(alpha), c, rate
        self.net: Any = self
        self.weights, self.alphas = [self.w], [self.alpha]

    def gradients(self, batch: Any, parameters: Any, penalty: Any = None) -> Any:
        target = self.alpha if batch == "train" else self.c
        loss = (self.w - target).square().sum() / 2
        whole = loss if penalty is None else loss + penalty()
        return loss.detach(), torch.autograd.grad(whole, parameters, allow_unused=True)

    def penalty(self) -> Tensor:
        return self.alpha.sum() * 0


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_the_unrolled_gradient_is_that_of_one_weight_step(rate: float) -> None:
    generator = torch.Generator().manual_seed(0)
    w, alpha, c = (torch.randn(5, generator=generator) for _ in range(3))
    search: Any = Quadratic(w.clone(), alpha.clone(), c, rate)
    loss, (gradient,) = unrolled_gradient(search, "train", "arch")  # type: ignore[arg-type]
    ahead = w - rate * (w - alpha)
    assert loss == pytest.approx(float((ahead - c).square().sum() / 2), rel=1e-5)
    # d/d alpha of |w - rate (w - alpha) - c|^2 / 2; the first-order gradient is 0.
    torch.testing.assert_close(gradient, rate * (ahead - c), rtol=1e-3, atol=1e-4)
    assert torch.equal(search.w, w), "the weights are put back"


def test_gaea_is_exponentiated_gradient_on_the_weights() -> None:
    generator = torch.Generator().manual_seed(1)
    alpha = nn.Parameter(torch.randn(3, 4, generator=generator))
    slope_SK, rate = torch.randn(3, 4, generator=generator), 0.3
    weights_SK = alpha.softmax(-1)
    (weights_SK * slope_SK).sum().backward()
    expected = weights_SK.detach() * torch.exp(-rate * slope_SK)
    ExponentiatedGradient([alpha], rate).step()
    torch.testing.assert_close(alpha.softmax(-1), expected / expected.sum(-1, keepdim=True))


def context(seed: int = 0, progress: float = 0.5) -> RelaxationContext:
    torch.manual_seed(seed)
    return RelaxationContext(progress=progress, generator=torch.default_generator)


ALPHA = torch.tensor([[0.5, -0.3, 0.1], [1.0, 0.0, -1.0]])


@pytest.mark.parametrize("name", ["gumbel", "reinmax"])
def test_a_path_is_drawn_as_often_as_its_weights_say(name: str) -> None:
    draws = 3000
    source = context()
    total = torch.zeros(2, 3)
    for _ in range(draws):
        weights_SK = relaxations[name](ALPHA, source)
        assert sorted(weights_SK.flatten().round(decimals=6).tolist()) == [0, 0, 0, 0, 1, 1]
        total += weights_SK
    p = ALPHA.softmax(-1)
    assert ((total / draws - p).abs() < 4 * (p * (1 - p) / draws).sqrt()).all(), "within four standard errors"
    torch.testing.assert_close(relaxations[name](ALPHA, RelaxationContext()), p)


def test_the_gradient_of_gumbel_is_that_of_its_softmax() -> None:
    alpha = ALPHA.clone().requires_grad_()
    slope = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, 2.0]])
    (relaxations["gumbel"](alpha, context(3)) * slope).sum().backward()
    again = ALPHA.clone().requires_grad_()
    torch.manual_seed(3)
    noise = torch.empty_like(again).exponential_().log().neg()
    soft = ((again.log_softmax(-1) + noise) / (10.0 + (0.1 - 10.0) * 0.5)).softmax(-1)
    (soft * slope).sum().backward()
    torch.testing.assert_close(alpha.grad, again.grad)


def test_reinmax_is_exact_for_a_linear_loss() -> None:
    """The mean of its gradient over all samples is that of the expected loss `<u, softmax(alpha)>`."""
    row, u = ALPHA[:1], torch.tensor([[1.0, -2.0, 0.5]])
    mean, seen = torch.zeros(1, 3), Counter[int]()
    for seed in range(200):
        alpha = row.clone().requires_grad_()
        sample = relaxations["reinmax"](alpha, context(seed))
        (drawn,) = sample.argmax(-1).tolist()
        if not seen[drawn]:
            (gradient,) = torch.autograd.grad((sample * u).sum(), alpha)
            mean += row.softmax(-1)[0, drawn] * gradient
        seen[drawn] += 1
    assert set(seen) == {0, 1, 2}
    alpha = row.clone().requires_grad_()
    (expected,) = torch.autograd.grad((alpha.softmax(-1) * u).sum(), alpha)
    torch.testing.assert_close(mean, expected)


def test_dirichlet_weights_have_the_mean_of_their_concentrations() -> None:
    source = context()
    total = sum((relaxations["dirichlet"](ALPHA, source) for _ in range(3000)), torch.zeros(2, 3)) / 3000
    mean = relaxations["dirichlet"](ALPHA, RelaxationContext())
    concentration = torch.nn.functional.elu(ALPHA) + 1
    torch.testing.assert_close(mean, concentration / concentration.sum(-1, keepdim=True))
    torch.testing.assert_close(total, mean, rtol=0, atol=0.03)


def test_rloo_is_unbiased() -> None:
    """The mean over all pairs of paths is the gradient of the expected loss."""
    losses = torch.tensor([1.0, -2.0, 0.5])
    alpha = torch.tensor([0.2, -0.1, 0.4], requires_grad=True)
    (expected,) = torch.autograd.grad((alpha.softmax(-1) * losses).sum(), alpha)
    p, mean = alpha.softmax(-1).detach(), torch.zeros(3)
    for pair in product(range(3), repeat=2):
        advantages = leave_one_out(losses[list(pair)])
        surrogate = (advantages * alpha.log_softmax(-1)[list(pair)]).mean()
        (gradient,) = torch.autograd.grad(surrogate, alpha)
        mean += p[pair[0]] * p[pair[1]] * gradient
    torch.testing.assert_close(mean, expected)


class OfAlphas:
    """A search whose loss is a function of the alphas alone."""

    def __init__(self, loss: Any, alpha: Tensor) -> None:
        self.alpha, self.of, self.counted = nn.Parameter(alpha), loss, 0
        self.net: Any = SimpleNamespace(alphas=[self.alpha], progress=0.5)
        self.seen: list[Tensor] = []

    def losses(self, batch: Any, options: Any) -> Any:
        return self.of(self.alpha).detach()

    def gradients(self, batch: Any, parameters: Any) -> Any:
        loss = self.of(self.alpha)
        return loss.detach(), torch.autograd.grad(loss, parameters)

    def weight_step(self, batch: Any) -> float:
        self.seen.append(self.alpha.detach().clone())
        return 0.0

    def count_passes(self, batch: Any, passes: int) -> None:
        self.counted += passes


def test_an_adversarial_perturbation_makes_the_loss_largest_within_the_bound() -> None:
    slope, start = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.3, 0.1, -0.2]])
    search: Any = OfAlphas(lambda alpha: (alpha * slope).sum(), start.clone())
    torch.manual_seed(0)
    strategies["sdarts-adversarial"]().update_weights(search, {"weights": {}})
    bound = EPSILON * 0.5
    torch.testing.assert_close(search.seen[0], start + bound * slope.sign())
    assert torch.equal(search.alpha.detach(), start), "the alphas are put back"
    assert search.counted == 2 * ASCENTS + 2

    # The largest value inside of the bound is approached up to a step; outside of it, the border is the best.
    peak = torch.tensor([[0.1, -0.05, 9.0]])
    search = OfAlphas(lambda alpha: -(alpha - start - peak).square().sum(), start.clone())
    strategies["sdarts-adversarial"]().update_weights(search, {"weights": {}})
    torch.testing.assert_close(
        search.seen[0] - start, torch.tensor([[0.1, -0.05, bound]]), rtol=0, atol=2 * bound / ASCENTS
    )

    # At the largest value itself no perturbation is larger.
    search = OfAlphas(lambda alpha: -(alpha - start).square().sum(), start.clone())
    strategies["sdarts-adversarial"]().update_weights(search, {"weights": {}})
    assert torch.equal(search.seen[0], start)


def test_a_random_perturbation_is_within_the_bound() -> None:
    search: Any = OfAlphas(None, torch.zeros(4, 5))
    torch.manual_seed(0)
    strategies["sdarts"]().update_weights(search, {"weights": {}})
    assert 0 < search.seen[0].abs().min() < search.seen[0].abs().max() <= EPSILON * 0.5
    assert not search.counted


CHOICES = Choices.of(["a", "b", "c"], 4, {2: ["a", "c"]}, [[3, 4]])


@pytest.mark.parametrize("strategy", [Uniform, Fair, FullLayout, Sandwich])
def test_paths_are_those_of_the_space(strategy: Any) -> None:
    rng = random.Random(0)
    for _ in range(50):
        for path in strategy().draw(CHOICES, rng):
            if path is not None:
                CHOICES.check(path)


def test_fair_paths_run_every_candidate_once() -> None:
    choices, rng = Choices.free(["a", "b", "c"], 5), random.Random(0)
    for _ in range(20):
        paths = Fair().draw(choices, rng)
        assert all(sorted(path[stage] for path in paths if path) == ["a", "b", "c"] for stage in range(5))


def test_every_composition_is_equally_likely_in_full_layout() -> None:
    choices, rng, draws = Choices.free(["a", "b", "c"], 4), random.Random(0), 6000
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(draws):
        (path,) = FullLayout().draw(choices, rng)
        assert path is not None
        counts[tuple(list(path).count(name) for name in "abc")] += 1
    compositions = 15  # of 4 stages into 3 counts
    assert len(counts) == compositions
    expected = draws / compositions
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


def test_sandwich_has_the_mixture() -> None:
    paths = Sandwich().draw(CHOICES, random.Random(0))
    assert [path is None for path in paths] == [True, False, False]
