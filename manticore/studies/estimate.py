"""How long a comparison or a transfer will take on this machine; see `manticore.experiment.estimate`."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from manticore.experiment.estimate import Speed, hybrid_seconds, matched_sequences, measure_speed, print_estimate
from manticore.experiment.experiment import Experiment
from manticore.studies.study import Arm, Study
from manticore.studies.transfer import component_arms, path_arms


def print_comparison_estimate(experiments: Sequence[Experiment], studies: Sequence[Study], console: Console) -> None:
    """Print how long the trials of a comparison will take together, if that is more than an hour."""

    def seconds_at(sequences: int) -> float:
        total = 0.0
        for exp, study in zip(experiments, studies, strict=True):
            options, base, speed = study.recipe.study, study.space.names[0], measure_speed(exp, sequences)
            arms = [study.hybrid_arm(base), *component_arms(study), *study.baseline_arms(base)]
            trials = _rate_trials(study) + len(options.budgets) * options.seeds
            total += trials * sum(_trial_seconds(exp, arm, speed) for arm in arms)
            if options.paths:
                seeds = options.path_seeds or options.seeds
                total += seeds * sum(_trial_seconds(exp, arm, speed) for arm in path_arms(study, base))
        return total

    print_estimate(console, experiments[0].hardware, _batch_size(experiments), seconds_at)


def print_transfer_estimate(
    experiments: Sequence[Experiment], studies: Sequence[Study], search_target: bool, console: Console
) -> None:
    """Print how long the trials of a transfer will take together, if that is more than an hour; the target is last."""

    def seconds_at(sequences: int) -> float:
        total = 0.0
        for exp, study in zip(experiments, studies, strict=True):
            seeds, base, speed = study.recipe.study.seeds, study.space.names[0], measure_speed(exp, sequences)
            target = exp is experiments[-1]
            total += (seeds * target + _rate_trials(study)) * sum(
                _trial_seconds(exp, arm, speed) for arm in component_arms(study)
            )
            total += seeds * sum(_trial_seconds(exp, arm, speed) for arm in path_arms(study, base))
            if search_target or not target:
                total += (seeds + _rate_trials(study)) * hybrid_seconds(exp, speed)
        return total

    print_estimate(console, experiments[0].hardware, _batch_size(experiments), seconds_at)


def _batch_size(experiments: Sequence[Experiment]) -> int:
    return max(exp.recipe.finetune.batch_size for exp in experiments)


def _rate_trials(study: Study) -> int:
    """Trials of an arm at the learning rates that are not selected in the end."""
    options = study.recipe.study
    return (len(options.learning_rates) - 1) * min(options.lr_search_seeds, options.seeds)


def _trial_seconds(exp: Experiment, arm: Arm, speed: Speed) -> float:
    """Estimated seconds of one trial of an arm."""
    if arm.kind == "hybrid":
        return hybrid_seconds(exp, speed)
    return matched_sequences(exp) * (speed.path if arm.kind in ("path", "designed") else speed.supernet)
