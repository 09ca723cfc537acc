"""`manticore bench strategies`: searches by any strategy and selector against the tables of HybridBench."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from rich.console import Console

from manticore import __version__
from manticore.config.loading import from_dotted, resolve, with_current_keys
from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError
from manticore.experiment.budget import path_budget
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.experiment.experiment import Experiment
from manticore.experiment.model_selection import score_paths
from manticore.experiment.phases import run_search
from manticore.experiment.run_dir import RunDir
from manticore.nas.bench import HybridBench
from manticore.report.hybridbench import strategy_tables
from manticore.report.strategy_page import write_strategy_report
from manticore.results.codec import decode, encode
from manticore.results.strategies import BY_ONE_SEED, SearchTrial, StrategyBench, TableFacts
from manticore.studies.launchers import Crew
from manticore.studies.pool import JobProgress
from manticore.studies.preflight import dry_run
from manticore.studies.scheduler import results_of
from manticore.studies.store import JobStore
from manticore.tasks.catalog import load_task
from manticore.tasks.task import Task
from manticore.training.metrics import metrics
from manticore.utils.console import info

FIRST_SEED = 1000
"""Number after which the seeds of the searches begin."""

VERSION = 2
"""Part of every search's job; increased when a change of the code changes the result of a search."""


def run(
    tables: Sequence[str], methods: Sequence[str], seeds: int, threads: int, out: Path, crew: Crew, console: Console
) -> StrategyBench:
    """Search on every table by every method with every seed, and write `strategies.json` and its page to `out`.

    The seeds differ from those of the tables: with the same seed, the noise of a search and that of the table would not
    be independent. Searches whose results are in `out/searches` are not run again.

    Args:
        tables: names or files of tables.
        methods: `STRATEGY[+SELECTOR][@KEY=VALUE]...`, keys being those of a recipe.
        seeds: number of seeds of a search.
        threads: number of CPU threads of each search; 0: torch's choice.
        out: the folder; new, or of an earlier benchmark.
        crew: the processes that run searches.
        console: where progress and results are printed.

    Raises ManticoreError, before a search begins, if a table, a method or the data of a table does not exist, or a
    method cannot search the space of a table; and if a search fails, while the others are kept.
    """
    loaded, store = [HybridBench.load(name) for name in tables], JobStore(out / "searches")
    tasks = [_load_task(table) for table in loaded]
    recipes = [[method_recipe(table, method, threads) for method in methods] for table in loaded]
    for task, of_methods in zip(tasks, recipes, strict=True):
        for recipe in of_methods:
            dry_run(recipe, task, setup_hardware(recipe.run))
    by_digest = {table.digest: table for table in loaded}
    jobs = [
        {"version": VERSION, "table": digest, "method": method, "seed": seed}
        for digest in by_digest
        for method in methods
        for seed in range(FIRST_SEED, FIRST_SEED + seeds)
    ]

    def show(progress: JobProgress) -> None:
        if progress.state in ("finished", "stored"):
            trial = decode(SearchTrial, store.get(progress.job), store.folder)
            info(console, trial_line(trial, by_digest[progress.job["table"]]))

    own_threads = threads or (torch.get_num_threads() // crew.workers or 1 if crew.workers > 1 and crew.is_local else 0)
    results = results_of(jobs, SearchRunner(tuple(tables), own_threads), store, crew.executor, show)
    trials = [decode(SearchTrial, result, store.folder) for result in results]
    facts = {table.name: table_facts(table) for table in loaded}
    result = StrategyBench(__version__, facts, tuple(trials), environment_info())
    result.save(out)
    for page in strategy_tables(result):
        console.print(page.rich())
    info(console, f"  report {write_strategy_report(out)}")
    return result


@dataclass(frozen=True)
class SearchRunner:
    """Runs a search, in this process or in another one.

    Attributes:
        tables: names or files of the tables.
        threads: number of CPU threads; 0: torch's choice.
    """

    tables: tuple[str, ...]
    threads: int

    def __call__(self, job: dict[str, Any]) -> Any:
        """The encoded `SearchTrial` of a job."""
        table, task = next((table, task) for table, task in _tables(self.tables) if table.digest == job["table"])
        recipe = method_recipe(table, job["method"], self.threads)
        recipe = replace(recipe, run=replace(recipe.run, seed=job["seed"]))
        return encode(search_trial(table, job["method"], recipe, task))


@lru_cache(maxsize=1)
def _tables(names: tuple[str, ...]) -> list[tuple[HybridBench, Task]]:
    """The tables and their tasks, once for all searches of a process."""
    tables = [HybridBench.load(name) for name in names]
    return [(table, _load_task(table)) for table in tables]


def _load_task(table: HybridBench) -> Task:
    """The task of a table. Raises ManticoreError if its data has changed since."""
    task = load_task(resolve([with_current_keys(table.recipe)], "auto").task)
    if task.fingerprint() != table.data:
        raise ManticoreError(f"the data of {task.name} is not that of the table '{table.name}'")
    return task


def method_recipe(table: HybridBench, method: str, threads: int = 0) -> Recipe:
    """The recipe of a table with the strategy, the selector and the settings of a method.

    Raises UnknownName and ManticoreError if it names something that does not exist.
    """
    name, *settings = method.split("@")
    strategy, _, selector = name.partition("+")
    keys = [f"search.strategy={strategy}", f"selection.selector={selector or 'auto'}", f"run.threads={threads}"]
    return resolve([with_current_keys(table.recipe), from_dotted([*keys, *settings])], "auto")


def search_trial(table: HybridBench, method: str, recipe: Recipe, task: Task) -> SearchTrial:
    """One search, measured by the table."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        run_dir = RunDir(Path(folder))
        run_dir.checkpoints.mkdir()
        exp = Experiment.open(recipe, run_dir, Console(quiet=True), task, setup_hardware(recipe.run))
        exp = exp.for_component(table.base)
        search = run_search(exp, table.base)
        budget = path_budget(exp)
        scores = score_paths(exp, search, budget)
        path = tuple(scores.best(search.net, budget))
    known = [record.path for record in table.paths]
    by_path = {each: score for each in known if (score := scores.score(each)) > -math.inf}
    tau, rho = table.rank_correlations(by_path) if len(by_path) > 1 else (None, None)
    return SearchTrial(
        table=table.name,
        method=method,
        seed=recipe.run.seed,
        path=path,
        regret=table.regret(path),
        tau=tau,
        rho=rho,
        scored=len(by_path),
        token_share=search.tokens / table.tokens,
        flop_share=search.flops / table.flops,
        seconds=round(time.monotonic() - started, 2),
    )


def table_facts(table: HybridBench) -> TableFacts:
    """A table, and the regrets of choices that need no search."""
    stages = len(table.paths[0].path)
    alone = {name: (name,) * stages for name in dict.fromkeys(name for record in table.paths for name in record.path)}
    known = {record.path for record in table.paths}
    references = {
        "random path": fmean(table.regret(record.path) for record in table.paths),
        **{
            f"always {name}{' (base)' if name == table.base else ''}": table.regret(path)
            for name, path in alone.items()
            if path in known
        },
        "best by validation": table.regret(table.best("val").path),
    }
    agreement = table.seed_agreement()
    if agreement is not None:
        references[BY_ONE_SEED] = agreement.regret
    several = len(table.seeds) > 1
    noise = fmean(stdev(record.test) for record in table.paths) * table.scale if several else 0.0
    return TableFacts(
        task=table.task,
        metric=metrics[table.metric],
        paths=len(table.paths),
        seeds=len(table.seeds),
        best=table.best().path,
        references=references,
        noise=noise,
        seed_tau=agreement and agreement.tau,
        seed_rho=agreement and agreement.rho,
    )


def trial_line(trial: SearchTrial, table: HybridBench) -> str:
    """One search in a line."""
    tau = "none" if trial.tau is None else f"{trial.tau:.2f}"
    return (
        f"  {trial.table} · {trial.method} · seed {trial.seed}: {' · '.join(trial.path)}, regret {trial.regret:.4g} "
        f"{table.unit}, tau {tau}, {trial.token_share:.0%} of the tokens, {trial.seconds:.0f} s"
    )
