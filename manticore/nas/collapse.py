"""Signs that a gradient search collapses: onto one candidate, or into a sharp minimum of the alphas.

The weights of a supernet that collapses lose most when it is discretized. Before that, the largest eigenvalue of the
Hessian of the loss in the alphas rises (RobustDARTS and DARTS-ES, arXiv 1909.09656).

Notation: S stages, K candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import torch
from torch import Tensor, nn

from manticore.nas.regularizers import entropy
from manticore.nas.stage_scores import ScoreTable

CHECKS = 8
"""Number of checks in a search, in each of which the eigenvalue is computed; short searches have fewer."""

LEAST_STEPS = 50
"""Smallest number of alpha steps between two checks; a search with fewer alpha steps has none."""

SEQUENCES = 16
"""Largest number of sequences on which the loss of a check is computed."""

ITERATIONS = 4
"""Power iterations of a check, each with two gradients of the alphas."""

STEP = 0.05
"""Length of the step in the alphas by which the Hessian is differenced."""

WINDOW, LAG = 5, 4
"""The mean of up to `WINDOW` checks is compared with the same mean `LAG` checks before."""

GROWTH = 1.3
"""Growth of that mean above which a warning says that the search may have collapsed; the threshold of RobustDARTS."""

SHARE = 0.9
"""Mean mixing weight of one candidate over all stages above which a warning says that the search may have collapsed."""


def concentration(candidates: Sequence[str], weights_SK: Tensor) -> dict[str, object]:
    """How far the mixing weights have moved to a path, as plain data.

    `entropy` has for each stage the entropy, 1 at uniform and 0 at one-hot; `dominance` the lead of the largest weight
    over the second; `shares` for each candidate its mean weight over the stages.
    """
    top_S2 = weights_SK.topk(min(2, weights_SK.shape[-1])).values
    return {
        "entropy": entropy(weights_SK).tolist(),
        "dominance": (top_S2[:, 0] - top_S2[:, -1]).tolist(),
        "shares": dict(zip(candidates, weights_SK.mean(0).tolist(), strict=True)),
    }


def is_check(alpha_steps: int, total: int) -> bool:
    """Whether the eigenvalue is computed after `alpha_steps` of the `total` alpha steps of a search."""
    every = max(LEAST_STEPS, -(-total // CHECKS))
    return alpha_steps > 0 and alpha_steps % every == 0


def largest_eigenvalue(
    gradient: Callable[[], Sequence[Tensor | None]],
    alphas: Sequence[nn.Parameter],
    iterations: int = ITERATIONS,
    step: float = STEP,
) -> float:
    """The eigenvalue of the Hessian of the alphas that is largest in magnitude, by power iteration.

    A Hessian-vector product is a central difference of gradients, `(g(alpha + h v) - g(alpha - h v)) / 2 h`, so that
    kernels need no second derivative. The start is the same at every call, and the alphas are as before afterwards.

    Args:
        gradient: computes the gradient of the loss in each of the alphas at their current values; None stands for zero.
        alphas: the parameters.
        iterations: number of products; the last one gives the Rayleigh quotient.
        step: h.
    """
    origin = [alpha.detach().clone() for alpha in alphas]
    source = torch.Generator().manual_seed(0)
    v = _unit([torch.randn(alpha.shape, generator=source).to(alpha.device) for alpha in alphas])
    value = 0.0
    for _ in range(iterations):
        # H v = (g(alpha + h v) - g(alpha - h v)) / 2 h; v . H v is the Rayleigh quotient, since |v| = 1
        ends = []
        for sign in (1.0, -1.0):
            _set(alphas, [start + sign * step * direction for start, direction in zip(origin, v, strict=True)])
            pairs = zip(alphas, gradient(), strict=True)
            ends.append([torch.zeros_like(alpha) if grad is None else grad.detach() for alpha, grad in pairs])
        product = [(plus - minus) / (2 * step) for plus, minus in zip(*ends, strict=True)]
        value = float(sum((a * b).sum() for a, b in zip(v, product, strict=True)))
        v = _unit(product)
    _set(alphas, origin)
    return value


def _unit(vector: Sequence[Tensor]) -> list[Tensor]:
    norm = torch.sqrt(torch.stack([part.square().sum() for part in vector]).sum()).clamp_min(1e-30)
    return [part / norm for part in vector]


@torch.no_grad()
def _set(alphas: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for alpha, value in zip(alphas, values, strict=True):
        alpha.copy_(value)


def growth(curvatures: Sequence[float]) -> float | None:
    """Magnitude of the eigenvalue, divided by that of four checks before; None with fewer checks."""
    if len(curvatures) <= LAG:
        return None
    sizes = [abs(value) for value in curvatures]
    now, before = (fmean(sizes[max(0, end - WINDOW) : end]) for end in (len(sizes), len(sizes) - LAG))
    return now / max(before, 1e-30)


def collapse_warnings(candidates: Sequence[str], weights: ScoreTable, curvatures: Sequence[float]) -> list[str]:
    """The signs of a collapse at the end of a search, as sentences without a full stop.

    Args:
        candidates: names of the columns.
        weights: mixing weights, (S, K).
        curvatures: largest eigenvalue at each check.
    """
    warnings = []
    ratios = [growth(curvatures[:count]) for count in range(1, len(curvatures) + 1)]
    largest = max((ratio for ratio in ratios if ratio is not None), default=0.0)
    if largest > GROWTH:
        warnings.append(
            f"the search may have collapsed: within four checks the loss became {largest:.1f} times as curved in the "
            f"alphas; above {GROWTH} the path tends to be much worse than the mixture; try fewer search.steps, a lower "
            "search.alphas.lr or --strategy sdarts"
        )
    shares = {name: fmean(row[column] for row in weights) for column, name in enumerate(candidates)}
    alone = [name for name, share in shares.items() if share > SHARE]
    if alone and len(weights) > 1 and len(candidates) > 1:
        warnings.append(
            f"{alone[0]} has a mean mixing weight of {shares[alone[0]]:.2f} over all stages, as in a search that has "
            "collapsed; --strategy uniform, which has no alphas, shows whether it is the best at every stage"
        )
    return warnings
