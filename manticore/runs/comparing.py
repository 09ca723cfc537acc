"""The comparison: everything that was trained, and what needs no training, on one untouched test split."""

from __future__ import annotations

import math
from typing import Any

from manticore import __version__
from manticore.cost import flops, model_parameters, parameters
from manticore.discretization import discretize
from manticore.runs.aligning import Fit
from manticore.runs.choosing import weigh_home
from manticore.runs.machine import facts
from manticore.runs.phases import RANDOM
from manticore.runs.wording import example, label_fields
from manticore.runs.workshop import Trained, Workshop
from manticore.supernet import Supernet
from manticore.tasks.base import Task
from manticore.training.scoring import Score


def compare(
    shop: Workshop,
    home: str,
    reason: str,
    alone: dict[str, Trained],
    found: Trained,
    path: list[str],
    tuned: Trained,
    others: dict[str, Trained],
) -> dict[str, Any]:
    """Everything on the same untouched test split, which is read here and nowhere else."""
    supernet = found.net
    assert isinstance(supernet, Supernet)
    shop.console.print("comparing on the test split", highlight=False, soft_wrap=True)
    raw = discretize(supernet, path, **label_fields(shop.task))
    rows = [
        _row(shop, "soft supernet", "search", supernet, found.tokens),
        _row(shop, "discretized, before fine-tuning", "search", raw, found.tokens),
        _row(shop, "discretized, after fine-tuning", "search", tuned.net, found.tokens + tuned.tokens),
        *(_row(shop, f"{name} alone", "component", held.net, held.tokens, held.task) for name, held in alone.items()),
    ]
    for name, held in others.items():
        inherited = found.tokens if name == RANDOM and shop.recipe.finetune.start == "search" else 0
        rows.append(_row(shop, name, "baseline", held.net, inherited + held.tokens))
    count = len(shop.task.splits().test)
    for name, accuracy in shop.task.guesses().items():
        guess = Score(math.nan, accuracy, count)
        empty = dict.fromkeys(("loss", "parameters", "flops_per_token", "training_tokens"))
        rows.append({"name": name, "group": "guess", **guess.to_dict(), **empty})
    exported, why = weigh_home(shop, tuned, alone)
    preset, preset_why = shop.preset
    architecture = supernet.architecture(path)
    return {
        "task": shop.task.name,
        "metric": shop.task.metric,
        "kind": shop.task.kind,
        "example": example(shop.task),
        "manticore": __version__,
        "seed": shop.recipe.run.seed,
        "preset": preset,
        "preset_reason": preset_why,
        "home": architecture.home,
        "home_reason": "it runs the first stage" if supernet.hub else reason,
        "path": path,
        "words": architecture.words(),
        "exported": exported,
        "exported_reason": why,
        "gap": {
            name: row[shop.task.metric] for name, row in zip(("soft", "discrete", "finetuned"), rows, strict=False)
        },
        "components": {
            component.name: {
                "source": component.source,
                "revision": component.revision,
                "parameters": parameters(component.model),
                "layers": component.depth,
                "width": component.width,
                "cuts": component.cuts(shop.space.stages),
            }
            for component in shop.components
        },
        "alignment": None if not isinstance(fit := shop.fits.get(home), Fit) else fit.to_dict(),
        "machine": facts(),
        "seconds": shop.seconds,
        "rows": rows,
    }


def _row(shop: Workshop, name: str, group: str, net: Any, tokens: int, task: Task | None = None) -> dict[str, Any]:
    result = shop.score(net, "test", task)
    cost = {
        "parameters": model_parameters(net),
        "flops_per_token": flops(net, shop.mean_length),
        "training_tokens": tokens,
    }
    return {"name": name, "group": group, **result.to_dict(), **cost}
