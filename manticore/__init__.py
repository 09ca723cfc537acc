"""Cut language models into stages, search which model runs each stage, and export one Hugging Face checkpoint.

    import manticore as mc
    result = mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=4), "lra-listops", out="runs/first")
    result.path, result.scores, result.weights, result.hybrid, result.supernet()

Importing this package is cheap: names are looked up when first used. From then on
`AutoModelForCausalLM.from_pretrained(folder)` reads hybrids without remote code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from manticore.utils.auto_classes import register_hybrids
from manticore.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from manticore import register as register
    from manticore.adapters.attach import peft_targets as peft_targets
    from manticore.api.loading import load as load
    from manticore.api.loading import supernet as supernet
    from manticore.api.model_scores import evaluate_generation as evaluate_generation
    from manticore.api.model_scores import evaluate_lm_eval as evaluate_lm_eval
    from manticore.api.model_verbs import align as align
    from manticore.api.model_verbs import evaluate as evaluate
    from manticore.api.model_verbs import finetune as finetune
    from manticore.api.model_verbs import generate as generate
    from manticore.api.model_verbs import grow as grow
    from manticore.api.model_verbs import pretrain as pretrain
    from manticore.api.result import Result as Result
    from manticore.api.run_verbs import export as export
    from manticore.api.run_verbs import report as report
    from manticore.api.run_verbs import select as select
    from manticore.api.verbs import compare as compare
    from manticore.api.verbs import plan as plan
    from manticore.api.verbs import search as search
    from manticore.api.verbs import transfer as transfer
    from manticore.components.spec import ComponentSpec as ComponentSpec
    from manticore.errors import ManticoreError as ManticoreError
    from manticore.nas import nn as nn
    from manticore.nas.architecture import Architecture as Architecture
    from manticore.nas.bench import HybridBench as HybridBench
    from manticore.nas.discretize import discretize as discretize
    from manticore.nas.op import Op as Op
    from manticore.nas.searchable import alphas as alphas
    from manticore.nas.searchable import weights as weights
    from manticore.nas.space import SearchSpace as SearchSpace
    from manticore.nas.supernet import Supernet as Supernet
    from manticore.tasks.data import TaskData as TaskData
    from manticore.tasks.data import task as task
    from manticore.training.callbacks import AlphaRecord as AlphaRecord
    from manticore.training.data import SearchData as SearchData
    from manticore.training.modules import FinetuneModule as FinetuneModule
    from manticore.training.search_module import SearchModule as SearchModule

__version__ = "0.2.0"

register_hybrids()

_exported, _names = lazy_exports(
    __name__,
    {
        "adapters.attach": ("peft_targets",),
        "api.loading": ("load", "supernet"),
        "api.model_scores": ("evaluate_generation", "evaluate_lm_eval"),
        "api.model_verbs": ("align", "evaluate", "finetune", "generate", "grow", "pretrain"),
        "api.result": ("Result",),
        "api.run_verbs": ("select",),
        "api.verbs": ("compare", "plan", "search", "transfer"),
        "components.spec": ("ComponentSpec",),
        "errors": ("ManticoreError",),
        "nas.architecture": ("Architecture",),
        "nas.bench": ("HybridBench",),
        "nas.discretize": ("discretize",),
        "nas.searchable": ("alphas", "weights"),
        "nas.op": ("Op",),
        "nas.space": ("SearchSpace",),
        "nas.supernet": ("Supernet",),
        "tasks.data": ("TaskData", "task"),
        "training.callbacks": ("AlphaRecord",),
        "training.data": ("SearchData",),
        "training.modules": ("FinetuneModule",),
        "training.search_module": ("SearchModule",),
    },
)


_modules = {
    "export": "manticore.export",
    "nn": "manticore.nas.nn",
    "register": "manticore.register",
    "report": "manticore.report",
}
"""The exported names that are modules; `export` and `report` are packages that are called like functions."""


def __getattr__(name: str) -> Any:
    return import_module(_modules[name]) if name in _modules else _exported(name)


def __dir__() -> list[str]:
    return sorted([*_names(), "__version__", *_modules])
