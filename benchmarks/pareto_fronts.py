"""Share of the true hypervolume that few evaluations find, on every shipped table of HybridBench.

    python benchmarks/pareto_fronts.py [--json FILE]

The front is that of the mean validation score and the bytes of the cache. Paths are evaluated by `front_search`; in
parentheses they are drawn at random. Both get the same number of evaluations. Means over 20 seeds.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Collection
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from manticore.nas.bench import HybridBench
from manticore.nas.choices import Choices, PathNames
from manticore.nas.cost import CostTable
from manticore.nas.selection.pareto import MARGIN, front_search, hypervolume
from manticore.utils.io import write_json

SHARES, SEEDS = (0.15, 0.25, 0.5), 20


def cost_table(bench: HybridBench, choices: Choices) -> CostTable:
    """The bytes of the cache by stage and candidate; they add up along every path of a table."""
    names = choices.candidates
    codes = np.array([[name == each for each in record.path for name in names] for record in bench.paths], float)
    costs = np.array([record.cache_bytes for record in bench.paths], float)
    terms, *_ = np.linalg.lstsq(codes, costs, rcond=None)
    assert np.allclose(codes @ terms, costs)
    return CostTable(tuple(map(tuple, terms.reshape(choices.stages, len(names)).tolist())))


def shares(bench: HybridBench) -> dict[str, Any]:
    """The shares of one table, by the number of evaluations."""
    sign = 1 if bench.larger_is_better else -1
    scores = {record.path: sign * record.mean("val") for record in bench.paths}
    points = {record.path: (-scores[record.path], float(record.cache_bytes)) for record in bench.paths}
    lows, highs = ([end(column) for column in zip(*points.values(), strict=True)] for end in (min, max))
    choices = Choices.free(list(dict.fromkeys(name for path in points for name in path)), len(bench.paths[0].path))
    table = cost_table(bench, choices)

    def volume(paths: Collection[PathNames]) -> float:
        scaled = [
            [(x - low) / (high - low) for x, low, high in zip(points[path], lows, highs, strict=True)] for path in paths
        ]
        return hypervolume(scaled, [MARGIN, MARGIN])

    def evaluate(path: PathNames) -> float:
        return scores.get(path, -math.inf)

    rows = []
    for share in SHARES:
        count, searched, drawn = max(1, int(share * len(points))), [], []
        for seed in range(SEEDS):
            rng = random.Random(seed)
            searched.append(volume(front_search(choices, [table], evaluate, count, rng).keys() & points.keys()))
            drawn.append(volume(rng.sample([*points], count)))
        values = {"searched": fmean(searched) / volume(points), "random": fmean(drawn) / volume(points)}
        rows.append({"evaluations": count, **values})
    return {"table": bench.name, "paths": len(points), "shares": rows}


def main() -> None:
    """Print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    args, results = parser.parse_args(), []
    print("| table | paths |", " | ".join(f"{share:.0%}" for share in SHARES), "|\n| --- | --- | --- | --- | --- |")
    for name in HybridBench.names():
        result = shares(HybridBench.load(name))
        cells = (f"{row['evaluations']}: {row['searched']:.2f} ({row['random']:.2f})" for row in result["shares"])
        print(f"| {name} | {result['paths']} | {' | '.join(cells)} |", flush=True)
        results.append(result)
    if args.json is not None:
        write_json(args.json, {"seeds": SEEDS, "tables": results})


if __name__ == "__main__":
    main()
