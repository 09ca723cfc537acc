"""The commands on models, as functions: align, grow, pretrain, finetune, evaluate, generate.

Arguments have the names and the defaults of the flags. An argument that takes a folder also takes a result. Errors are
ManticoreErrors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from manticore.adapters.options import AdapterOptions
from manticore.alignment.projector_set import ProjectorSet
from manticore.api.arguments import Models, model_source, out_folder, source_folder
from manticore.config.commands import (
    AlignCommand,
    EvaluateCommand,
    FinetuneCommand,
    PretrainCommand,
)
from manticore.config.flags import (
    ALIGN,
    EVALUATE,
    FINETUNE,
    GENERATE,
    GROW,
    PRETRAIN,
    assignments,
    command_options,
)
from manticore.config.generate import SamplingOptions
from manticore.config.grow import GrowCommand
from manticore.config.model_commands import GenerateCommand
from manticore.config.pretrain import PretrainRecipe
from manticore.config.processes import ProcessOptions
from manticore.config.sections import AlignOptions, FinetuneOptions, RunOptions
from manticore.errors import ManticoreError, shown
from manticore.nas.space import SearchSpace
from manticore.pipelines import align as align_pipeline
from manticore.pipelines import evaluate as evaluate_pipeline
from manticore.pipelines import finetune as finetune_pipeline
from manticore.pipelines import generate as generate_pipeline
from manticore.pipelines import grow as grow_pipeline
from manticore.pipelines import pretrain as pretrain_pipeline
from manticore.pipelines.finetune import FinetuneResult
from manticore.pipelines.grow import Growth
from manticore.pipelines.pretrain import PretrainResult
from manticore.tasks.data import TaskSource, test_items
from manticore.tasks.options import plain_paths
from manticore.training.scoring import Score
from manticore.utils.console import make_console


def align(
    models: SearchSpace | Models,
    text: Path | str | Sequence[Path | str],
    *,
    out: Path | str,
    target_text: Path | str | Sequence[Path | str] = AlignCommand.target_text,
    target_share: float = AlignCommand.target_share,
    base: str | None = SearchSpace.base,
    stages: int | None = AlignCommand.stages,
    for_task: str = AlignCommand.for_task,
    tokens: int = AlignOptions.tokens,
    length: int = AlignCommand.length,
    steps: int = AlignCommand.steps,
    projector: str = SearchSpace.projector,
    bypass: bool = AlignOptions.bypass,
    rank: int | None = AlignCommand.rank,
    seed: int = AlignCommand.seed,
    device: str = AlignCommand.device,
    quiet: bool = False,
) -> ProjectorSet:
    """Fit the projectors between pretrained models on text, in closed form, and write them as a projector set.

    Args:
        models: names, folders, `ComponentSpec`s or model objects; or a `SearchSpace`, whose base, stages and projectors
            are then the defaults.
        text: files of text (.txt, .md, .jsonl, .parquet, others as UTF-8) or folders of such files.
        out: folder to write; must not exist.
        target_text: text of the later fine-tuning, mixed into `text`; files or folders.
        target_share: its share of the tokens.
        base: the model that provides embedding, residual stream, norm and head. Default: the first.
        stages: number of stages. Default: that of the recipe of `for_task`.
        for_task: task whose recipe sets the number of stages.
        tokens: approximate number of base tokens to fit on.
        length: base tokens of a passage.
        steps: gradient steps on the projectors after the closed form.
        projector: kind of projectors: linear or low-rank.
        bypass: fit a bypass with Q.
        rank: rank of low-rank projectors.
        seed: of the gradient steps.
        device: cpu, cuda, cuda:N, or auto.
        quiet: print nothing.

    Returns:
        the set; `folder` is where it is. A search takes it as `align={"projectors": str(set.folder)}`.
    """
    arguments = locals()
    if isinstance(models, SearchSpace):
        space = models if base is None else dataclasses.replace(models, base=base)
        arguments["stages"] = stages or space.stages
        if projector != SearchSpace.projector:
            space = dataclasses.replace(space, projector=projector)
        bypass = bool(space.projector_options.get("bypass", bypass))
        arguments |= {"bypass": bypass, "rank": rank or space.projector_options.get("rank")}
    else:
        space = SearchSpace(models, base=base, projector=projector)
    for name, files in (("text", text), ("target_text", target_text)):
        arguments[name] = [files] if isinstance(files, str | Path) else files
    return align_pipeline.run(command_options(AlignCommand, ALIGN, arguments, space=space), make_console(quiet))


def grow(
    model: Any,
    text: Path | str | Sequence[Path | str],
    *,
    out: Path | str,
    mixer: str = GrowCommand.mixer,
    layers: Sequence[int] | None = GrowCommand.layers,
    tokens: int = GrowCommand.tokens,
    length: int = GrowCommand.length,
    start: str = GrowCommand.start,
    ridge: bool = GrowCommand.ridge,
    steps: int = GrowCommand.steps,
    lr: float = GrowCommand.lr,
    batch_size: int = GrowCommand.batch_size,
    expand: int = GrowCommand.expand,
    state_size: int | None = GrowCommand.state_size,
    heads: int | None = GrowCommand.heads,
    groups: int | None = GrowCommand.groups,
    cache_gb: float = GrowCommand.cache_gb,
    precision: str = GrowCommand.precision,
    workers: int = GrowCommand.workers,
    seed: int = GrowCommand.seed,
    quiet: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Growth:
    """Grow a twin of a pretrained transformer: recurrent mixers in place of attention, trained layer by layer.

    Args:
        model: the parent: a name, a folder, a model object, or a pair of one and its tokenizer.
        text: files of text (.txt, .md, .jsonl, .parquet, others as UTF-8) or folders of such files.
        out: folder to write; must not exist. `OUT.growing` has what is finished, and the same call resumes.
        mixer: `mamba2` or `mamba`.
        layers: layers to replace, counted from 1. Default: all.
        tokens: tokens of text to learn from.
        length: tokens of a block of text.
        start: initial weights of a mixer: `gate`, `attention` or `random`.
        ridge: fit the output projection by least squares, at the start and at the end.
        steps, lr, batch_size: training of a layer: optimizer steps, peak learning rate, blocks of a step.
        expand: channels of a mixer, in units of the width.
        state_size: features of the state of a channel.
        heads, groups: heads of Mamba-2, and groups of them that share B and C.
        cache_gb: largest size on disk, in GB, of the cached inputs and outputs of attention.
        precision: of the forward passes: `32-true` or `bf16-mixed`, which is faster where the CPU has bfloat16.
        workers: number of processes, each of which trains a layer.
        seed: of fresh weights and of the order of blocks.
        quiet: print nothing.
        tokenizer: of a model object.

    Returns:
        the twin: its `folder`, its `model`, and in `result` what each layer keeps.
    """
    arguments = {**locals(), "text": [text] if isinstance(text, str | Path) else text}
    with model_source(model, tokenizer) as name:
        return grow_pipeline.run(command_options(GrowCommand, GROW, {**arguments, "model": name}), make_console(quiet))


def pretrain(
    config: str | Path | PretrainRecipe,
    text: Path | str,
    *,
    out: Path | str,
    tokenizer: Path | str | None = PretrainCommand.tokenizer,
    decontaminate: Path | str | None = PretrainCommand.decontaminate,
    adapter: str | None = PretrainCommand.adapter,
    precision: str | None = PretrainCommand.precision,
    devices: int | str | None = None,
    num_nodes: int = ProcessOptions.num_nodes,
    distributed: str = ProcessOptions.distributed,
    resume: bool = PretrainCommand.resume,
    set: Mapping[str, Any] | Sequence[str] = PretrainCommand.overrides,
    quiet: bool = False,
) -> PretrainResult:
    """Train a small language model from scratch, as a component for later searches.

    Args:
        config: a `PretrainRecipe`, or the name or path of one.
        text: a file of text, or a folder of such files.
        out: folder for the model and its checkpoints.
        tokenizer: folder of a tokenizer. Default: train one on the text.
        decontaminate: text to evaluate on later; paragraphs that overlap with it are left out of training.
        adapter: name of an adapter that is trained in place of the weights of linear layers.
        precision: `32-true`, `bf16-mixed` or `auto`.
        devices, num_nodes, distributed: processes that train together, as in `search`.
        resume: resume the pretraining in `out`.
        set: any keys of the recipe, as a mapping or as `KEY=VALUE`.
        quiet: print nothing.
    """
    arguments = {**locals(), "set": assignments(set), "devices": None if devices is None else str(devices)}
    recipe = config if isinstance(config, PretrainRecipe) else None
    arguments["config"] = "" if recipe else str(config)
    options = command_options(PretrainCommand, PRETRAIN, arguments)
    return pretrain_pipeline.run_command(options, make_console(quiet), recipe)


def finetune(
    hybrid: Any,
    task: Any = None,
    *,
    out: Path | str,
    preset: str | None = None,
    data_dir: Path | str | Sequence[Path | str] | None = None,
    steps: int = FinetuneOptions.steps,
    lr: float = FinetuneOptions.weights.lr,
    batch_size: int = FinetuneOptions.batch_size,
    micro_batch_size: int = RunOptions.micro_batch_size,
    precision: str = RunOptions.precision,
    devices: int | str | None = None,
    num_nodes: int = ProcessOptions.num_nodes,
    distributed: str = ProcessOptions.distributed,
    seed: int = RunOptions.seed,
    adapter: str | None = AdapterOptions.name,
    keep_adapter: bool = FinetuneCommand.keep_adapter,
    teacher: str | Path | None = None,
    leave_one_out: bool = FinetuneCommand.leave_one_out,
    set: Mapping[str, Any] | Sequence[str] = FinetuneCommand.overrides,
    resume: bool = FinetuneCommand.resume,
    trust_code: bool = FinetuneCommand.trust_code,
    quiet: bool = False,
) -> FinetuneResult:
    """Train a hybrid further on a task; `Result.finetune` trains another path of a search.

    Args:
        hybrid: a run folder, an exported folder, or a result.
        task: name of a task, its options, or data as `mc.task` takes it, which is written beside `out`. Default: the
            task that the hybrid was trained on.
        out: folder for the trained hybrid.
        preset, data_dir: scale and files of the task.
        steps, lr, batch_size: length, peak learning rate and batches of the training.
        micro_batch_size: sequences in one forward pass; 0: the whole batch.
        precision: `32-true`, `bf16-mixed` or `auto`.
        devices, num_nodes, distributed: processes that train together, as in `search`.
        seed: of the batches.
        adapter: name of an adapter that is trained in place of the weights of the components.
        keep_adapter: write the trained adapter beside the weights that it changes, instead of weights with the change.
        teacher: a language model with the same tokenizer, by name or folder, whose predictions are learned instead of
            the labels.
        leave_one_out: after the training on all files of `data_dir`, train again without each of them, and score each
            file of the validation split.
        set: any keys of the sections task, finetune, adapter and run, as a mapping or as `KEY=VALUE`.
        resume: resume the fine-tuning in `out`.
        trust_code: run the code in the hybrid's folder for ops and other parts that this process does not have.
        quiet: print nothing.
    """
    arguments = {**locals(), "hybrid": source_folder(hybrid), "set": assignments(set)}
    arguments["devices"] = None if devices is None else str(devices)
    arguments["teacher"] = None if teacher is None else str(teacher)
    console = make_console(quiet)
    with TaskSource.of(task).saved(out_folder(out), console) as keys:
        options = command_options(FinetuneCommand, FINETUNE, arguments, task=keys | _task_flags(preset, data_dir))
        return finetune_pipeline.run(options, console)


def evaluate(
    model: Any,
    task: Any = None,
    *,
    preset: str | None = None,
    data_dir: Path | str | Sequence[Path | str] | None = None,
    batch_size: int = RunOptions.eval_batch_size,
    set: Mapping[str, Any] | Sequence[str] = EvaluateCommand.overrides,
    json: Path | str | None = EvaluateCommand.json,
    trust_code: bool = EvaluateCommand.trust_code,
    quiet: bool = False,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Score:
    """Score a hybrid or a component on the test split of a task, or on examples.

    Args:
        model: a run folder, an exported folder, a result, a component by name or folder, a model object, or a pair of
            one and its tokenizer.
        task: name of a task or its options, whose test split is scored; or examples as `mc.task` takes them: all of a
            list, a DataFrame or a dataset are scored, and of several splits `test`. Default: the task that the model
            was trained on.
        preset, data_dir: scale and files of the task.
        batch_size: sequences in a batch; the score does not depend on it.
        set: any keys of the sections task and run, as a mapping or as `KEY=VALUE`.
        json: file for the scores.
        trust_code: run the code in the hybrid's folder for ops and other parts that this process does not have.
        quiet: print nothing.
        tokenizer: of a model object.
    """
    arguments, items, console = {**locals(), "set": assignments(set)}, test_items(task), make_console(quiet)
    source = TaskSource.of(task if items is None else None)
    flags = _task_flags(preset, data_dir)
    with model_source(model, tokenizer) as name, source.saved(None, console) as keys:
        options = command_options(EvaluateCommand, EVALUATE, {**arguments, "model": name}, task=keys | flags)
        if items is None:
            return evaluate_pipeline.run(options, console)
        return evaluate_pipeline.run_on(items, options, console)


def generate(
    model: Any,
    prompt: str | None = GenerateCommand.prompt,
    *,
    prompt_file: Path | str | None = GenerateCommand.prompt_file,
    batch: Path | str | None = GenerateCommand.batch,
    json: bool = GenerateCommand.json,
    max_new_tokens: int = SamplingOptions.max_new_tokens,
    temperature: float | None = SamplingOptions.temperature,
    top_p: float | None = SamplingOptions.top_p,
    top_k: int | None = SamplingOptions.top_k,
    num_beams: int = SamplingOptions.num_beams,
    seed: int = SamplingOptions.seed,
    trust_code: bool = GenerateCommand.trust_code,
    on_text: Callable[[str], object] | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> str:
    """The continuation of a text by a language model.

    Args:
        model: a run folder, an exported folder, a result, a component by name or folder, a model object, or a pair of
            one and its tokenizer.
        prompt, prompt_file: the text to continue, or the file with it.
        batch: file of prompts, a line each; the result then has a line for each.
        json: the result has a line of JSON for each prompt, as the command prints it.
        max_new_tokens: largest number of new tokens.
        temperature, top_p, top_k: how tokens are sampled. Default: the most likely token is taken.
        num_beams: number of continuations of a beam search.
        seed: of the sampling.
        trust_code: run the code in the hybrid's folder for ops and other parts that this process does not have.
        on_text: called with each piece of text as it is generated.
        tokenizer: of a model object.
    """
    arguments = locals()
    if on_text is not None and not callable(on_text):
        raise ManticoreError(f"on_text is a function of a piece of text, not {shown(on_text)}")
    pieces: list[str] = []

    def add(piece: str) -> None:
        pieces.append(piece)
        if on_text is not None:
            on_text(piece)

    with model_source(model, tokenizer) as name:
        options = command_options(GenerateCommand, GENERATE, {**arguments, "model": name})
        generate_pipeline.run_command(options, add)
    return "".join(pieces)


def _task_flags(preset: str | None, data_dir: Path | str | Sequence[Path | str] | None) -> dict[str, Any]:
    """The flags of a task that are set, as its options."""
    flags = {"preset": preset, "data_dir": None if data_dir is None else plain_paths(data_dir)}
    return {key: value for key, value in flags.items() if value is not None}
