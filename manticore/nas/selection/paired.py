"""Paired differences of the validation losses of two paths on the same examples, and which paths a search keeps.

The losses of two paths on one example vary together, so their difference has a smaller standard error than either. The
variation over seeds and orders of batches is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.nas.choices import PathNames
from manticore.utils.statistics import ratio_std_error

MARGIN = 2.0
"""Standard errors by which a path must be worse than the best before it is dropped."""

MOST_KEPT = 0.75
"""Largest share of the paths that are kept if differences are not clear."""

Losses = NDArray[Any]
"""Cross-entropy in nats and number of labels of each independent unit of a split, an example or a document, (N, 2)."""


@dataclass(frozen=True)
class Difference:
    """How much larger the loss of one path is than that of another, in nats per label.

    Attributes:
        mean: the difference; negative where the first path is better.
        std_error: its standard error over the units.
    """

    mean: float
    std_error: float

    @property
    def is_noise(self) -> bool:
        """Whether the difference is within its standard error."""
        return abs(self.mean) <= self.std_error


def loss_difference(losses: Losses, rival: Losses) -> Difference | None:
    """The difference of two paths; None for fewer than two units, and for units that are not the same."""
    if losses.shape != rival.shape or not np.array_equal(losses[:, 1], rival[:, 1]):
        return None
    scored = losses[:, 1] > 0
    ahead, sizes = (losses - rival)[scored, 0], losses[scored, 1]
    if len(sizes) < 2 or not np.isfinite(ahead).all():
        return None
    total = float(sizes.sum())
    mean = math.fsum(ahead) / total
    return Difference(mean, ratio_std_error(ahead - mean * sizes, total, len(sizes)))


def combined(weights: Sequence[float], differences: Sequence[Difference | None]) -> Difference | None:
    """The weighted sum of differences on independent data; None if one of them is not known."""
    known = [each for each in differences if each is not None]
    if len(known) < len(differences):
        return None
    mean = math.fsum(weight * each.mean for weight, each in zip(weights, known, strict=True))
    error = math.hypot(*(weight * each.std_error for weight, each in zip(weights, known, strict=True)))
    return Difference(mean, error)


def survivors(
    ranked: Sequence[PathNames],
    count: int,
    difference: Callable[[PathNames, PathNames], Difference | None],
    margin: float = MARGIN,
) -> list[PathNames]:
    """The paths that are kept: the first `count`, and those after them that are not clearly worse than the first.

    A path is clearly worse if its difference to the first exceeds `margin` standard errors, or is not known. At most
    `MOST_KEPT` of all are kept, or `count` if that is more (racing, Maron and Moore, 1994).

    Args:
        ranked: paths by rising loss.
        count: number of paths that are kept in any case.
        difference: of the losses of two paths.
        margin: in standard errors; 0 drops every path behind the first `count`.
    """
    most = max(count, int(MOST_KEPT * len(ranked)))
    kept = list(ranked[:count])
    for path in ranked[count:]:
        if len(kept) >= most:
            break
        gap = difference(path, ranked[0])
        if gap is not None and gap.mean < margin * gap.std_error:
            kept.append(path)
    return kept
