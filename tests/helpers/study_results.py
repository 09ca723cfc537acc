"""A study as `manticore compare` leaves it: three models and a control, two tasks, three seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from manticore.results.study import ArmResult, ExportedResult, GapIntervals, PathResult, StudyResult, TaskResult
from manticore.training.metrics import ACCURACY, BITS
from manticore.utils.statistics import Interval

MODELS = {
    "hybrid": ("hybrid", 0.80, 121_000, 260_000.0),
    "gpt-neo alone": ("component", 0.72, 118_000, 241_000.0),
    "mamba alone": ("component", 0.76, 124_000, 251_000.0),
    "mambaformer": ("designed", 0.83, 126_000, 262_000.0),
    "random path": ("control", 0.74, 121_000, 258_000.0),
}


def interval(mean: float, margin: float | None = 0.02, count: int = 3) -> Interval:
    """An interval around a mean; None for a margin has none."""
    return Interval(mean, None, None, count) if margin is None else Interval(mean, mean - margin, mean + margin, count)


def arm(name: str, shift: float = 0.0) -> ArmResult:
    """A model's scores, `shift` above those of `MODELS`, and its costs."""
    group, mean, parameters, flops = MODELS[name]
    scores = {str(seed): mean + shift + (seed - 1) * 0.01 for seed in range(3)}
    return ArmResult(
        name=name,
        group=group,
        lr=0.0005 if group == "component" else 0.002,
        score=interval(mean + shift),
        seed_scores=scores,
        val_score=mean + shift,
        val_seed_scores=scores,
        parameters=parameters,
        flops_per_token=flops,
        train_tokens=1_180_000,
        train_flops=1.2e12,
        seconds=95.0,
        path_summary="mamba · gpt-neo (2 of 3 seeds)" if group == "hybrid" else None,
    )


def task_result(name: str, shift: float = 0.0) -> TaskResult:
    """One task with everything that there can be."""
    arms = tuple(arm(model, shift) for model in MODELS)
    leads = {model: interval(0.8 - mean, 0.05) for model, (_, mean, *_) in MODELS.items() if model != "hybrid"}
    paths = [(("mamba", "mamba"), 0.76, 0), (("mamba", "gpt-neo"), 0.81, 2), (("gpt-neo", "mamba"), 0.82, 1)]
    return TaskResult(
        task=name,
        metric=ACCURACY,
        kind="tokens",
        base="mamba",
        excluded=(),
        sequences=36_800,
        train_flops=1.2e12,
        tables={"tokens": arms, "flops": arms},
        heuristics={"majority token": 0.11, "last token": 0.69},
        gap=GapIntervals(interval(0.78), interval(0.73, 0.01), interval(0.80)),
        exported=ExportedResult(interval(0.81), {}),
        paths=tuple(PathResult(path, interval(mean), chosen) for path, mean, chosen in paths),
        regret=interval(0.012, 0.004),
        correlation=Interval(0.62, -0.1, 0.9, 8),
        leads={"tokens": leads, "flops": leads},
        document_leads={},
    )


def text_task(name: str) -> TaskResult:
    """The same task in bits per byte, each 2 less the accuracy, so that the order of the models stays."""
    task = task_result(name)

    def bits(score: Interval) -> Interval:
        return replace(score, mean=2 - score.mean, low=2 - (score.high or 0.0), high=2 - (score.low or 0.0))

    def seeds(scores: Mapping[str, float]) -> dict[str, float]:
        return {seed: 2 - score for seed, score in scores.items()}

    tables = {
        budget: tuple(replace(arm, score=bits(arm.score), seed_scores=seeds(arm.seed_scores)) for arm in arms)
        for budget, arms in task.tables.items()
    }
    assert task.gap is not None
    assert task.exported is not None
    return replace(
        task,
        metric=BITS,
        kind="lm",
        heuristics={},
        tables=tables,
        paths=tuple(replace(path, score=bits(path.score)) for path in task.paths),
        exported=replace(task.exported, score=bits(task.exported.score)),
        gap=GapIntervals(bits(task.gap.soft), bits(task.gap.discrete), bits(task.gap.finetuned)),
    )


def study_result(*tasks: TaskResult) -> StudyResult:
    """The whole study; default: two tasks with accuracy."""
    return StudyResult(
        version="0.2.0",
        components=("gpt-neo", "mamba"),
        seeds=(0, 1, 2),
        learning_rates=(0.0005, 0.001, 0.002),
        lr_search_seeds=1,
        tasks=tasks or (task_result("mad-noisy-recall@seq_len=32"), task_result("mad-compress", -0.3)),
        conclusions={
            "tokens": ("the hybrid beats mamba alone on both tasks; the interval of the difference includes zero",),
            "flops": ("the hybrid loses to mambaformer on both tasks",),
        },
        machine={"cpu": "some processor", "cores": 2, "gpu": None, "python": "3.11.2"},
        workers=2,
        seconds=3312.0,
    )


def with_arm(task: TaskResult, budget: str, index: int, **changes: object) -> TaskResult:
    """The task with other values in one row of one table."""
    arms = list(task.tables[budget])
    arms[index] = replace(arms[index], **changes)  # type: ignore[arg-type]
    return replace(task, tables={**task.tables, budget: tuple(arms)})
