"""Numbers as text: `1.2 M`, `63.0 %`, `340 MiB`, `2 min 5 s`, `0.62 (−0.10 to 0.90)`."""

from __future__ import annotations

from collections.abc import Sequence

from manticore.utils.statistics import Interval

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


def byte_size(value: float) -> str:
    """A number of bytes in binary units: `340 MiB`, `1.2 GiB`; less than half a MiB is `0 MiB`."""
    mebibytes = value / 2**20
    return f"{mebibytes:.0f} MiB" if round(mebibytes) < 1024 else f"{mebibytes / 1024:.1f} GiB"


def counted(number: float, noun: str) -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number:.0f} {noun}{'' if number == 1 else 's'}"


def percent(share: float) -> str:
    """A share of 1: `63.0 %`."""
    return f"{100 * share:.1f} %"


def signed(value: float, digits: int) -> str:
    """A number with its sign; zero after rounding has none: `+4.2`, `−4.2`, `0.0`."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


def fixed(value: float, digits: int = 2) -> str:
    """A number with a fixed number of decimals and a minus sign: `−0.50`."""
    return f"{value:.{digits}f}".replace("-", "−")


def estimate(interval: Interval) -> str:
    """An estimate with the ends of its interval, if there is one: `0.62 (−0.10 to 0.90)`."""
    mean, low, high = interval.mean, interval.low, interval.high
    return fixed(mean) if low is None or high is None else f"{fixed(mean)} ({fixed(low)} to {fixed(high)})"


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


def listed(names: Sequence[str], conjunction: str = "and") -> str:
    """`a, b and c`."""
    *most, final = names
    return f"{', '.join(most)} {conjunction} {final}" if most else final
