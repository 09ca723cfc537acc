"""`manticore finetune`: train a hybrid further on a task and export it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import PreTrainedModel

from manticore.adapters.attach import attach
from manticore.adapters.calibration import prepare
from manticore.adapters.catalog import check_options
from manticore.adapters.ladder import ladder_loss
from manticore.adapters.options import LADDER, SEARCHED, TRIALS, AdapterOptions
from manticore.components import ComponentSpec, load
from manticore.config.commands import FinetuneCommand
from manticore.config.loading import with_overrides
from manticore.config.sections import MIXTURE, FinetuneOptions, RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.adapters import describe, save_sizes
from manticore.experiment.environment import setup_hardware
from manticore.experiment.estimate import print_training_estimate
from manticore.experiment.processes import run_together
from manticore.experiment.run_dir import RunDir, check_same_options
from manticore.experiment.run_lock import RunLock
from manticore.experiment.searched import check_candidates, hybrid_of, open_finished, saved_recipe, searched_supernet
from manticore.experiment.seeding import seed_of
from manticore.experiment.teacher import check_language_task, divergence_from
from manticore.export.checkpoint import save_checkpoint
from manticore.export.load import is_hybrid, load_hybrid, load_hybrid_task
from manticore.export.own_task import FINETUNING, RECIPE, task_options
from manticore.export.quantized import check_full_precision
from manticore.nas.architecture import Architecture
from manticore.pipelines.adapter_trials import SizeTrials, TrainRow, run_trials
from manticore.pipelines.export import card_of_path
from manticore.pipelines.leave_one_out import MixTrainings
from manticore.report.model_card import finetuned_card, read_card
from manticore.results.search import SplitScore
from manticore.results.training import FinetuneScores
from manticore.tasks.dataset import Splits, concat
from manticore.tasks.language.copies import with_copies
from manticore.tasks.task import Task
from manticore.training.adapter_search import AdapterSearchModule
from manticore.training.batching import BatchSampler
from manticore.training.divergence import TeacherDivergence
from manticore.training.exits import ExitLoss
from manticore.training.losses import LossFunction
from manticore.training.metrics import metrics
from manticore.training.modules import TrainModule
from manticore.training.options import LoopOptions
from manticore.training.run_loggers import RunLoggers, check_loggers
from manticore.training.shared_scoring import score_together
from manticore.training.trainer import Hardware, fit
from manticore.utils.console import info, make_console
from manticore.utils.io import remove_leftover, write_json

CALIBRATION_BATCHES = 16
"""Batches of the training on which adapters that start from the inputs of their layers measure them."""

NO_ADAPTER = AdapterOptions()
"""All weights are trained."""


@dataclass(frozen=True)
class FinetuneResult:
    """A hybrid after fine-tuning.

    Attributes:
        folder: the folder of the fine-tuning; its `hybrid/` is a Hugging Face folder.
        scores: on the validation split, before and after.
    """

    folder: Path
    scores: FinetuneScores

    @property
    def model(self) -> PreTrainedModel:
        """The trained hybrid, in float32 and in evaluation mode."""
        return load_hybrid(self.folder)


@dataclass(frozen=True)
class _Start:
    """The start of a fine-tuning: the hybrid, its task, and its card."""

    model: PreTrainedModel
    task: Task
    card: str


def run(options: FinetuneCommand, console: Console) -> FinetuneResult:
    """Train on the train and train_arch splits, score on the validation split, and write `out/hybrid`.

    The task is the hybrid's own, unless another is named. A fine-tuning can be resumed with another
    `run.micro_batch_size`: gradients are accumulated, so it does not change the result.

    Raises ManticoreError if `options.out` is not empty, if the hybrid cannot be loaded or does not fit the task, or if
    the domains of a mix are to be left out and the text has none.
    """
    options = with_overrides(options)
    if not is_hybrid(options.hybrid):
        load_hybrid(options.hybrid, options.trust_code)  # the error names what the folder holds instead
    task_settings = task_options(options.hybrid, options.task)

    def start() -> _Start:
        model = load_hybrid(options.hybrid, options.trust_code)
        check_full_precision(model, options.hybrid, "training")
        return _Start(model, load_hybrid_task(options.hybrid, model, task_settings), read_card(options.hybrid))

    settings = {"hybrid": str(options.hybrid.resolve()), "task": asdict(task_settings)}
    run_folder = options.hybrid if (options.hybrid / RECIPE).is_file() else None
    if options.finetune.teacher == MIXTURE and run_folder is None:
        raise ManticoreError("the teacher mixture is the supernet of a search; name the run folder of the search")

    mix = MixTrainings.of(options, task_settings) if options.leave_one_out else None

    def train(hardware: Hardware) -> FinetuneResult:
        fixed = (start, settings, options.finetune, options.run)
        more = (options.keep_adapter, run_folder, options.trust_code)

        def row(adapter: AdapterOptions, out: Path) -> FinetuneScores:
            return _train(*fixed, out, make_console(quiet=True), out.exists(), hardware, adapter, *more).scores

        def train_part(task: Task, out: Path) -> None:
            named = (lambda: replace(start(), task=task), settings | {"part": out.name}, *fixed[2:], out)
            _train(*named, make_console(quiet=True), out.exists(), hardware, options.adapter, *more)

        if options.adapter.name == TRIALS:
            return _train_by_trials(start, settings, options, console, hardware, row)
        if mix is None:
            return _train(*fixed, options.out, console, options.resume, hardware, options.adapter, *more)
        begin = start()
        mix.check(begin.task)
        named = (lambda: replace(start(), task=begin.task), *fixed[1:], options.out)  # its text is tokenized once
        result = _train(*named, console, options.resume, hardware, options.adapter, *more)
        mix.run(begin.model, begin.task, train_part, hardware, console)
        return result

    return run_together(options.processes, options.run, train)


def _train_by_trials(
    start: Callable[[], _Start],
    settings: dict[str, Any],
    options: FinetuneCommand,
    console: Console,
    hardware: Hardware,
    row: TrainRow,
) -> FinetuneResult:
    """The fine-tuning with the size of MoRe that trials select."""
    check_options(options.adapter)
    out = options.out
    settings = settings | _training_settings(options.finetune, options.run, options.adapter, options.keep_adapter)
    with RunLock(out) as lock:
        check_same_options(out / FINETUNING, settings, options.resume, "fine-tuning")
        if (out / "hybrid").exists():
            info(console, f"{out} is complete; nothing to do.")
            return FinetuneResult(out, FinetuneScores.load(out))
        lock.acquire(create=False)

        def load_model() -> tuple[PreTrainedModel, Task]:
            begin = start()
            return begin.model, begin.task

        trials = SizeTrials(load_model, options.adapter, options.finetune, options.run, hardware, out, console)
        sizes = trials.within_budget()
        lock.acquire()
        write_json(out / FINETUNING, settings)
        return FinetuneResult(out, run_trials(trials, sizes, row))


def run_from(
    folder: Path,
    path: Sequence[str] | None,
    training: FinetuneOptions,
    run_options: RunOptions,
    out: Path,
    console: Console,
    resume: bool = False,
    trust_code: bool = False,
) -> FinetuneResult:
    """Train a path of a finished search on the task of the search.

    Args:
        folder: the run folder.
        path: a candidate for each stage, which starts from the weights of the search; None, or the selected path: from
            its weights after fine-tuning.
        training: steps, batches and optimizer.
        run_options: machine, seed and bookkeeping.
        out: folder of the fine-tuning.
        console: where progress is printed.
        resume: continue the fine-tuning in `out`.
        trust_code: import the ops that the search space names by import path.

    Raises ManticoreError if the run is unfinished or damaged, or the path is not one of the search space.
    """
    recipe, selected = saved_recipe(folder), Architecture.load(RunDir(folder).architecture).path
    chosen = selected if path is None else tuple(path)
    check_candidates(chosen, recipe.space)

    def start() -> _Start:
        exp = open_finished(folder, console, trust_code)
        model, task, phase = hybrid_of(exp, chosen, trained=chosen == selected)
        return _Start(model, task, card_of_path(exp, model, phase))

    settings = {"hybrid": str(folder.resolve()), "path": list(chosen), "task": asdict(recipe.task)}
    hardware = setup_hardware(run_options)
    options: dict[str, Any] = {"run_folder": folder, "trust_code": trust_code}
    return _train(start, settings, training, run_options, out, console, resume, hardware, **options)


def _train(
    start: Callable[[], _Start],
    settings: dict[str, Any],
    training: FinetuneOptions,
    run_options: RunOptions,
    out: Path,
    console: Console,
    resume: bool,
    hardware: Hardware,
    adapter: AdapterOptions = NO_ADAPTER,
    keep_adapter: bool = False,
    run_folder: Path | None = None,
    trust_code: bool = False,
) -> FinetuneResult:
    """The fine-tuning that `settings` and the options describe; a finished one is not run again."""
    teacher = training.teacher
    settings = settings | _training_settings(training, run_options, adapter, keep_adapter)
    check_options(adapter)
    if adapter.name == LADDER and not keep_adapter:
        raise ManticoreError("a ladder is no change of weights and cannot be merged; add --keep-adapter")
    check_loggers(run_options.logger)
    with RunLock(out) as lock:
        check_same_options(out / FINETUNING, settings, resume, "fine-tuning")
        if (out / "hybrid").exists():
            info(console, f"{out} is complete; nothing to do.")
            remove_leftover(out / "checkpoints" / "fine-tune.ckpt")
            return FinetuneResult(out, FinetuneScores.load(out))
        lock.acquire(create=False)
        begin = start()
        model, task = begin.model, begin.task
        if training.copies:
            check_language_task(task, "finetune.copies")
        loss: LossFunction | None = (
            None if teacher is None else _divergence(teacher, model, task, run_folder, trust_code)
        )
        if adapter.name is not None:
            torch.manual_seed(seed_of(run_options.seed, "adapter"))
            for line in (*attach(model, adapter), f"adapter: {describe(model, adapter)}"):
                info(console, line)
        if training.exits:
            loss, model.config.exits = ExitLoss(model, training.exits), list(training.exits)
        elif adapter.name == LADDER and loss is None:
            loss = ladder_loss(adapter)
        splits = task.splits()
        examples = with_copies(
            concat([splits.train, splits.train_arch]), training.copies, seed_of(run_options.seed, "copies")
        )
        sampler = BatchSampler(examples, training.batch_size, seed_of(run_options.seed, "fine-tune"), task.collate)
        kind = AdapterSearchModule if adapter.name == SEARCHED else TrainModule
        streams = {"weights": sampler} if kind is TrainModule else _search_streams(splits, task, training, run_options)
        for line in prepare(model, (sampler.batch(step) for step in range(CALIBRATION_BATCHES))):
            info(console, line)
        print_training_estimate(model, sampler, training.steps, run_options.micro_batch_size, hardware, console)
        lock.acquire()
        write_json(out / FINETUNING, settings)

        metric, eval_batch_size = metrics[task.metric], run_options.micro_batch_size or run_options.eval_batch_size
        before = score_together(hardware, model, splits.val, task.collate, eval_batch_size, metric)
        torch.manual_seed(run_options.seed)
        length = int(splits.train.lengths.mean() / task.sequences)
        run = run_options
        loop = LoopOptions(run.micro_batch_size, run.gradient_checkpointing, run.log_every, length)
        module = kind(model, training.weights, training.steps, loop, loss=loss)
        with RunLoggers(run.logger, out, settings) as loggers:
            fit(module, streams, "fine-tune", out / "checkpoints", hardware, console, loggers=loggers)
        save_sizes(model, out, console)
        after = score_together(hardware, model, splits.val, task.collate, eval_batch_size, metric)
        info(
            console,
            f"{task.name} validation split: {before.format()} before, {after.format()} after "
            f"{training.steps} steps ({module.tokens:,} tokens)",
        )

        of_split = [SplitScore.of(each.to_dict(), metric) for each in (before, after)]
        scores = FinetuneScores(task.name, metric, of_split[0], of_split[1], training.steps, module.tokens)
        scores.save(out)
        steps, batch_size, lr = training.steps, training.batch_size, training.weights.lr
        card = finetuned_card(begin.card, task.name, steps, batch_size, module.tokens, lr, before, after, teacher)
        folder = save_checkpoint(model.to("cpu"), task.hf_tokenizer(), out / "hybrid", card, keep_adapter)
        (out / "checkpoints" / "fine-tune.ckpt").unlink(missing_ok=True)
        info(console, str(folder))
        return FinetuneResult(out, scores)


def _divergence(
    name: str, model: PreTrainedModel, task: Task, run_folder: Path | None = None, trust_code: bool = False
) -> TeacherDivergence:
    """The loss that imitates `name`: a component of a run by its name, its mixture, or another language model."""
    if name == MIXTURE and run_folder is not None:
        exp = open_finished(run_folder, make_console(quiet=True), trust_code)
        return TeacherDivergence(searched_supernet(exp, model.config.base))
    check_language_task(task)
    specs = () if run_folder is None else saved_recipe(run_folder).space.components
    spec = next((each for each in specs if each.name == name), ComponentSpec(name))
    return divergence_from(load(spec), task, model.get_output_embeddings().out_features)


def _search_streams(
    splits: Splits, task: Task, training: FinetuneOptions, run_options: RunOptions
) -> dict[str, BatchSampler]:
    """The batches of a fine-tuning that searches the sizes of adapters."""
    return {
        name: BatchSampler(
            concat([getattr(splits, split) for split in names]),
            training.batch_size,
            seed_of(run_options.seed, "fine-tune", name),
            task.collate,
        )
        for name, names in AdapterSearchModule.streams.items()
    }


def _training_settings(
    training: FinetuneOptions, run_options: RunOptions, adapter: AdapterOptions, keep_adapter: bool
) -> dict[str, Any]:
    """What a resumed fine-tuning must have in common with the one in its folder, besides the hybrid and the task."""
    return {
        "steps": training.steps,
        "batch_size": training.batch_size,
        "weights": asdict(training.weights),
        "seed": run_options.seed,
        "adapter": _adapter_settings(adapter, keep_adapter),
        **({} if training.teacher is None else {"teacher": training.teacher}),
        **({"exits": list(training.exits)} if training.exits else {}),
        **({"copies": training.copies} if training.copies else {}),
    }


def _adapter_settings(adapter: AdapterOptions, keep: bool) -> dict[str, Any] | None:
    """The options of the adapter as JSON has them; None without an adapter."""
    if adapter.name is None:
        return None
    return {**asdict(adapter), "targets": list(adapter.targets), "keep": keep}
