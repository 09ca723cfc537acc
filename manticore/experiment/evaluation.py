"""The comparison: everything that was trained, and what needs no training, on one untouched test split."""

from __future__ import annotations

import math
from typing import Any

from manticore import __version__
from manticore.experiment.environment import environment_info
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import choose_export
from manticore.experiment.phases import RANDOM
from manticore.experiment.projectors import ProjectorFit
from manticore.nas.cost import flops, model_parameters, parameters
from manticore.nas.discretize import discretize
from manticore.nas.supernet import Supernet
from manticore.tasks.task import Task
from manticore.training.scoring import Score
from manticore.utils.console import info


def compare(
    exp: Experiment,
    base: str,
    reason: str,
    alone: dict[str, PhaseResult],
    found: PhaseResult,
    path: list[str],
    tuned: PhaseResult,
    others: dict[str, PhaseResult],
) -> dict[str, Any]:
    """Everything on the same untouched test split, which is read here and nowhere else."""
    supernet = found.net
    assert isinstance(supernet, Supernet)
    info(exp.console, "comparing on the test split")
    raw = discretize(supernet, path, **exp.task.config_fields())
    rows = [
        _row(exp, "soft supernet", "search", supernet, found.tokens),
        _row(exp, "discretized, before fine-tuning", "search", raw, found.tokens),
        _row(exp, "discretized, after fine-tuning", "search", tuned.net, found.tokens + tuned.tokens),
        *(_row(exp, f"{name} alone", "component", held.net, held.tokens, held.task) for name, held in alone.items()),
    ]
    for name, held in others.items():
        inherited = found.tokens if name == RANDOM and exp.recipe.finetune.init == "search" else 0
        rows.append(_row(exp, name, "baseline", held.net, inherited + held.tokens))
    count = len(exp.task.splits().test)
    for name, accuracy in exp.task.guesses().items():
        guess = Score(math.nan, accuracy, count)
        empty = dict.fromkeys(("loss", "parameters", "flops_per_token", "training_tokens"))
        rows.append({"name": name, "group": "guess", **guess.to_dict(), **empty})
    exported, why = choose_export(exp, tuned, alone)
    preset, preset_why = exp.preset
    architecture = supernet.architecture(path)
    return {
        "task": exp.task.name,
        "metric": exp.task.metric,
        "kind": exp.task.kind,
        "example": exp.task.example_text(),
        "manticore": __version__,
        "seed": exp.recipe.run.seed,
        "preset": preset,
        "preset_reason": preset_why,
        "base": architecture.base,
        "base_reason": "it runs the first stage" if not supernet.topology.has_base else reason,
        "path": path,
        "words": architecture.words(),
        "exported": exported,
        "exported_reason": why,
        "gap": {name: row[exp.task.metric] for name, row in zip(("soft", "discrete", "finetuned"), rows, strict=False)},
        "components": {
            component.name: {
                "source": component.source,
                "revision": component.revision,
                "parameters": parameters(component.model),
                "layers": component.depth,
                "width": component.width,
                "layer_boundaries": component.layer_boundaries(exp.space.stages),
            }
            for component in exp.components
        },
        "alignment": None if not isinstance(fit := exp.fits.get(base), ProjectorFit) else fit.to_dict(),
        "machine": environment_info(),
        "seconds": exp.seconds,
        "rows": rows,
    }


def _row(exp: Experiment, name: str, group: str, net: Any, tokens: int, task: Task | None = None) -> dict[str, Any]:
    result = exp.score(net, "test", task)
    cost = {
        "parameters": model_parameters(net),
        "flops_per_token": flops(net, exp.mean_length),
        "training_tokens": tokens,
    }
    return {"name": name, "group": group, **result.to_dict(), **cost}
