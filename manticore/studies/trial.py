"""A trial: one arm, trained once and scored on one split. Finished ones are kept by content and never run again.

A trial says everything its result depends on, digests of data and weights included, and nothing else: not where it
runs, nor what the other baselines are. Where data and weights lie is told beside that, and is no part of its key.
Knows nothing of who is compared with whom.
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
from manticore.config.sections import FinetuneOptions, RunOptions, SearchOptions, SelectionOptions
from manticore.errors import NonFiniteLoss
from manticore.experiment.environment import setup_hardware
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import RunDir
from manticore.export.checkpoint import save_checkpoint
from manticore.nas.cost import flops, model_parameters
from manticore.report.usage import usage_of
from manticore.studies.baselines import ArmConfig, TrainedModel, baseline_arms
from manticore.studies.store import LOCATION, key_of
from manticore.tasks.catalog import load_task
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task
from manticore.training.metrics import worst_scores
from manticore.utils import assets

# Raised whenever the same trial comes to mean another result, so that no store made before is believed.
VERSION = 5

Trial = dict[str, Any]
WEIGHTS = ("config.json", "*.safetensors")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
"""Files of a component that its results depend on; the tokenizer's, where it reads text."""

SEARCHING = ("hybrid", "soft", "hub")
"""Contenders that read the recipe's search."""


def make_trial(
    recipe: Recipe, data: str, arm: str, terms: ArmConfig, seed: int, rate: float, reading: bool = False
) -> Trial:
    """The trial of a arm with one seed and one learning rate, to be scored on the validation split.

    Args:
        recipe: of the study; what the arm does not read is left out of the trial.
        data: `Task.fingerprint`.
        arm: a name in `baselines`.
        terms: which of that kind, and its budget.
        seed: of weights and batches.
        rate: peak learning rate of the weights.
        reading: whether components read text, each with its own tokenizer.
    """
    searching = arm in SEARCHING
    search = replace(recipe.search, weights=replace(recipe.search.weights, lr=rate))
    finetune = replace(recipe.finetune, weights=replace(recipe.finetune.weights, lr=rate))
    if "steps" in terms:
        finetune = replace(finetune, steps=terms["steps"])
    if not searching:  # a single phase, however a hybrid's steps are parted into search and fine-tuning
        finetune = replace(finetune, init=FinetuneOptions().init)
    tuned = replace(
        recipe,
        task=replace(recipe.task, cache_dir=None, data_dir=_absolute(recipe.task.data_dir), workers=0),
        search=search if searching else SearchOptions(),
        finetune=finetune,
        selection=replace(recipe.selection, fallback_to_component=True) if arm == "hybrid" else SelectionOptions(),
        run=RunOptions(
            seed=seed, precision=recipe.run.precision, micro_batch_size=recipe.run.micro_batch_size,
            gradient_checkpointing=recipe.run.gradient_checkpointing, eval_batch_size=recipe.run.eval_batch_size,
        ),
    )  # fmt: skip
    told, sources = tuned.to_dict(), _sources(recipe, reading)
    del told["baselines"], told["study"]  # what it meets is not what it is
    told["space"].pop("base", None)  # that is in its terms
    where = {
        "task": {"data_dir": told["task"].pop("data_dir")},
        "space": {"components": told["space"].pop("components")},
    }
    if not reading or arm == "hub" or set(terms.get("path", ())) == {terms.get("base")}:
        del told["align"]  # no projectors that could be aligned
    elif recipe.align.projectors is not None:
        sources["projectors"] = _folder_digest(assets.find("projectors", recipe.align.projectors), WEIGHTS)
        where["align"] = {"projectors": told["align"].pop("projectors")}
    held = {"version": VERSION, "data": data, "arm": arm, "config": terms, "recipe": told}
    return {**held, "sources": sources, LOCATION: where, "split": "val"}


def test_trial(held: Trial) -> Trial:
    """The same trial, to be scored on test."""
    return {**held, "split": "test"}


DIVERGED = {
    **dict.fromkeys(("parameters", "flops_per_token", "tokens", "flops", "seconds"), 0),
    **dict.fromkeys(("path", "weights")),
    "score": {**worst_scores(), "loss": math.inf},
    "before": {},
}
"""The result of a trial whose loss was no number any more."""


@dataclass(frozen=True)
class TrialRunner:
    """Does a trial: what `jobs.run_all` calls, here or in another process.

    Attributes:
        folder: where models are while their trials are under way, or wait to be tested.
        run: the machine and the bookkeeping.
        cache: folder of generated data.
    """

    folder: Path
    run: RunOptions
    cache: str | None = None

    def __call__(self, held: Trial) -> dict[str, Any]:
        """Train, or take the model that was trained for the same trial before; score it."""
        recipe = resolve([held["recipe"], held[LOCATION]], "auto")
        place = self.model_dir(held)
        task = _task(replace(recipe.task, cache_dir=self.cache, workers=1))
        machine = setup_hardware(replace(self.run, seed=recipe.run.seed, precision=recipe.run.precision))
        (place / "checkpoints").mkdir(parents=True, exist_ok=True)
        exp = Experiment(recipe, task, machine, RunDir(place), Console(quiet=True))
        exp = exp.for_component(held["config"].get("base", exp.space.names[0]))
        try:
            entry = baseline_arms[held["arm"]](exp, held["config"])
        except NonFiniteLoss:  # a learning rate that is too high is no reason to stop, and never the best
            self.delete_model(held)
            return DIVERGED
        if held["split"] == "val":
            return {**_facts(exp, entry), "score": exp.score(entry.net, "val").to_dict()}
        scores = {name: exp.score(net, "test").to_dict() for name, net in entry.before.items()}
        reached = exp.score(reload_exported(entry.net, place / "exported", exp.task.kind), "test")
        self.delete_model(held)
        return {"score": reached.to_dict(), "before": scores, "documents": reached.documents}

    def model_dir(self, held: Trial) -> Path:
        """Where the trial's model is."""
        return self.folder / key_of({**held, "split": "val"})

    def delete_model(self, held: Trial) -> None:
        """Drop the trial's model; its scores stay."""
        shutil.rmtree(self.model_dir(held), ignore_errors=True)


def reload_exported(net: nn.Module, folder: Path, kind: str) -> nn.Module:
    """What one gets who loads the model from the folder it is exported to; a mixture, which is no export, as it is."""
    if not isinstance(net, PreTrainedModel):
        return net
    save_checkpoint(net, None, folder, "")
    kept: nn.Module = getattr(transformers, usage_of(kind).auto).from_pretrained(folder, trust_remote_code=True)
    return kept


def _facts(exp: Experiment, entry: TrainedModel) -> dict[str, Any]:
    """What the trial cost."""
    return {
        "parameters": model_parameters(entry.net),
        "flops_per_token": flops(entry.net, exp.mean_length),
        "tokens": sum(phase.tokens for phase in entry.phases),
        "flops": sum(phase.flops for phase in entry.phases),
        "seconds": sum(phase.seconds for phase in entry.phases),
        "path": entry.path,
        "weights": entry.weights,
    }


def _absolute(folder: str | None) -> str | None:
    return None if folder is None else str(Path(folder).expanduser().resolve())


def _sources(recipe: Recipe, reading: bool) -> dict[str, Any]:
    """What each component is; of one in a local folder a digest, so that other weights there are another trial.

    So is another tokenizer, if it is read with.
    """
    files, out = WEIGHTS + (TOKENIZER if reading else ()), []
    for spec in recipe.space.components:
        folder = folder_of(spec)
        source = spec.source if folder is None else _folder_digest(folder, files)
        more = {"revision": spec.revision, "init": spec.init, "size": spec.size}
        out.append({"name": spec.name, "source": source, **more})
    return {"components": out}


def _folder_digest(folder: Path, patterns: tuple[str, ...]) -> str:
    out = hashlib.blake2b(digest_size=16)
    for file in sorted(file for pattern in patterns for file in folder.glob(pattern)):
        with file.open("rb") as held:
            out.update(hashlib.file_digest(held, "blake2b").digest())
    return out.hexdigest()


@lru_cache(maxsize=8)
def _task(options: TaskOptions) -> Task:
    """One task for all trials of a process."""
    return load_task(options)
