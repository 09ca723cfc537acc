"""Share of the true hypervolume that few evaluations find, on HybridBench and on the paths of a supernet.

    python benchmarks/pareto_fronts.py [--json FILE]

The front is that of the score and the bytes of the cache: of the mean validation score on every shipped table of
HybridBench, and of the validation loss without training on the 728 paths of `benchmarks/results/subpaths-cpu.json`
(`benchmarks/subpaths.py`). Paths are evaluated by `front_search`; in parentheses are as many at random, and the best
set of as many paths, which no search that does not know all scores finds but by chance. Means over 20 seeds, of the
supernet over 5.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from manticore.nas.bench import HybridBench
from manticore.nas.choices import Choices, PathNames
from manticore.nas.cost import CostTable
from manticore.nas.selection.pareto import MARGIN, front_search, hypervolume
from manticore.utils.io import read_json, write_json

SUBPATHS = Path(__file__).parent / "results" / "subpaths-cpu.json"
SHARES, SUBPATH_SHARES = (0.15, 0.25, 0.5), (0.02, 0.05, 0.15)
SEEDS, SUBPATH_SEEDS = 20, 5


@dataclass(frozen=True)
class Scored:
    """Every path of a space with its score, larger being better, and the bytes of its cache."""

    name: str
    scores: dict[PathNames, float]
    bytes: dict[PathNames, float]

    @classmethod
    def of(cls, bench: HybridBench) -> Scored:
        """A table of HybridBench."""
        sign = 1 if bench.larger_is_better else -1
        scores = {record.path: sign * record.mean("val") for record in bench.paths}
        return cls(bench.name, scores, {record.path: float(record.cache_bytes) for record in bench.paths})

    @classmethod
    def subpaths(cls) -> Scored:
        """The paths of the supernet."""
        rows = {tuple(row["path"]): row for row in read_json(SUBPATHS)["paths"]}
        scores = {path: -row["loss"] for path, row in rows.items()}
        return cls("paths of a supernet", scores, {path: row["cache_bytes"] for path, row in rows.items()})

    @property
    def choices(self) -> Choices:
        """The search space."""
        return Choices.free(
            list(dict.fromkeys(name for path in self.scores for name in path)), len(next(iter(self.scores)))
        )

    def cost_table(self, choices: Choices) -> CostTable:
        """The bytes by stage and candidate; they add up along every path."""
        names = choices.candidates
        codes = np.array([[name == each for each in path for name in names] for path in self.bytes], float)
        costs = np.array([*self.bytes.values()])
        terms, *_ = np.linalg.lstsq(codes, costs, rcond=None)
        assert np.allclose(codes @ terms, costs)
        return CostTable(tuple(map(tuple, terms.reshape(choices.stages, len(names)).tolist())))

    def scaled(self) -> dict[PathNames, tuple[float, ...]]:
        """Minus score and bytes of each path, in units of their ranges."""
        points = {path: (-score, self.bytes[path]) for path, score in self.scores.items()}
        lows, highs = ([end(column) for column in zip(*points.values(), strict=True)] for end in (min, max))
        return {
            path: tuple((x - low) / (high - low) for x, low, high in zip(point, lows, highs, strict=True))
            for path, point in points.items()
        }


def shares(scored: Scored, parts: Collection[float], seeds: int) -> dict[str, Any]:
    """The shares of one table, by the number of evaluations."""
    points, choices = scored.scaled(), scored.choices
    table = scored.cost_table(choices)

    def volume(paths: Collection[PathNames]) -> float:
        return hypervolume([points[path] for path in paths if path in points], [MARGIN, MARGIN])

    def evaluate(path: PathNames) -> float:
        return scored.scores.get(path, -math.inf)

    whole = volume(points.keys())
    front = [
        path
        for path, own in points.items()
        if not any(rival != own and rival[0] <= own[0] and rival[1] <= own[1] for rival in points.values())
    ]
    rows = []
    for part in parts:
        count, searched, drawn = max(1, int(part * len(points))), [], []
        for seed in range(seeds):
            rng = random.Random(seed)
            searched.append(volume(front_search(choices, [table], evaluate, count, rng).keys()))
            drawn.append(volume(rng.sample([*points], count)))
        best = max(map(volume, combinations(front, min(count, len(front)))))
        means = {"searched": fmean(searched), "random": fmean(drawn), "best": best}
        rows.append({"evaluations": count, **{name: mean / whole for name, mean in means.items()}})
    return {"table": scored.name, "paths": len(points), "front": len(front), "shares": rows}


def show(result: dict[str, Any]) -> None:
    """Print a row of the table."""
    cells = (
        f"{row['evaluations']}: {row['searched']:.2f} ({row['random']:.2f}, {row['best']:.2f})"
        for row in result["shares"]
    )
    print(f"| {result['table']} | {result['paths']} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    args, results = parser.parse_args(), []
    print("| table | paths |", " | ".join(f"{share:.0%}" for share in SHARES), "|\n| --- | --- | --- | --- | --- |")
    for name in HybridBench.names():
        results.append(shares(Scored.of(HybridBench.load(name)), SHARES, SEEDS))
        show(results[-1])
    means = [
        {key: fmean(result["shares"][at][key] for result in results) for key in ("searched", "random", "best")}
        for at in range(len(SHARES))
    ]
    print(
        "| mean | |",
        " | ".join(f"{row['searched']:.3f} ({row['random']:.3f}, {row['best']:.3f})" for row in means),
        "|",
    )
    subpaths = shares(Scored.subpaths(), SUBPATH_SHARES, SUBPATH_SEEDS)
    print(
        "\n| table | paths |",
        " | ".join(f"{share:.0%}" for share in SUBPATH_SHARES),
        "|\n| --- | --- | --- | --- | --- |",
    )
    show(subpaths)
    if args.json is not None:
        write_json(args.json, {"seeds": SEEDS, "tables": results, "subpath_seeds": SUBPATH_SEEDS, "subpaths": subpaths})


if __name__ == "__main__":
    main()
