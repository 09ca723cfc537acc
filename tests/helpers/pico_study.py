"""A study at pico size, and results of trials that were not run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from manticore.config.loading import load_recipe
from manticore.config.recipe import Recipe
from manticore.studies.scheduler import Results
from manticore.studies.study import Study, StudyOutcome
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
    "search": {"strategy": "darts", "steps": 4, "warmup_steps": 2, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "finetune": {"steps": 4, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "run": {"threads": 1, "device": "cpu"},
}


def recipe(**study: Any) -> Recipe:
    """The pico recipe with these keys in its section `study`."""
    return load_recipe("search/mad", {**KEYS, "study": {"seeds": 2, "learning_rates": [0.001, 0.002], **study}}).recipe


def trial_result(
    value: float, trial: Trial, path: list[str] | None = None, metric: Metric = ACCURACY
) -> dict[str, Any]:
    """A result of a trial with the given score; hybrids have selected `path`."""
    score = {metric.name: value, "loss": 3 - metric.sort_key(value), "count": 32, "margin": 0.1}
    if trial["split"] == "test":
        before = {"soft": score, "discrete": score} if trial["arm"] == "hybrid" else {}
        return {"score": score, "before": before}
    steps = trial["config"].get("steps", 8)
    selected = path if trial["arm"] == "hybrid" else None
    return {
        "score": score,
        "parameters": 1000,
        "flops_per_token": 2000.0,
        "tokens": 48 * steps,
        "seconds": 1.0,
        "flops": 6000.0 * steps * {"uniform": 2, "soft": 3}.get(trial["arm"], 1),
        "path": selected,
        "weights": [[0.9, 0.1], [0.2, 0.8]] if selected else None,
        "scores": [-0.9, -0.3, -1.0, -1.2] if selected else None,  # of gg, gm, mg, mm
    }


def run_plan(
    study: Study, value: Callable[[Trial], float], path: Iterable[str] = ("gpt-neo", "mamba")
) -> tuple[StudyOutcome, list[list[Trial]]]:
    """The outcome of a study whose trials score `value`, and the trials of its rounds."""
    plan, rounds = study.plan(), []
    results: Results | None = None
    while True:
        try:
            trials = next(plan) if results is None else plan.send(results)
        except StopIteration as stop:
            return stop.value, rounds
        rounds.append(trials)
        results = [trial_result(value(trial), trial, list(path), study.metric) for trial in trials]


def learning_rate_of(trial: Trial) -> float:
    """The learning rate of a trial."""
    rate: float = trial["recipe"]["finetune"]["weights"]["lr"]
    return rate


def seed_of(trial: Trial) -> int:
    """The seed of a trial."""
    seed: int = trial["recipe"]["run"]["seed"]
    return seed
