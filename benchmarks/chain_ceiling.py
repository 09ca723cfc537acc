"""How well sums of terms can rank the paths of HybridBench, if the terms are fitted to trained paths.

    python benchmarks/chain_ceiling.py --json benchmarks/results/chain-ceiling.json

Many searches score a path by a sum over its stages, or by one over stages and pairs of neighbours. Ridge regression
fits such sums to the validation scores of a number of paths that were trained on the whole budget with one seed. Their
rank correlation with the test scores of the other seed, over all paths, shows what scores of that form can reach at
most with so much training. Nothing is trained here: all scores are those of the tables. Means over `--draws` draws of
paths, half of them with each seed. Seconds on one core.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

import manticore as mc
from manticore.utils.io import write_json

Floats = NDArray[np.float64]

RIDGE = 0.3


def features(table: mc.HybridBench, pairs: bool) -> Floats:
    """One-hot codes (N, F) of the choices of all paths, and, with `pairs`, of neighbouring choices."""
    names = sorted({name for record in table.paths for name in record.path})
    rows = []
    for record in table.paths:
        codes = [np.eye(len(names))[names.index(name)] for name in record.path]
        products = [np.outer(first, second).ravel() for first, second in pairwise(codes)]
        rows.append(np.concatenate([*codes, *(products if pairs else [])]))
    return np.stack(rows)


def fitted_scores(features_NF: Floats, chosen_M: NDArray[np.int64], scores_M: Floats) -> Floats:
    """Scores (N,) of all paths by ridge regression on those of the chosen ones."""
    centre_F, mean = features_NF[chosen_M].mean(0), scores_M.mean()
    inputs_MF = features_NF[chosen_M] - centre_F
    terms_F = np.linalg.solve(
        inputs_MF.T @ inputs_MF + RIDGE * np.eye(inputs_MF.shape[1]), inputs_MF.T @ (scores_M - mean)
    )
    return mean + (features_NF - centre_F) @ terms_F


def ceiling(table: mc.HybridBench, pairs: bool, count: int, draws: int) -> dict[str, Any]:
    """Mean rank correlation, and mean regret of the path with the best fitted score, for `count` trained paths."""
    features_NF, rng = features(table, pairs), np.random.default_rng(0)
    val_NS, test_NS = (np.array([getattr(record, split) for record in table.paths]) for split in ("val", "test"))
    sign, taus, regrets = 1 if table.larger_is_better else -1, [], []
    for draw in range(draws):
        seed = draw % 2
        chosen_M = rng.choice(len(table.paths), count, replace=False)
        fitted_N = sign * fitted_scores(features_NF, chosen_M, val_NS[chosen_M, seed])
        taus.append(float(kendalltau(fitted_N, sign * test_NS[:, 1 - seed])[0]))
        regrets.append(table.regret(table.paths[int(fitted_N.argmax())].path))
    return {"terms": "pairs" if pairs else "stages", "paths": count, "tau": fmean(taus), "regret": fmean(regrets)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", default=["text-source", "text-mixture", "text-news", "listops"])
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = {}
    for name in options.tables:
        table = mc.HybridBench.load(name)
        counts = [len(table.paths) * eighths // 8 for eighths in (2, 4, 6, 8)]
        rows = [ceiling(table, pairs, count, options.draws) for pairs in (False, True) for count in counts]
        results[name] = rows
        for row in rows:
            print(
                f"{name:14}{row['terms']:>8}{row['paths']:4} paths  tau {row['tau']:5.2f}  regret {row['regret']:.4f}"
            )
    if options.json:
        write_json(options.json, results)


if __name__ == "__main__":
    main()
