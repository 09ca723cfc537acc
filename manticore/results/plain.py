"""Plain data taken apart with care: what is not as it should be becomes a BadFile. Knows nothing of what it is for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manticore.errors import BadFile
from manticore.training.metrics import ACCURACY, Metric
from manticore.utils.statistics import Interval


@contextmanager
def reading(where: Path | str, what: str) -> Iterator[None]:
    """Within it, a missing key or a value of another kind is a BadFile that names `what`."""
    try:
        yield
    except KeyError as error:
        raise BadFile(where, f"{what} has no {error.args[0]!r}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise BadFile(where, f"{what} is not as it should be ({error})") from None


def called(kind: str, held: object, key: str) -> str:
    """`row 'hybrid'`, or `a row` if it does not say its name."""
    return f"{kind} {held[key]!r}" if isinstance(held, Mapping) and key in held else f"a {kind}"


def number(value: object) -> float:
    """A finite number. Raises TypeError or ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    if not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return float(value)


def number_or_none(value: object) -> float | None:
    """A finite number, or None for None."""
    return None if value is None else number(value)


def numbers(held: object) -> dict[str, float]:
    """Finite numbers by name; None has none."""
    return {name: number(value) for name, value in mapping(held).items()}


def texts(held: object) -> tuple[str, ...]:
    """A list of texts; None is an empty one."""
    if not isinstance(held, list | tuple | None):
        raise TypeError(f"{held!r} is not a list")
    return tuple(map(str, held or ()))


def mapping(held: object) -> dict[str, Any]:
    """Values by name; None has none."""
    if not isinstance(held, Mapping | None):
        raise TypeError(f"{held!r} is not an object")
    return {str(name): value for name, value in (held or {}).items()}


def interval(held: Mapping[str, Any]) -> Interval:
    """An interval as JSON has it."""
    return Interval(
        number(held["mean"]), number_or_none(held.get("low")), number_or_none(held.get("high")), int(held["count"])
    )


def measured(held: Mapping[str, Any], metric: Metric = ACCURACY) -> Interval:
    """An interval of what is measured. Raises ValueError for a mean that cannot be, such as an accuracy in percent."""
    found, (low, high) = interval(held), metric.range
    if not low <= found.mean <= high:
        raise ValueError(f"{metric.label} of {found.mean:g} is not within {low:g} and {high:g}")
    return found


def intervals(held: object) -> dict[str, Interval]:
    """Intervals by name; those that are None are left out."""
    return {name: interval(value) for name, value in mapping(held).items() if value is not None}
