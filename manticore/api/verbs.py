"""The commands that run recipes, as functions: search, plan, compare, transfer.

Arguments have the names of the flags, and None stands for the value of the recipe. Options without an argument are set
by section, such as `search={"steps": 100}, run={"threads": 2}` or `finetune=FinetuneOptions(steps=100)`, or by key,
such as `set={"search.weights.lr": 1e-3}`. Errors are ManticoreErrors, raised before anything is written if the recipe
is wrong or cannot be run here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from manticore.api.arguments import Models, name_list, out_folder, recipe_command, split_loggers
from manticore.api.result import Result
from manticore.components.spec import ComponentSpec
from manticore.config.commands import CompareCommand, PlanCommand, SearchCommand, TransferCommand
from manticore.config.flags import COMPARE, PLAN, SEARCH, TRANSFER, assignments
from manticore.config.launching import LaunchOptions
from manticore.config.processes import ProcessOptions
from manticore.errors import ManticoreError
from manticore.experiment.plan import Plan
from manticore.experiment.run_dir import open_run_dir, unused_run_dir
from manticore.nas.space import SearchSpace
from manticore.pipelines import compare as compare_pipeline
from manticore.pipelines import plan as plan_pipeline
from manticore.pipelines import search as search_pipeline
from manticore.pipelines import transfer as transfer_pipeline
from manticore.results.study import StudyResult
from manticore.results.transfer import TransferResult
from manticore.tasks.data import TaskSource
from manticore.tasks.options import TaskOptions
from manticore.training.user_trainer import UserTrainer
from manticore.utils.console import make_console


def search(
    space: SearchSpace | str | Path | None = None,
    task: Any = None,
    *,
    models: Models | None = None,
    config: str | Path | None = SearchCommand.config,
    preset: str | None = None,
    base: str | None = None,
    strategy: str | None = None,
    topology: str | None = None,
    projector: str | None = None,
    stages: int | None = None,
    data_dir: Path | str | Sequence[Path | str] | None = None,
    set: Mapping[str, Any] | Sequence[str] = SearchCommand.overrides,
    seed: int | None = None,
    max: Sequence[str] | None = None,
    min: Sequence[str] | None = None,
    pareto: Sequence[str] | None = None,
    bits: Sequence[int] | None = None,
    recall: Sequence[str] | None = None,
    placements: Sequence[str] | None = None,
    teacher: str | None = None,
    export: str | None = None,
    adapter: str | None = None,
    precision: str | None = None,
    devices: int | str | None = None,
    num_nodes: int = ProcessOptions.num_nodes,
    distributed: str = ProcessOptions.distributed,
    logger: Any = None,
    out: Path | str | None = SearchCommand.out,
    resume: bool = SearchCommand.resume,
    trust_code: bool = SearchCommand.trust_code,
    quiet: bool = False,
    callbacks: Any = (),
    trainer: Mapping[str, Any] | None = None,
    **sections: Any,
) -> Result:
    """Search for the best hybrid of a space on a task, fine-tune it, compare it and export it.

    Args:
        space: a `SearchSpace`, or the name or path of one.
        task: name of a task; its options (name, preset, data_dir, train, val, test, ...) as a mapping or
            `TaskOptions`; or data: what `mc.task` returns or takes, which is written beside the run folder. Default:
            the recipe's, or lra-listops.
        models: components, instead of a space: names, folders, `ComponentSpec`s or model objects.
        config: name or path of a recipe. Default: the task's own, if there is one.
        preset, data_dir: scale and files of the task.
        base, topology, projector, stages: keys of the space.
        strategy: name of the search strategy.
        set: any recipe keys, as a mapping or as `KEY=VALUE`; the last to be applied.
        seed: of weights, batches and the random path.
        max, min: limits on what the hybrid costs, such as `["parameters=120M", "cache_bytes=64MiB@8192"]`.
        pareto: a quality and costs whose Pareto front is part of the report, such as `["loss", "cache_bytes@8192"]`.
        bits: numbers of bits that the weights of a segment may have, chosen with the path, such as `[16, 8, 4]`.
        recall: weights of synthetic recall beside the validation loss, such as `["copying=0.5@256", "pairs=0.5"]`.
        placements: paths without a search that are fine-tuned too: even, first, last, replace-one, random.
        teacher: a component or another language model whose predictions the fine-tuning learns.
        export: the model that is exported to `hybrid/`: `hybrid`, or `best`, which may also be a component that scores
            better.
        adapter: name of an adapter that is trained in place of the weights of the components.
        precision: `32-true`, `bf16-mixed` or `auto`.
        devices, num_nodes, distributed: processes that train together; each of the others runs the script up to this
            call and ends in it.
        logger: names of the recipe's loggers (csv, tensorboard, wandb, mlflow, trackio), or Lightning loggers in
            addition to these; names of metrics start with the phase, as in `search/loss`. Or a function from a phase's
            name to Lightning loggers.
        out: run folder. Default: a new one under `runs/`.
        resume: resume the run in `out`.
        trust_code: import the ops that a space in a file names by import path, which runs their code. Ops that are
            objects need no trust.
        quiet: print nothing.
        callbacks: Lightning callbacks of all phases of training, or a function from a phase's name to callbacks. A
            callback reads the name as `module.phase`.
        trainer: flags of the Lightning Trainer of all phases, such as `{"profiler": "simple"}`.
        sections: sections of the recipe, as mappings or options objects: scratch, align, search, finetune, adapter,
            selection, baselines, study, run.

    Returns:
        the result; see `Result`.
    """
    arguments = {**locals(), "devices": None if devices is None else str(devices)}
    arguments["logger"], own_loggers = split_loggers(logger)
    user = UserTrainer(callbacks, own_loggers, trainer or {})
    source = TaskSource.of(task)
    specs: Sequence[ComponentSpec] = space.components if isinstance(space, SearchSpace) else ()
    if isinstance(models, Sequence) and not isinstance(models, str):
        specs = tuple(map(ComponentSpec.of, models))
    in_memory = source.data is not None or any(spec.model is not None for spec in specs)
    if in_memory and devices not in (None, 1, "1"):
        raise ManticoreError(
            "several processes read models and data from files; save them and name their folders, or use devices=1"
        )
    if out is None and in_memory:
        arguments["out"] = unused_run_dir(f"{source.name}-{'+'.join(spec.name for spec in specs) or space}")
    folder = None if arguments["out"] is None else out_folder(arguments["out"])
    if folder is not None:
        open_run_dir(folder, resume)
    console = make_console(quiet)
    with (
        source.saved(folder, console) as keys,
        recipe_command(SearchCommand, SEARCH, {**arguments, "task": keys}, console=console) as options,
    ):
        return Result(search_pipeline.run_command(options, console, user), trust_code)


def plan(
    space: SearchSpace | str | Path | None = None,
    task: Any = None,
    *,
    models: Models | None = None,
    config: str | Path | None = PlanCommand.config,
    preset: str | None = None,
    base: str | None = None,
    strategy: str | None = None,
    topology: str | None = None,
    projector: str | None = None,
    stages: int | None = None,
    data_dir: Path | str | Sequence[Path | str] | None = None,
    set: Mapping[str, Any] | Sequence[str] = PlanCommand.overrides,
    seed: int | None = None,
    max: Sequence[str] | None = None,
    min: Sequence[str] | None = None,
    pareto: Sequence[str] | None = None,
    bits: Sequence[int] | None = None,
    recall: Sequence[str] | None = None,
    placements: Sequence[str] | None = None,
    teacher: str | None = None,
    export: str | None = None,
    adapter: str | None = None,
    trust_code: bool = PlanCommand.trust_code,
    quiet: bool = False,
    **sections: Any,
) -> Plan:
    """What `search` with the same arguments would train, and its time, memory and disk, from a few steps of each phase.

    Nothing is written but the data of the task, which is cached.

    Args:
        space: a `SearchSpace`, or the name or path of one.
        task: name of a task; its options (name, preset, data_dir, train, val, test, ...) as a mapping or
            `TaskOptions`; or data: what `mc.task` returns or takes, which is written beside the run folder. Default:
            the recipe's, or lra-listops.
        models: components, instead of a space: names, folders, `ComponentSpec`s or model objects.
        config: name or path of a recipe. Default: the task's own, if there is one.
        preset, data_dir: scale and files of the task.
        base, topology, projector, stages: keys of the space.
        strategy: name of the search strategy.
        set: any recipe keys, as a mapping or as `KEY=VALUE`; the last to be applied.
        seed: of weights, batches and the random path.
        max, min: limits on what the hybrid costs, such as `["parameters=120M", "cache_bytes=64MiB@8192"]`.
        pareto: a quality and costs whose Pareto front is part of the report, such as `["loss", "cache_bytes@8192"]`.
        bits: numbers of bits that the weights of a segment may have, chosen with the path, such as `[16, 8, 4]`.
        recall: weights of synthetic recall beside the validation loss, such as `["copying=0.5@256", "pairs=0.5"]`.
        placements: paths without a search that are fine-tuned too: even, first, last, replace-one, random.
        teacher: a component or another language model whose predictions the fine-tuning learns.
        export: the model that is exported to `hybrid/`: `hybrid`, or `best`, which may also be a component that scores
            better.
        adapter: name of an adapter that is trained in place of the weights of the components.
        trust_code: import the ops that a space in a file names by import path, which runs their code.
        quiet: print nothing.
        sections: sections of the recipe, as for `search`.

    Returns:
        the plan; see `Plan`.
    """
    arguments, console, source = locals(), make_console(quiet), TaskSource.of(task)
    with TemporaryDirectory(prefix="manticore-plan-") as folder:
        out = Path(folder) / "run"
        with (
            source.saved(out, console) as keys,
            recipe_command(PlanCommand, PLAN, {**arguments, "task": keys, "out": out}, console=console) as options,
        ):
            return plan_pipeline.run(options, console)


def compare(
    space: SearchSpace | str | Path | None = None,
    task: Any = CompareCommand.tasks,
    *,
    out: Path | str,
    models: Models | None = None,
    config: str | Path | None = CompareCommand.config,
    preset: str | None = None,
    base: str | None = None,
    strategy: str | None = None,
    topology: str | None = None,
    projector: str | None = None,
    stages: int | None = None,
    data_dir: Path | str | Sequence[Path | str] | None = None,
    set: Mapping[str, Any] | Sequence[str] = CompareCommand.overrides,
    seeds: int | None = None,
    learning_rates: Sequence[float] | None = None,
    workers: int | str = LaunchOptions.workers,
    launcher: str = LaunchOptions.launcher,
    launcher_set: Mapping[str, Any] | Sequence[str] = LaunchOptions.settings,
    baselines: Sequence[str] | None = None,
    budgets: Sequence[str] | None = None,
    all_paths: bool | None = None,
    path_seeds: int | None = None,
    trust_code: bool = CompareCommand.trust_code,
    quiet: bool = False,
    **sections: Any,
) -> StudyResult:
    """Compare the hybrid with baselines over seeds, each at its best learning rate, on equal tokens and operations.

    Args:
        space, models, config, preset, base, strategy, topology, projector, stages, data_dir, set,
            trust_code, quiet, sections: as of `search`.
        task: name of a task, or the first word of several names, such as `mad`; a list of these; the options of one
            task; or data as `mc.task` returns it, which is written beside `out`.
        out: folder of trials, tables and report; the same folder again resumes.
        seeds: number of seeds of weights and batches.
        learning_rates: peak learning rates to try.
        workers: number of processes that run trials, or `auto`.
        launcher: what starts them: `local`, `ray` or `submitit`.
        launcher_set: settings of the launcher, such as `{"num_gpus": 1}`.
        baselines: models to compare the hybrid with.
        budgets: resources of which all models get the same amount: tokens, flops.
        all_paths: train every path of the space from scratch as well.
        path_seeds: number of seeds for that; 0: all.

    Returns:
        the result; its report is `out/report.html`.
    """
    arguments, console = {**locals(), "launcher_set": assignments(launcher_set)}, make_console(quiet)
    names: tuple[str, ...] = ()
    if isinstance(task, list) and not task:
        raise ManticoreError("task is an empty list; name a task, such as lra-listops")
    if isinstance(task, list | tuple) and all(isinstance(name, str) for name in task):
        names, task = tuple(task), None
    with TaskSource.of(task).saved(out_folder(out), console) as keys:
        options_of_task = {key: value for key, value in keys.items() if key != "name"}
        names = (str(keys["name"]),) if "name" in keys else names
        with recipe_command(CompareCommand, COMPARE, {**arguments, "task": options_of_task}, tasks=names) as options:
            return compare_pipeline.run_command(options, console)


def transfer(
    space: SearchSpace | str | Path | None = None,
    *,
    proxy: str | Sequence[str],
    task: Any,
    out: Path | str,
    target_models: Sequence[str | Path] | None = TransferCommand.target_models,
    search_target: bool = TransferCommand.search_target,
    models: Models | None = None,
    config: str | Path | None = TransferCommand.config,
    preset: str | None = None,
    base: str | None = None,
    strategy: str | None = None,
    topology: str | None = None,
    projector: str | None = None,
    stages: int | None = None,
    data_dir: Path | str | Sequence[Path | str] | None = None,
    set: Mapping[str, Any] | Sequence[str] = TransferCommand.overrides,
    seeds: int | None = None,
    learning_rates: Sequence[float] | None = None,
    workers: int | str = LaunchOptions.workers,
    launcher: str = LaunchOptions.launcher,
    launcher_set: Mapping[str, Any] | Sequence[str] = LaunchOptions.settings,
    trust_code: bool = TransferCommand.trust_code,
    quiet: bool = False,
    **sections: Any,
) -> TransferResult:
    """Search on cheap proxy tasks, use the path on a target task, and measure how well the proxies predict it.

    Args:
        space, models, config, preset, base, strategy, topology, projector, stages, set, trust_code,
            quiet, sections: as of `search`; they apply to all tasks.
        proxy: proxy task to search on, or the first word of several, such as `mad`; or several of them.
        task: the target: a name, options, or data as `mc.task` takes it, which is written beside `out`. Options of a
            mapping other than its name and its data_dir apply to the proxies too.
        out: folder of trials, tables and report; the same folder again resumes.
        target_models: models of the target, in the order of the proxies' models that they replace. Default: the same.
        search_target: search on the target too, for comparison.
        data_dir: files of the target.
        seeds, learning_rates, workers, launcher, launcher_set: as of `compare`.

    Returns:
        the result; its report is `out/report.html`.
    """
    arguments, console = {**locals(), "launcher_set": assignments(launcher_set)}, make_console(quiet)
    proxies = name_list((proxy,) if isinstance(proxy, str) else proxy, "proxy", "'mad-compression'")
    models_of_target = None if target_models is None else name_list(target_models, "target_models", "'gpt2'")
    if task is None:
        raise ManticoreError("task is None; name the task that the path is transferred to")
    with TaskSource.of(task).saved(out_folder(out), console) as keys:
        options_of_task = {key: value for key, value in keys.items() if key != "name"}
        fields: dict[str, Any] = {
            "proxies": proxies,
            "target": str(keys.get("name", TaskOptions.name)),
            "target_models": models_of_target,
        }
        with recipe_command(TransferCommand, TRANSFER, {**arguments, "task": options_of_task}, **fields) as options:
            return transfer_pipeline.run_command(options, console)
