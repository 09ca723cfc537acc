"""Numbers as people read them: 1.2 M, 63.0 ± 1.5 %, 2 min 5 s. Knows nothing of where they come from."""

from __future__ import annotations

from collections.abc import Sequence

DASH = "–"


def count(value: float | None) -> str:
    """`34 k`, `1.2 M`, `7.0 B`; a dash for None."""
    if value is None:
        return DASH
    if round(value) < 1000:
        return f"{value:.0f}"
    scaled = value
    for unit in "kMBT":
        scaled /= 1000
        if round(scaled) < 1000 or unit == "T":
            break
    return f"{scaled:.1f} {unit}" if scaled < 9.95 else f"{scaled:.0f} {unit}"


def counted(number: float, what: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number:.0f} {what}{'' if number == 1 else 's'}"


def percent(share: float | None, margin: float | None = None) -> str:
    """A share of 1 with half its 95% interval: `63.0 ± 1.5 %`; a dash for None."""
    if share is None:
        return DASH
    return f"{100 * share:.1f} %" if margin is None else f"{100 * share:.1f} ± {100 * margin:.1f} %"


def points(difference: float, margin: float | None = None) -> str:
    """A signed difference of two shares in percentage points, with half its 95% interval: `+4.2`, `+4.2 ± 1.9`."""
    text = signed(100 * difference, 1)
    return text if margin is None else f"{text} ± {100 * margin:.1f}"


def signed(value: float, digits: int) -> str:
    """A number with its sign, none for what is rounded to zero: `+4.2`, `−4.2`, `0.0`."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def duration(seconds: float) -> str:
    """`0.4 s`, `35 s`, `2 min 5 s`, `1 h 7 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def listed(names: Sequence[str]) -> str:
    """`a, b and c`."""
    *most, final = names
    return f"{', '.join(most)} and {final}" if most else final
