"""`manticore evaluate --lm-eval TASKS`: tasks of lm-evaluation-harness, with the results in the card."""

from __future__ import annotations

import warnings
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult
from rich.console import Console

from manticore.config.commands import EvaluateCommand
from manticore.config.loading import with_overrides
from manticore.errors import ManticoreError, UnknownName
from manticore.experiment.environment import setup_hardware
from manticore.export.load import hybrid_folder, is_hybrid, load_language_model
from manticore.kernels import installed
from manticore.report.card_sections import put_results, put_section, update_card
from manticore.report.table import Row, Table
from manticore.utils.console import info
from manticore.utils.formatting import DASH
from manticore.utils.io import write_json

INSTALL = "pip install 'manticore-hybrids[eval]'"
SECTION = "lm-evaluation-harness"

HarnessResults = dict[str, dict[str, Any]]
"""By task, the values that the harness reports: `acc,none`, `acc_stderr,none`, ..."""


def run(options: EvaluateCommand, console: Console) -> HarnessResults:
    """Evaluate a language model on tasks of lm-evaluation-harness; print the results and write them to the card.

    Raises ManticoreError if the harness is not installed, the model is no language model, or a task's data cannot be
    read, and UnknownName for a task that does not exist.
    """
    if find_spec("lm_eval") is None or find_spec("accelerate") is None:
        raise ManticoreError(f"--lm-eval needs lm-evaluation-harness: {INSTALL}")
    options = with_overrides(options)
    hardware = setup_hardware(options.run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        folder = options.lm_eval_folder
        manager = TaskManager(include_path=None if folder is None else str(folder), verbosity="ERROR")
        for name in options.lm_eval:
            if name not in manager.all_tasks:
                raise UnknownName("task of lm-evaluation-harness", name, _similar(name, manager.all_tasks))
        model, tokenizer = load_language_model(options.model, options.trust_code)
        size = min(options.run.eval_batch_size, 16)
        harness_model = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size, device=hardware.accelerator)
        try:
            with installed():
                output = simple_evaluate(
                    model=harness_model,
                    tasks=list(options.lm_eval),
                    task_manager=manager,
                    limit=options.limit,
                    device=hardware.accelerator,
                    log_samples=False,
                    bootstrap_iters=1000,
                )
        except (OSError, ConnectionError) as error:
            reason = " ".join(str(error).split())[:160]
            raise ManticoreError(f"the data of {', '.join(options.lm_eval)} cannot be read ({reason})") from None
    results: HarnessResults = {name: dict(values) for name, values in (output or {})["results"].items()}
    table = results_table(results)
    console.print(table.rich())
    if options.json is not None:
        write_json(options.json, results)
    _add_to_card(options, results, table, console)
    return results


def _similar(name: str, known: list[str]) -> list[str]:
    """The tasks with the nearest names: there are thousands."""
    return get_close_matches(name, known, n=8, cutoff=0.5) or known[:8]


def metric_values(values: dict[str, Any]) -> dict[str, tuple[float, float | None]]:
    """Value and standard error by metric of one task's results; filters other than `none` follow the metric's name."""
    out = {}
    for key, value in values.items():
        metric, comma, variant = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = values.get(f"{metric}_stderr,{variant}")
        name = metric if variant == "none" else f"{metric} ({variant})"
        out[name] = (float(value), float(error) if isinstance(error, int | float) else None)
    return out


def results_table(results: HarnessResults) -> Table:
    """A row for each task and metric."""
    rows = [
        Row((task, metric, f"{value:.4f}", DASH if error is None else f"{error:.4f}"))
        for task, values in results.items()
        for metric, (value, error) in metric_values(values).items()
    ]
    return Table(("task", "metric", "value", "standard error"), tuple(rows))


def _add_to_card(options: EvaluateCommand, results: HarnessResults, table: Table, console: Console) -> None:
    path = Path(options.model).expanduser()
    if not is_hybrid(path):
        return
    folder = hybrid_folder(path)
    scores = [
        EvalResult(
            task_type="text-generation",
            dataset_type=task,
            dataset_name=task,
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for task, values in results.items()
        for metric, (value, _) in metric_values(values).items()
    ]
    limit = "" if options.limit is None else f" The first {options.limit} examples of each task: not a full evaluation."
    body = f"`manticore evaluate --lm-eval {','.join(options.lm_eval)}`.{limit}\n\n{table.markdown()}"
    shown = [] if options.limit is not None else scores  # a model index has results of whole tasks only

    def change(card: str) -> str:
        card = put_section(card, SECTION, body)
        return put_results(card, folder.resolve().name, shown) if shown else card

    if update_card(folder, change):
        info(console, f"added to the card {folder / 'README.md'}")
