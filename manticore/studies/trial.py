"""A trial: one arm, trained with one seed and one learning rate and scored on one split.

A trial is plain data: everything its result depends on, including digests of data and weights, and nothing else,
neither the machine nor the other arms. So its hash identifies its result, and a finished trial is never run again. The
folders of data and weights are entries under `LOCATION`, which are not hashed.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import transformers
from rich.console import Console
from torch import nn
from transformers import PreTrainedModel

from manticore.components.loading import folder_of
from manticore.config.loading import resolve
from manticore.config.recipe import Recipe
from manticore.config.sections import FinetuneOptions, RunOptions, SelectionOptions
from manticore.errors import NonFiniteLoss
from manticore.experiment.environment import setup_hardware
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import RunDir
from manticore.export.checkpoint import save_checkpoint
from manticore.export.custom_code import OP, custom_source
from manticore.nas.cost import flops, model_parameters
from manticore.nas.op_modules import factory_name, register_ops
from manticore.report.usage import usage_of
from manticore.studies.baselines import ArmConfig, TrainedModel, arm_kinds
from manticore.studies.store import LOCATION, key_of
from manticore.tasks.catalog import load_task
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.training.metrics import worst_scores
from manticore.training.options import SearchOptions
from manticore.utils import assets

VERSION, VERSIONS = 5, {"hybrid": 6}
"""Part of every trial; increased when a change of the code changes the result of a trial, so that old results are not
reused. Some kinds of arm have their own number."""

Trial = dict[str, Any]
"""Plain data: version, data, arm, config, recipe, sources, location, split."""

WEIGHT_FILES = ("config.json", "*.safetensors")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files of a component that results depend on; those of the tokenizer only on tasks of text."""

SEARCH_KINDS = ("hybrid", "soft", "hub")
"""Kinds of arm that use the recipe's search."""


def make_trial(
    recipe: Recipe, data: str, kind: str, config: ArmConfig, seed: int, learning_rate: float, for_text: bool = False
) -> Trial:
    """The trial of an arm with one seed and one learning rate, scored on the validation split.

    Args:
        recipe: of the study. Options that this kind of arm does not use are left out of the trial.
        data: `Task.fingerprint`.
        kind: a name in `arm_kinds`.
        config: of the arm.
        seed: of weights and batches.
        learning_rate: peak learning rate of the weights that are scored.
        for_text: whether components read text, each with its own tokenizer.
    """
    resolved = _arm_recipe(recipe, kind, config, seed, learning_rate).to_dict()
    sources = _source_digests(recipe, for_text)
    del resolved["baselines"], resolved["study"]  # an arm does not depend on the other arms
    del resolved["selection"]["export"]  # nor on which model a search exports
    resolved["space"].pop("base", None)  # it is in the arm's config
    if by_stage := resolved["space"].get("stage_candidates"):
        resolved["space"]["stage_candidates"] = {str(stage): names for stage, names in by_stage.items()}  # JSON
    location = {
        "task": {"data_dir": resolved["task"].pop("data_dir")},
        "space": {"components": resolved["space"].pop("components")},
    }
    if not for_text or kind == "hub" or set(config.get("path", ())) == {config.get("base")}:
        del resolved["align"]  # there are no projectors to be aligned
    elif recipe.align.projectors is not None:
        sources["projectors"] = _folder_digest(assets.find("projectors", recipe.align.projectors), WEIGHT_FILES)
        location["align"] = {"projectors": resolved["align"].pop("projectors")}
    return {
        "version": VERSIONS.get(kind, VERSION),
        "data": data,
        "arm": kind,
        "config": config,
        "recipe": resolved,
        "sources": sources,
        LOCATION: location,
        "split": "val",
    }


def _arm_recipe(recipe: Recipe, kind: str, config: ArmConfig, seed: int, learning_rate: float) -> Recipe:
    """The recipe of one arm: sections it does not use have their defaults."""
    searches = kind in SEARCH_KINDS
    search = recipe.search
    if kind == "hub" or recipe.finetune.init == "supernet":  # otherwise the weights of the search are not kept
        search = replace(search, weights=replace(search.weights, lr=learning_rate))
    finetune = replace(recipe.finetune, weights=replace(recipe.finetune.weights, lr=learning_rate))
    if "steps" in config:
        finetune = replace(finetune, steps=config["steps"])
    if not searches:  # a single phase
        finetune = replace(finetune, init=FinetuneOptions().init)
    run = recipe.run
    return replace(
        recipe,
        task=replace(recipe.task, cache_dir=None, data_dir=_absolute(recipe.task), workers=0),
        search=search if searches else SearchOptions(),
        finetune=finetune,
        selection=replace(recipe.selection, export_best_component=True) if kind == "hybrid" else SelectionOptions(),
        run=RunOptions(
            seed=seed,
            precision=run.precision,
            micro_batch_size=run.micro_batch_size,
            gradient_checkpointing=run.gradient_checkpointing,
            eval_batch_size=run.eval_batch_size,
        ),
    )


def test_trial(trial: Trial) -> Trial:
    """The same trial, scored on the test split."""
    return {**trial, "split": "test"}


DIVERGED = {
    **dict.fromkeys(("parameters", "flops_per_token", "tokens", "flops", "seconds"), 0),
    **dict.fromkeys(("path", "weights", "scores")),
    "score": {**worst_scores(), "loss": math.inf},
    "before": {},
}
"""The result of a trial whose loss was not finite."""


@dataclass(frozen=True)
class TrialRunner:
    """Runs a trial, in this process or in another one.

    A call on the validation split trains the model, keeps it in `folder` and returns its costs and score; the call on
    the test split scores that model, trains it anew if it is not there, and deletes it.

    Attributes:
        folder: parent of the models that are being trained or have yet to be tested.
        options: the machine and the bookkeeping.
        cache_dir: folder of generated data.
    """

    folder: Path
    options: RunOptions
    cache_dir: str | None = None

    def __call__(self, trial: Trial) -> dict[str, Any]:
        """The result of the trial, plain data; `DIVERGED` if its loss was not finite."""
        recipe = resolve([trial["recipe"], trial[LOCATION]], "auto")
        # The study that made the trial was trusted to import these ops.
        recipe = replace(recipe, space=recipe.space.with_code(trust_code=True))
        folder = self.model_dir(trial)
        task = _load_task(replace(recipe.task, cache_dir=self.cache_dir, workers=1))
        hardware = setup_hardware(replace(self.options, seed=recipe.run.seed, precision=recipe.run.precision))
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        exp = Experiment(recipe, task, hardware, RunDir(folder), Console(quiet=True))
        exp = exp.for_component(trial["config"].get("base", exp.space.names[0]))
        try:
            model = arm_kinds[trial["arm"]](exp, trial["config"])
        except NonFiniteLoss:  # of too high a learning rate: the study continues and never selects it
            self.delete_model(trial)
            return DIVERGED
        if trial["split"] == "val":
            return {**_costs(exp, model), "score": exp.score(model.net, "val").to_dict()}
        before = {name: exp.score(net, "test").to_dict() for name, net in model.before.items()}
        score = exp.score(reload_exported(model.net, folder / "exported", exp.task.kind), "test")
        self.delete_model(trial)
        return {"score": score.to_dict(), "before": before, "documents": score.documents}

    def model_dir(self, trial: Trial) -> Path:
        """The folder of the trial's model."""
        return self.folder / key_of({**trial, "split": "val"})

    def delete_model(self, trial: Trial) -> None:
        """Delete the trial's model; its results are kept."""
        shutil.rmtree(self.model_dir(trial), ignore_errors=True)


def reload_exported(net: nn.Module, folder: Path, kind: str) -> nn.Module:
    """`net`, exported to `folder` and loaded from there; a mixture, which cannot be exported, is returned as it is."""
    if not isinstance(net, PreTrainedModel):
        return net
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed after this export
    save_checkpoint(net, None, folder, "")
    model: nn.Module = getattr(transformers, usage_of(kind).auto).from_pretrained(folder, trust_remote_code=True)
    return model


def _costs(exp: Experiment, model: TrainedModel) -> dict[str, Any]:
    """The costs of the training, and the results of the search."""
    return {
        "parameters": model_parameters(model.net),
        "flops_per_token": flops(model.net, exp.mean_length),
        "tokens": sum(phase.tokens for phase in model.phases),
        "flops": sum(phase.flops for phase in model.phases),
        "seconds": sum(phase.seconds for phase in model.phases),
        "path": model.path,
        "weights": model.weights,
        "scores": model.scores,
    }


def _absolute(options: TaskOptions) -> tuple[str, ...] | None:
    """The paths of a task's data, from the root of the file system."""
    return tuple(str(path.resolve()) for path in options.data_paths) or None


def _source_digests(recipe: Recipe, for_text: bool) -> dict[str, Any]:
    """Identifies each component, by a digest of its files if it is a local folder, else by name and revision; and ops.

    An op is identified by its source.
    """
    patterns, components = WEIGHT_FILES + (TOKENIZER_FILES if for_text else ()), []
    for spec in recipe.space.components:
        folder = folder_of(spec)
        source = spec.source if folder is None else _folder_digest(folder, patterns)
        components.append(
            {"name": spec.name, "source": source, "revision": spec.revision, "init": spec.init, "size": spec.size}
        )
    used = {name: custom_source(OP, factory_name(op)) for name, op in register_ops(recipe.space.ops).items()}
    return {"components": components} | ({"ops": used} if used else {})


def _folder_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for pattern in patterns for path in folder.glob(pattern)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


@lru_cache(maxsize=8)
def _load_task(options: TaskOptions) -> Task:
    """One task object for all trials of a process."""
    return load_task(options)
