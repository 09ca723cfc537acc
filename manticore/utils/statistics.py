"""How sure a comparison over seeds is: means, paired differences, ranks, and a verdict in words.

Plain numbers in, plain numbers and one sentence out; knows nothing of runs or models. Intervals are Student's, so they
take the seeds' results to be independent and about normal. Nothing is corrected for looking at several tasks.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from manticore.errors import ManticoreError

LEVEL = 0.95
"""Share of experiments whose interval holds the true value, unless told otherwise."""


@dataclass(frozen=True)
class Interval:
    """An estimate and where the true value may be.

    Attributes:
        mean: the estimate.
        low, high: ends of the interval; None where there is none, as with one value.
        count: values it is made from.
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
        """Half the width of the interval, None where there is none."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Mean of independent values, with Student's t interval: `mean ± t * s / sqrt(n)`, n - 1 degrees of freedom.

    One value has no interval. Raises ManticoreError without values, for one that is no finite number, and for a level
    that is not between 0 and 1.
    """
    _check(values, level)
    count = len(values)
    mean = math.fsum(value / count for value in values)
    if count == 1:
        return Interval(values[0], None, None, 1)
    if min(values) == max(values):  # the rounding of the mean is no spread
        return Interval(values[0], values[0], values[0], count)
    deviation = math.hypot(*(value - mean for value in values)) / math.sqrt(count - 1)
    margin = student_quantile((1 + level) / 2, count - 1) * deviation / math.sqrt(count)
    return Interval(mean, mean - margin, mean + margin, count)


def paired_difference(
    ours: Mapping[Hashable, float], theirs: Mapping[Hashable, float], level: float = LEVEL
) -> Interval:
    """Mean of `ours - theirs` over the seeds both have, with its interval.

    Pairing takes out what a seed does to both, such as an easy draw of the data. Raises ManticoreError if they share
    no seed.
    """
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        raise ManticoreError(f"no seed in common: {_listed(ours)} against {_listed(theirs)}.")
    return mean_interval([ours[seed] - theirs[seed] for seed in seeds], level)


def ratio_interval(sums: Sequence[float], sizes: Sequence[float], level: float = LEVEL) -> Interval:
    """Sum of `sums` over that of `sizes`, both told by independent units: bits and bytes of documents, for one.

    The interval is Student's, with the linearized variance of a ratio, `n / (n - 1) * sum((s - r z)^2) / sum(z)^2`
    (Cochran, Sampling Techniques, 1977, section 6.4). One unit has none. Raises ManticoreError without units, and for
    what is no finite number.
    """
    _check([*sums], level)
    count, whole = len(sums), math.fsum(sizes)
    ratio = math.fsum(sums) / whole
    if count == 1:
        return Interval(ratio, None, None, 1)
    residual = math.hypot(*(part - ratio * size for part, size in zip(sums, sizes, strict=True)))
    margin = student_quantile((1 + level) / 2, count - 1) * residual * math.sqrt(count / (count - 1)) / whole
    return Interval(ratio, ratio - margin, ratio + margin, count)


def spearman(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Spearman's rank correlation in [-1, 1]; tied values share the mean of their ranks.

    None where it means nothing: one of the two is constant. Raises ManticoreError for fewer than two pairs.
    """
    if len(ours) != len(theirs) or len(ours) < 2:
        raise ManticoreError(f"a rank correlation needs at least two pairs, got {len(ours)} and {len(theirs)} values.")
    _check([*ours, *theirs], LEVEL)
    middle = (len(ours) - 1) / 2
    one, two = ([rank - middle for rank in _ranks(values)] for values in (ours, theirs))
    scale = math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in two))
    if scale == 0:
        return None
    return max(-1.0, min(1.0, math.fsum(a * b for a, b in zip(one, two, strict=True)) / scale))


def spearman_interval(ours: Sequence[float], theirs: Sequence[float], level: float = LEVEL) -> Interval | None:
    """Spearman's correlation with Fisher's interval, `tanh(atanh(r) ± z * sqrt((1 + r^2 / 2) / (n - 3)))`.

    The variance is that of Bonett and Wright (Psychometrika 65, 2000). A perfect correlation counts for half an
    exchange of neighbours less, so that few pairs do not look certain. Fewer than four pairs have no interval; a
    constant side has no correlation: None.
    """
    _check(ours, level)
    r, count = spearman(ours, theirs), len(ours)
    if r is None:
        return None
    if count < 4:
        return Interval(r, None, None, count)
    most = 1 - 6 / (count * (count**2 - 1))
    held = max(-most, min(most, r))
    margin = NormalDist().inv_cdf((1 + level) / 2) * math.sqrt((1 + held**2 / 2) / (count - 3))
    low, high = math.tanh(math.atanh(held) - margin), math.tanh(math.atanh(held) + margin)
    return Interval(r, min(low, r), max(high, r), count)


def student_cdf(t: float, freedom: float) -> float:
    """P(T <= t) for Student's t with `freedom` > 0 degrees of freedom: `1 - I_x(v / 2, 1 / 2) / 2`, x = v / (v + t^2).

    I is the regularized incomplete beta function (Abramowitz and Stegun, 26.7.1 and 26.5.27).
    """
    upper = _upper_tail(abs(t), freedom)
    return upper if t < 0 else 1 - upper


def student_quantile(p: float, freedom: float) -> float:
    """The t that Student's distribution stays below with probability `p`, to about 12 digits (9 at a million degrees).

    Raises ManticoreError unless 0 < p < 1 and `freedom` is positive.
    """
    if not 0 < p < 1 or not freedom > 0:
        raise ManticoreError(f"no t quantile at p = {p} with {freedom} degrees of freedom; allowed: 0 < p < 1, > 0.")
    if p == 0.5:
        return 0.0
    tail, sign = (p, -1) if p < 0.5 else (1 - p, 1)
    low, high = 0.0, 1.0
    while _upper_tail(high, freedom) > tail:
        low, high = high, 2 * high
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return sign * middle
        low, high = (middle, high) if _upper_tail(middle, freedom) > tail else (low, middle)


def _upper_tail(t: float, freedom: float) -> float:
    """P(T > t) for t >= 0, exact far out where 1 - P(T <= t) would round to nothing."""
    square = t * t
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + square), square / (freedom + square)) / 2


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """The regularized I_x(a, b); `rest` is 1 - x, given apart because it may be tiny."""
    if x == 0 or rest == 0:
        return float(rest == 0)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    )  # the same from either end
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(a, b, x) / a
    return 1 - front * _beta_fraction(b, a, rest) / b


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function (Abramowitz and Stegun, 26.5.8).

    It is evaluated from the front by two running ratios (Lentz), until a pair of terms no longer matters.
    """
    tiny = 1e-300
    above, below = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = below
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        change = 1.0
        for term in (even, odd):
            below = 1 / ((1 + term * below) or tiny)
            above = (1 + term / above) or tiny
            change = above * below
            value *= change
        if abs(change - 1) < 1e-15:
            break
    return value


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 0; equal values share the mean of theirs."""
    ordered = sorted(values)
    first = {value: place for place, value in reversed(list(enumerate(ordered)))}
    last = {value: place for place, value in enumerate(ordered)}
    return [(first[value] + last[value]) / 2 for value in values]


def _check(values: Sequence[float], level: float) -> None:
    if not values:
        raise ManticoreError("there are no values to compare.")
    for value in values:
        if not math.isfinite(value):
            raise ManticoreError(f"only finite numbers can be compared, got {value}.")
    if not 0 < level < 1:
        raise ManticoreError(f"the level of an interval is between 0 and 1, got {level}.")


def _listed(names: Mapping[Hashable, float]) -> str:
    return ", ".join(map(str, names)) or "none"
