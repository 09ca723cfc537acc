"""Tables of the results of `grow.py`, in Markdown: python benchmarks/grow_table.py grow.json

Losses are nats per token above the parent, the mean over the texts, with the 95 % interval of a paired bootstrap over
blocks; the shares of right tokens have intervals of a bootstrap over prompts.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.utils.io import read_json

DRAWS = 10_000
"""Resamples of a bootstrap."""


TITLES = """\
| attention | layers | 256 | 1,024 | 4,096 | copied of 128 | of 512 | pairs of 128 |
| --- | ---: | --- | --- | --- | --- | --- | --- |"""


def interval(values_N: NDArray[np.float64], percent: bool = False) -> str:
    """The mean, and the 95 % interval of a bootstrap."""
    draws_RN = np.random.default_rng(0).integers(len(values_N), size=(DRAWS, len(values_N)))
    low, high = np.quantile(values_N[draws_RN].mean(-1), (0.025, 0.975))
    if percent:
        return f"{100 * values_N.mean():.0f} % ({100 * low:.0f} to {100 * high:.0f})"
    return f"{values_N.mean():.3f} ({low:.3f} to {high:.3f})"


def losses(scores: Mapping[str, Sequence[float]], length: int) -> NDArray[np.float64]:
    """Losses of the blocks of a length, of all texts."""
    return np.concatenate([values for name, values in scores.items() if name.endswith(f"@{length}") and is_text(name)])


def is_text(name: str) -> bool:
    return name.split("@")[0] not in ("copying", "pairs")


def row(name: str, scores: Mapping[str, Any], parent: Mapping[str, Any], layers: int | None) -> str:
    """A row of the table."""
    cells = [name, "-" if layers is None else str(layers)]
    cells += [interval(losses(scores, length) - losses(parent, length)) for length in (256, 1024, 4096)]
    for probe in ("copying@128", "copying@512", "pairs@128"):
        cells.append(interval(np.asarray(scores[probe]), percent=True))
    return f"| {' | '.join(cells)} |"


def main() -> None:
    values = {name: entry["value"] for name, entry in read_json(Path(sys.argv[1])).items()}
    parent = values["parent"]
    hybrids = [name for name in values if "/" in name]  # folders
    print(TITLES, row("parent", parent, parent, None), sep="\n")
    for name in hybrids:
        print(row(name, values[name], parent, None))
    for share in sorted({name.split()[0] for name in values if name.endswith(" paths")}):
        attention = values[f"{share} paths"]["attention"]
        print(f"\n{share} of the cache; repair: {values.get(f'{share} repair')}\n")
        print(TITLES)
        for name in ("repaired", *attention):
            if f"{share} {name}" in values:
                kept = attention.get(name, attention["replace-one and recall"])
                print(row(name, values[f"{share} {name}"], parent, len(kept)))


if __name__ == "__main__":
    main()
