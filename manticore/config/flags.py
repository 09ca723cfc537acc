"""The flags of every command, as tables from a flag to the field of an options dataclass that it sets.

Dots lead into nested dataclasses, and a name without dashes is a positional argument. The command line makes parsers
from these tables (`manticore/cli/options.py`). The functions of `manticore.api` have the same arguments, named like the
flags: `--batch-size` is `batch_size`. Importing this module imports neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from manticore.errors import ManticoreError, shown
from manticore.utils.fields import from_mapping

T = TypeVar("T")
Flags = Mapping[str, str]

RECIPE: Flags = {
    "--models": "keys.space.components",
    "--config": "config",
    "--space": "space",
    "--preset": "keys.task.preset",
    "--base": "keys.space.base",
    "--strategy": "keys.search.strategy",
    "--topology": "keys.space.topology",
    "--projector": "keys.space.projector",
    "--stages": "keys.space.stages",
    "--data-dir": "keys.task.data_dir",
    "--set": "overrides",
    "--trust-code": "trust_code",
}
"""Flags of every command that runs recipes."""

LAUNCH: Flags = {
    "--workers": "launch.workers",
    "--launcher": "launch.launcher",
    "--launcher-set": "launch.settings",
}
"""Flags of every command that runs trials, for the processes that run them."""

STUDY: Flags = {
    "--seeds": "keys.study.seeds",
    "--learning-rates": "keys.study.learning_rates",
    **LAUNCH,
    "--out": "out",
}
"""Flags of every command that runs trials."""

PROCESSES: Flags = {
    "--devices": "processes.devices",
    "--num-nodes": "processes.num_nodes",
    "--distributed": "processes.distributed",
}
"""Flags of every command that trains in several processes."""

SEARCH: Flags = {
    "--task": "keys.task.name",
    **RECIPE,
    "--seed": "keys.run.seed",
    "--max": "keys.selection.max",
    "--min": "keys.selection.min",
    "--pareto": "keys.selection.pareto",
    "--bits": "keys.selection.bits",
    "--recall": "keys.selection.recall",
    "--placements": "keys.baselines.placements",
    "--teacher": "keys.finetune.teacher",
    "--export": "keys.selection.export",
    "--adapter": "keys.adapter.name",
    "--precision": "keys.run.precision",
    **PROCESSES,
    "--logger": "keys.run.logger",
    "--out": "out",
    "--resume": "resume",
}

PLAN: Flags = {
    flag: key
    for flag, key in SEARCH.items()
    if flag not in ("--precision", *PROCESSES, "--logger", "--out", "--resume")
}

COMPARE: Flags = {
    "--task": "tasks",
    **RECIPE,
    **STUDY,
    "--baselines": "keys.study.baselines",
    "--budgets": "keys.study.budgets",
    "--all-paths": "keys.study.paths",
    "--path-seeds": "keys.study.path_seeds",
}

TRANSFER: Flags = {
    "--proxy": "proxies",
    "--task": "target",
    "--target-models": "target_models",
    "--search-target": "search_target",
    **RECIPE,
    **STUDY,
}

SELECT: Flags = {
    "run": "run",
    "--max": "max",
    "--min": "min",
    "--pareto": "pareto",
    "--bits": "bits",
    "--out": "out",
    "--resume": "resume",
    "--trust-code": "trust_code",
}

PRETRAIN: Flags = {
    "--config": "config",
    "--text": "text",
    "--tokenizer": "tokenizer",
    "--decontaminate": "decontaminate",
    "--adapter": "adapter",
    "--precision": "precision",
    **PROCESSES,
    "--out": "out",
    "--resume": "resume",
    "--set": "overrides",
}

ALIGN: Flags = {
    "--models": "space.components",
    "--base": "space.base",
    "--stages": "stages",
    "--for-task": "for_task",
    "--text": "text",
    "--target-text": "target_text",
    "--target-share": "target_share",
    "--tokens": "align.tokens",
    "--length": "length",
    "--steps": "steps",
    "--projector": "space.projector",
    "--bypass": "align.bypass",
    "--rank": "rank",
    "--seed": "seed",
    "--device": "device",
    "--out": "out",
}

GROW: Flags = {
    "model": "model",
    "--mixer": "mixer",
    "--text": "text",
    "--layers": "layers",
    "--tokens": "tokens",
    "--length": "length",
    "--start": "start",
    "--ridge": "ridge",
    "--steps": "steps",
    "--lr": "lr",
    "--batch-size": "batch_size",
    "--expand": "expand",
    "--state-size": "state_size",
    "--heads": "heads",
    "--groups": "groups",
    "--cache-gb": "cache_gb",
    "--precision": "precision",
    "--workers": "workers",
    "--seed": "seed",
    "--out": "out",
}

FINETUNE: Flags = {
    "hybrid": "hybrid",
    "--task": "task.name",
    "--preset": "task.preset",
    "--data-dir": "task.data_dir",
    "--out": "out",
    "--steps": "finetune.steps",
    "--lr": "finetune.weights.lr",
    "--batch-size": "finetune.batch_size",
    "--micro-batch-size": "run.micro_batch_size",
    "--precision": "run.precision",
    **PROCESSES,
    "--seed": "run.seed",
    "--adapter": "adapter.name",
    "--keep-adapter": "keep_adapter",
    "--teacher": "finetune.teacher",
    "--leave-one-out": "leave_one_out",
    "--set": "overrides",
    "--resume": "resume",
    "--trust-code": "trust_code",
}

EVALUATE: Flags = {
    "model": "model",
    "--task": "task.name",
    "--preset": "task.preset",
    "--data-dir": "task.data_dir",
    "--batch-size": "run.eval_batch_size",
    "--set": "overrides",
    "--json": "json",
    "--trust-code": "trust_code",
}

CHAT: Flags = {
    "model": "model",
    "--max-new-tokens": "sampling.max_new_tokens",
    "--temperature": "sampling.temperature",
    "--top-p": "sampling.top_p",
    "--top-k": "sampling.top_k",
    "--seed": "sampling.seed",
    "--trust-code": "trust_code",
}

EVALUATE_OTHERS: Flags = {
    "--lm-eval": "lm_eval",
    "--lm-eval-folder": "lm_eval_folder",
    "--limit": "limit",
    "--generation": "generation",
    "--lengths": "lengths",
    "--examples": "examples",
}
"""Flags of `manticore evaluate` for scores that are not those of a task of this package; Python calls the pipelines."""

GENERATE: Flags = {
    "model": "model",
    "--prompt": "prompt",
    "--prompt-file": "prompt_file",
    "--batch": "batch",
    "--json": "json",
    "--max-new-tokens": "sampling.max_new_tokens",
    "--temperature": "sampling.temperature",
    "--top-p": "sampling.top_p",
    "--top-k": "sampling.top_k",
    "--num-beams": "sampling.num_beams",
    "--seed": "sampling.seed",
    "--trust-code": "trust_code",
}

EXPORT: Flags = {
    "run": "run",
    "--models": "models",
    "--base": "base",
    "--projectors": "projectors",
    "--path": "path",
    "--trained": "trained",
    "--out": "out",
    "--trust-code": "trust_code",
    "--native": "native",
    "--adapters": "adapters",
    "--lines": "lines",
    "--lines-control": "lines_control",
    "--quantize": "quantize",
    "--bits": "bits",
}

PUSH: Flags = {
    "model": "model",
    "repo": "repo",
    "--private": "private",
    "--license": "license",
    "--message": "message",
    "--check": "check",
    "--dry-run": "dry_run",
}

REPORT: Flags = {"folder": "folder", "--analyze": "analyze", "--trust-code": "trust_code"}

WATCH: Flags = {"--watch": "watch", "--port": "port", "--open": "open"}
"""Flags of `manticore report` that serve the page; only the command line has them."""


def argument_name(flag: str) -> str:
    """The name of a flag as an argument in Python: `--batch-size` is `batch_size`."""
    return flag.lstrip("-").replace("-", "_")


def nested(flags: Flags, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by field, nested like the dataclasses, from values by dotted field; those that are None are left out."""
    out: dict[str, Any] = {}
    for key in flags.values():
        value = values[key]
        if value is not None:
            *parents, name = key.split(".")
            section = out
            for parent in parents:
                section = section.setdefault(parent, {})
            section[name] = value
    return out


def command_options(kind: type[T], flags: Flags, arguments: Mapping[str, Any], **more: Any) -> T:
    """The options of a command from arguments of Python.

    Args:
        kind: dataclass of the options.
        flags: table of the command.
        arguments: values by the names of arguments; None stands for the default.
        more: fields that replace those of the table.

    Raises as `from_mapping` does.
    """
    values = {key: arguments[argument_name(flag)] for flag, key in flags.items()}
    return from_mapping(kind, {**nested(flags, values), **more}, "option")


def assignments(settings: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """The argument `set` as `--set` has it: `{"search.steps": 100}` and `["search.steps=100"]` are the same."""
    if isinstance(settings, str):
        return (settings,)
    if isinstance(settings, Mapping):
        return tuple(f"{key}={_written(key, value)}" for key, value in settings.items())
    if not isinstance(settings, Sequence) or not all(isinstance(item, str) for item in settings):
        raise ManticoreError(f"set is a mapping such as {{'search.steps': 100}}, or KEY=VALUE, not {shown(settings)}")
    return tuple(settings)


def _written(key: object, value: Any) -> str:
    """A value as `--set` reads it. Raises ManticoreError if it is no plain data."""
    try:
        return json.dumps(value, default=lambda item: str(item) if isinstance(item, Path) else item.tolist())
    except (AttributeError, TypeError, ValueError):
        raise ManticoreError(f"set: the value of {key} must be plain data, not {shown(value)}") from None
