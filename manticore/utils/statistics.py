"""Confidence intervals over seeds: means, paired differences, ratios of sums, rank correlation.

Plain numbers in, plain numbers out. The intervals are Student's: they assume independent, roughly normal values. There
is no correction for multiple comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from manticore.errors import ManticoreError

K = TypeVar("K", bound=Hashable)

LEVEL = 0.95
"""Default confidence level."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes:
        mean: the estimate.
        low, high: ends of the interval; None if there is none, as with a single value.
        count: number of values.
    """

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def excludes_zero(self) -> bool:
        """Whether there is an interval and zero is outside it."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def margin(self) -> float | None:
        """Half the width of the interval; None if there is none."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def student_quantile(p: float, df: int) -> float:
    """Quantile `p` of Student's t distribution with `df` degrees of freedom."""
    return float(stats.t.ppf(p, df))


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None without any."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of independent values with Student's t interval, `mean ± t * s / sqrt(n)`, n - 1 degrees of freedom.

    A single value has no interval. Raises ManticoreError if there are no values, if one is not finite, and if the level
    is not between 0 and 1.
    """
    _check(values, level)
    count = len(values)
    mean = math.fsum(value / count for value in values)
    if count == 1:
        return Interval(values[0], None, None, 1)
    if min(values) == max(values):  # the rounding error of the mean is no deviation
        return Interval(values[0], values[0], values[0], count)
    deviation = math.hypot(*(value - mean for value in values)) / math.sqrt(count - 1)
    margin = student_quantile((1 + level) / 2, count - 1) * deviation / math.sqrt(count)
    return Interval(mean, mean - margin, mean + margin, count)


def paired_difference(a: Mapping[K, float], b: Mapping[K, float], level: float = LEVEL) -> Interval:
    """Mean of `a - b` over the seeds they share, with its interval.

    Pairing removes the variance that a seed causes in both, such as an easy sample of data.

    Args:
        a, b: value by seed.
        level: confidence level.

    Raises ManticoreError if there is no common seed.
    """
    seeds = [seed for seed in a if seed in b]
    if not seeds:
        raise ManticoreError(f"no seed in common: {_listed(a)} against {_listed(b)}.")
    return mean_interval([a[seed] - b[seed] for seed in seeds], level)


def ratio_std_error(residuals_N: NDArray[Any], total: float, count: int, ddof: int = 1) -> float:
    """Standard error of a ratio `r = sum(y) / sum(x)` over independent units, by linearization.

    `sqrt(n / (n - ddof) * sum((y_i - r x_i)^2)) / sum(x)` (Cochran, Sampling Techniques, 1977, section 6.4). The mean
    of clusters of unequal sizes is such a ratio: y_i is the sum of a cluster, x_i its size.

    Args:
        residuals_N: `y_i - r x_i` of each unit; zero entries beyond the units do no harm.
        total: sum(x).
        count: n, the number of units, more than `ddof`.
        ddof: 1 for the sample variance, 0 for the binomial limit, where each unit is one answer.
    """
    squares = (residuals_N**2).sum()
    if ddof:
        squares = squares * count / (count - ddof)
    return float(np.sqrt(squares) / total)


def ratio_interval(sums: Sequence[float], sizes: Sequence[float], level: float = LEVEL) -> Interval:
    """`sum(sums) / sum(sizes)` over independent units with Student's interval, such as bits over bytes of documents.

    The standard error is `ratio_std_error`. A single unit has no interval. Raises ManticoreError if there are no units
    and if a sum is not finite.
    """
    _check(sums, level)
    count, total = len(sums), math.fsum(sizes)
    ratio = math.fsum(sums) / total
    if count == 1:
        return Interval(ratio, None, None, 1)
    residuals_N = np.asarray(sums, np.float64) - ratio * np.asarray(sizes, np.float64)
    margin = student_quantile((1 + level) / 2, count - 1) * ratio_std_error(residuals_N, total, count)
    return Interval(ratio, ratio - margin, ratio + margin, count)


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Spearman's rank correlation in [-1, 1], the Pearson correlation of ranks; ties share their mean rank.

    Returns None if one side is constant. Raises ManticoreError for fewer than two pairs.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ManticoreError(f"a rank correlation needs at least two pairs, got {len(a)} and {len(b)} values.")
    _check([*a, *b], LEVEL)
    mean_rank = (len(a) + 1) / 2
    centred_a, centred_b = ((stats.rankdata(values) - mean_rank).tolist() for values in (a, b))
    scale = math.sqrt(math.fsum(x * x for x in centred_a) * math.fsum(y * y for y in centred_b))
    if scale == 0:
        return None
    # Sums of half-integers are exact here, so a perfect correlation is 1 and not 1 - 1e-16 as with spearmanr.
    return max(-1.0, min(1.0, math.fsum(x * y for x, y in zip(centred_a, centred_b, strict=True)) / scale))


def kendall(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Kendall's rank correlation tau-b in [-1, 1], which allows for ties.

    Returns None if one side is constant. Raises ManticoreError for fewer than two pairs.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ManticoreError(f"a rank correlation needs at least two pairs, got {len(a)} and {len(b)} values.")
    _check([*a, *b], LEVEL)
    tau = float(stats.kendalltau(a, b).statistic)
    return None if math.isnan(tau) else tau


def spearman_interval(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Spearman's correlation with Fisher's interval, `tanh(atanh(r) ± z * sqrt((1 + r^2 / 2) / (n - 3)))`.

    The variance is that of Bonett and Wright (Psychometrika 65, 2000). For the interval, r is bounded by
    `1 - 6 / (n (n^2 - 1))`, half of what one exchange of neighbours costs, so that a few perfectly ordered pairs do not
    look certain. Fewer than four pairs have no interval. Returns None if one side is constant.
    """
    _check(a, level)
    r, count = spearman(a, b), len(a)
    if r is None:
        return None
    if count < 4:
        return Interval(r, None, None, count)
    bound = 1 - 6 / (count * (count**2 - 1))
    bounded = max(-bound, min(bound, r))
    margin = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt((1 + bounded**2 / 2) / (count - 3))
    low, high = math.tanh(math.atanh(bounded) - margin), math.tanh(math.atanh(bounded) + margin)
    return Interval(r, min(low, r), max(high, r), count)


def _check(values: Sequence[float], level: float) -> None:
    if not values:
        raise ManticoreError("there are no values to compare.")
    for value in values:
        if not math.isfinite(value):
            raise ManticoreError(f"only finite numbers can be compared, got {value}.")
    if not 0 < level < 1:
        raise ManticoreError(f"the level of an interval is between 0 and 1, got {level}.")


def _listed(values: Mapping[K, float]) -> str:
    return ", ".join(map(str, values)) or "none"
