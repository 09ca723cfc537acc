"""A study as `manticore compare` leaves it: three models and a control, two tasks, three seeds."""

from __future__ import annotations

from typing import Any

MODELS = {
    "hybrid": ("hybrid", 0.80, 121_000, 260_000),
    "gpt-neo alone": ("component", 0.72, 118_000, 241_000),
    "mamba alone": ("component", 0.76, 124_000, 251_000),
    "mambaformer": ("designed", 0.83, 126_000, 262_000),
    "random path": ("control", 0.74, 121_000, 258_000),
}


def interval(mean: float, margin: float | None = 0.02, count: int = 3) -> dict[str, Any]:
    """An interval as comparison.json has it."""
    low, high = (None, None) if margin is None else (mean - margin, mean + margin)
    return {"mean": mean, "low": low, "high": high, "count": count}


def row(name: str, shift: float = 0.0) -> dict[str, Any]:
    """What a model reached and what it cost."""
    group, mean, parameters, flops = MODELS[name]
    return {
        "name": name,
        "group": group,
        "lr": 0.0005 if group == "component" else 0.002,
        "accuracy": interval(mean + shift),
        "values": {str(seed): mean + shift + (seed - 1) * 0.01 for seed in range(3)},
        "val": mean + shift,
        "parameters": parameters,
        "flops_per_token": float(flops),
        "train_tokens": 1_180_000,
        "train_flops": 1.2e12,
        "seconds": 95.0,
        "path": "mamba · gpt-neo (2 of 3 seeds)" if group == "hybrid" else None,
    }


def task(name: str, shift: float = 0.0) -> dict[str, Any]:
    """One task with everything that there can be."""
    rows = {budget: [row(model, shift) for model in MODELS] for budget in ("tokens", "flops")}
    leads = {model: interval(0.8 - mean, 0.05) for model, (_, mean, *_) in MODELS.items() if model != "hybrid"}
    paths = [(["mamba", "mamba"], 0.76, 0), (["mamba", "gpt-neo"], 0.81, 2), (["gpt-neo", "mamba"], 0.82, 1)]
    return {
        "task": name,
        "metric": "accuracy",
        "kind": "tokens",
        "base": "mamba",
        "sequences": 36_800,
        "train_flops": 1.2e12,
        "tables": rows,
        "guesses": {"majority token": 0.11, "last token": 0.69},
        "exported": {"accuracy": interval(0.81), "values": {}},
        "gap": {"soft": interval(0.78), "discrete": interval(0.73, 0.01), "finetuned": interval(0.80)},
        "paths": [{"path": path, "accuracy": interval(mean), "chosen": chosen} for path, mean, chosen in paths],
        "regret": interval(0.012, 0.004),
        "correlation": {"mean": 0.62, "low": -0.1, "high": 0.9, "count": 8},
        "differences": {"tokens": leads, "flops": leads},
    }


def text_task(name: str) -> dict[str, Any]:
    """The same task in bits per byte, which are 2 less the accuracy: everybody stands where they stood."""
    held = task(name)

    def turned(value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "mean": 2 - value["mean"], "low": 2 - value["high"], "high": 2 - value["low"]}

    for row in (*held["tables"]["tokens"], *held["tables"]["flops"], *held["paths"], held["exported"]):
        row["bits_per_byte"] = turned(row.pop("accuracy"))
        row |= {"values": {seed: 2 - value for seed, value in row.get("values", {}).items()}}
    gap = {name: turned(value) for name, value in held["gap"].items()}
    return {**held, "metric": "bits_per_byte", "kind": "lm", "guesses": {}, "gap": gap}


def comparison() -> dict[str, Any]:
    """The whole of comparison.json."""
    return {
        "manticore": "0.1.0",
        "machine": {"cpu": "some processor", "cores": 2, "gpu": None, "python": "3.11.2"},
        "workers": 2,
        "seconds": 3312.0,
        "seeds": [0, 1, 2],
        "learning_rates": [0.0005, 0.001, 0.002],
        "lr_search_seeds": 1,
        "components": ["gpt-neo", "mamba"],
        "tasks": [task("mad-noisy-recall@seq_len=32"), task("mad-compress", -0.3)],
        "verdicts": {
            "tokens": ["the hybrid beats mamba alone on both tasks; the interval of the difference includes zero"],
            "flops": ["the hybrid loses to mambaformer on both tasks"],
        },
    }
