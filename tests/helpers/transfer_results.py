"""A transfer study as `manticore transfer` leaves it: two proxies, the target's own models, three seeds."""

from __future__ import annotations

from manticore.results.search import SplitScore
from manticore.results.transfer import (
    PathWeights,
    ProxyCorrelation,
    ProxyResult,
    ProxySearch,
    Target,
    TargetSearch,
    TrainingCost,
    TransferArm,
    TransferPath,
    TransferResult,
)
from manticore.training.metrics import ACCURACY
from tests.helpers.study_results import interval

PATHS = {"one one": (0.30, 0.40), "one two": (0.50, 0.60), "two one": (0.40, 0.52), "two two": (0.45, 0.50)}
"""Mean accuracy on the proxies and on the target, by path."""

WEIGHTS = ((0.4, 0.6), (0.7, 0.3))


def arm(name: str, path: str | None, mean: float, rank: int | None) -> TransferArm:
    """A model on the target."""
    return TransferArm(
        name=name,
        path=tuple(path.split()) if path else None,
        score=interval(mean),
        seed_scores={"0": mean, "1": mean - 0.01, "2": mean + 0.01},
        lead=interval(mean - 0.5, 0.03),
        regret=interval(0.6 - mean, 0.01) if path else None,
        rank=rank,
    )


def proxy(task: str) -> ProxyResult:
    """A proxy with one search."""
    search = ProxySearch(("mamba", "gpt-neo"), WEIGHTS, SplitScore(0.5, 0.02, 1.1, 400))
    return ProxyResult(task, ACCURACY, "mamba", {"hybrid": 0.001, "mamba alone": 0.002}, (search,))


def correlation(name: str, score: float, log_weight: float) -> ProxyCorrelation:
    """The rank correlations of a proxy, with wide intervals."""
    return ProxyCorrelation(name, interval(score, 0.3, 4), interval(log_weight, 0.3, 4))


def transfer_result() -> TransferResult:
    """The whole result."""
    return TransferResult(
        version="0.2.0",
        components=("gpt-neo", "mamba"),
        proxies=(proxy("mad-copying"), proxy("mad-recall")),
        target=Target("lra-x", ACCURACY, "classification", ("one", "two"), "two", {"two alone": 0.002}, {"any": 0.1}),
        path=("two", "one"),
        arms=(
            arm("transferred path", "two one", 0.52, 2),
            arm("best on the proxies", "one two", 0.6, 1),
            arm("two alone", "two two", 0.5, 3),
            arm("one alone", None, 0.45, None),
            arm("best path", "one two", 0.6, 1),
            arm("median path", "two one", 0.52, 2),
        ),
        search=TargetSearch(
            path_summary="one · two (3 of 3 seeds)",
            score=interval(0.58),
            seed_scores={"0": 0.58},
            lead=interval(0.08, 0.03),
            regret=interval(0.02, 0.01),
            correlation=interval(0.9, 0.05, 4),
            searches=(PathWeights(("one", "two"), WEIGHTS),),
        ),
        correlations=(
            correlation("mad-copying", 0.1, -0.2),
            correlation("mad-recall", 0.5, 0.6),
            correlation("all proxies", 0.4, -0.25),
        ),
        costs=(
            TrainingCost("one search on each proxy", 1_000_000.0, 2e11),
            TrainingCost("every path on each proxy", 4_000_000.0, 6e11),
            TrainingCost("one search on the target", 9_000_000.0, 4e12),
            TrainingCost("every path on the target", 36_000_000.0, 1e13),
        ),
        paths=tuple(
            TransferPath(
                path=tuple(path.split()),
                proxies={"mad-copying": interval(mean + 0.1), "mad-recall": interval(mean - 0.1)},
                search_scores={"mad-copying": -1.5, "mad-recall": -2.0},
                proxy=interval(mean),
                search_score=-3.5,
                score=interval(test),
                seed_scores={"0": test},
            )
            for path, (mean, test) in PATHS.items()
        ),
        seeds=(0, 1, 2),
        learning_rates=(0.001, 0.002),
        lr_search_seeds=1,
        machine={"cpu": "some processor", "cores": 2, "gpu": None, "python": "3.11.2"},
        workers=2,
        seconds=3312.0,
    )
