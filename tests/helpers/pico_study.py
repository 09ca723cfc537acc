"""A study at pico size, and answers to trials that nobody ran."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from manticore.config.loading import load_recipe
from manticore.config.recipe import Recipe
from manticore.studies.scheduler import Results
from manticore.studies.study import Study
from manticore.studies.trial import Trial
from manticore.training.metrics import ACCURACY, Metric

KEYS: dict[str, Any] = {
    "task": {
        "name": "mad-compression@vocab_size=4,seq_len=6",
        "preset": "cpu",
        "train": 96,
        "val": 32,
        "test": 32,
    },
    "space": {"components": ["gpt-neo", "mamba"], "stages": 2},
    "scratch": {
        "attention": {"width": 16, "layers": 2, "heads": 2, "intermediate_size": 32},
        "recurrent": {"width": 16, "layers": 2, "state_size": 4},
    },
    "search": {"steps": 4, "warmup_steps": 2, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "finetune": {"steps": 4, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "run": {"threads": 1, "device": "cpu"},
}


def recipe(**study: Any) -> Recipe:
    """The pico recipe with what is told of the study."""
    return load_recipe("search/mad", {**KEYS, "study": {"seeds": 2, "learning_rates": [0.001, 0.002], **study}}).recipe


def answer(value: float, held: Trial, path: list[str] | None = None, metric: Metric = ACCURACY) -> dict[str, Any]:
    """What a trial could have come to."""
    score = {metric.name: value, "loss": 3 - metric.sort_key(value), "count": 32, "margin": 0.1}
    if held["split"] == "test":
        before = {"soft": score, "discrete": score} if held["arm"] == "hybrid" else {}
        return {"score": score, "before": before}
    steps = held["config"].get("steps", 8)
    found = path if held["arm"] == "hybrid" else None
    return {
        "score": score,
        "parameters": 1000,
        "flops_per_token": 2000.0,
        "tokens": 48 * steps,
        "seconds": 1.0,
        "flops": 6000.0 * steps * {"uniform": 2, "soft": 3}.get(held["arm"], 1),
        "path": found,
        "weights": [[0.9, 0.1], [0.2, 0.8]] if found else None,
    }


def told(
    study: Study, value: Callable[[Trial], float], path: Iterable[str] = ("gpt-neo", "mamba")
) -> tuple[dict[str, Any], list[list[Trial]]]:
    """What a study's story returns when its trials come to `value`, and its rounds."""
    story, rounds = study.story(), []
    answers: Results | None = None
    while True:
        try:
            trials = next(story) if answers is None else story.send(answers)
        except StopIteration as end:
            return end.value, rounds
        rounds.append(trials)
        answers = [answer(value(held), held, list(path), study.metric) for held in trials]


def rate_of(held: Trial) -> float:
    """The learning rate of a trial."""
    rate: float = held["recipe"]["finetune"]["weights"]["lr"]
    return rate


def seed_of(held: Trial) -> int:
    """The seed of a trial."""
    seed: int = held["recipe"]["run"]["seed"]
    return seed
