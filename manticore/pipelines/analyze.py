"""`manticore report --analyze`: what a training has changed in each stage of a hybrid, written as `analysis.json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel

from manticore.adapters.attach import merged
from manticore.config.sections import RunOptions
from manticore.experiment.environment import setup_hardware
from manticore.experiment.experiment import Experiment
from manticore.experiment.fsp import fsp_distances
from manticore.experiment.phases import ALONE, build_component
from manticore.experiment.searched import hybrid_of, open_finished
from manticore.experiment.weight_changes import TOLERANCE, WeightChange, stage_changes
from manticore.export.load import load_hybrid, load_hybrid_task
from manticore.export.own_task import FINETUNING, task_options
from manticore.nas.architecture import Architecture
from manticore.nas.discretize import discretize
from manticore.nas.topologies import topologies
from manticore.pipelines.lines import start_of
from manticore.results.analysis import HybridAnalysis, StageAnalysis
from manticore.results.search import SearchResult
from manticore.tasks.dataset import Batch
from manticore.tasks.task import Task
from manticore.training.trainer import Hardware
from manticore.utils.console import info

SEQUENCES, BATCH_SIZE = 32, 4
"""Number of validation sequences of the FSP matrices, and of those that run together."""


@dataclass(frozen=True)
class _Training:
    """The hybrid before and after a training, its task, and the model that its stages are compared with."""

    before: PreTrainedModel
    after: PreTrainedModel
    task: Task
    start: str
    reference: PreTrainedModel | None
    reference_name: str | None
    hardware: Hardware


def analyze(folder: Path, console: Console, trust_code: bool = False) -> HybridAnalysis:
    """Compare the hybrid of a finished search, or of a fine-tuning, with what it started from. Nothing is trained.

    A search starts from the components' weights, and the reference of the FSP matrices is the base alone, after its
    training if the run has it. A fine-tuning starts from its hybrid, which is the reference too.

    Raises ManticoreError if the folder is neither, or if the components, the hybrid before, or the data are gone.
    """
    info(console, f"analyzing the stages of {folder}")
    training = _of_finetuning(folder, trust_code) if (folder / FINETUNING).exists() else _of_search(folder, trust_code)
    changes = stage_changes(training.before, training.after)
    distances: list[float] | list[None] = [None] * len(changes)
    batches = list(_batches(training.task)) if training.reference is not None else []
    if training.reference is not None:
        with training.hardware.scoring():
            distances = fsp_distances(training.after, training.reference, batches, training.hardware.device)
    stages = (
        _stage(candidate, change, distance)
        for candidate, change, distance in zip(training.after.config.path, changes, distances, strict=True)
    )
    sequences = sum(len(batch["input_ids"]) for batch in batches)
    result = HybridAnalysis(training.start, TOLERANCE, training.reference_name, sequences, tuple(stages))
    result.save(folder)
    return result


def _of_search(folder: Path, trust_code: bool) -> _Training:
    quiet = Console(quiet=True)
    exp, base = open_finished(folder, quiet, trust_code), SearchResult.load(folder).base
    path = Architecture.load(exp.run_dir.architecture).path
    untrained = exp.supernet(base, "softmax", "search", adapted=False)
    before = discretize(untrained, path, **exp.task.config_fields())
    reference, name = _base_alone(exp, base) if topologies[exp.space.topology].has_base else (None, None)
    after = hybrid_of(exp, path).net
    return _Training(before, after, exp.task, "the weights of the components", reference, name, exp.hardware)


def _base_alone(exp: Experiment, base: str) -> tuple[PreTrainedModel | None, str | None]:
    """The base by itself, trained if the run trained it; an untrained one has no embedding for a labelled task."""
    phase = f"{ALONE}{base}"
    trained = exp.run_dir.weights(phase).is_file()
    if not trained and not exp.task.is_language_modeling:
        return None, None
    model = build_component(exp, base, phase)
    if trained:
        exp.run_dir.restore(phase, model)
    return merged(model).eval(), f"{base} alone{', trained on as many tokens' if trained else ', before the search'}"


def _of_finetuning(folder: Path, trust_code: bool) -> _Training:
    start = start_of(folder, "--analyze")
    before, after = load_hybrid(start, trust_code), load_hybrid(folder, trust_code)
    task = load_hybrid_task(folder, after, task_options(folder, {}))
    reference = before if topologies[after.config.topology].has_base else None
    name = None if reference is None else "the hybrid before the fine-tuning"
    hardware = setup_hardware(RunOptions())
    return _Training(before, after, task, "the start of the fine-tuning", reference, name, hardware)


def _batches(task: Task) -> Iterator[Batch]:
    examples = task.splits().val
    for start in range(0, min(SEQUENCES, len(examples)), BATCH_SIZE):
        yield task.collate([examples[index] for index in range(start, min(start + BATCH_SIZE, len(examples)))])


def _stage(candidate: str, change: WeightChange, distance: float | None) -> StageAnalysis:
    moved = change.moved / change.weights if change.weights else None
    rank, main_rank = (
        part / change.full_rank if change.full_rank else None for part in (change.rank, change.main_rank)
    )
    return StageAnalysis(candidate, change.weights, moved, rank, main_rank, distance)
