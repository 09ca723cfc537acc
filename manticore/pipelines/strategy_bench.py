"""`manticore bench strategies`: searches by any strategy and selector against the tables of HybridBench."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console

from manticore import __version__
from manticore.config.loading import from_dotted, resolve
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
from manticore.results.codec import decode, encode
from manticore.results.strategies import SearchTrial, StrategyBench, TableFacts
from manticore.tasks.catalog import load_task
from manticore.tasks.task import Task
from manticore.utils.console import info
from manticore.utils.io import read_json, slug, write_json


def run(
    tables: Sequence[str], methods: Sequence[str], seeds: int, threads: int, out: Path, console: Console
) -> StrategyBench:
    """Search on every table by every method with every seed, and write `strategies.json` to `out`.

    Searches whose results are in `out/searches` are not run again.

    Args:
        tables: names or files of tables.
        methods: `STRATEGY[+SELECTOR][@KEY=VALUE,...]`, keys being those of a recipe.
        seeds: number of seeds of a search.
        threads: number of CPU threads; 0: torch's choice.
        out: the folder; new, or of an earlier benchmark.
        console: where progress and results are printed.

    Raises ManticoreError if a table, a method or the data of a table does not exist.
    """
    loaded = [HybridBench.load(name) for name in tables]
    recipes = [[method_recipe(table, method) for method in methods] for table in loaded]
    trials = []
    for table, of_methods in zip(loaded, recipes, strict=True):
        task = load_task(of_methods[0].task)
        if task.fingerprint() != table.data:
            raise ManticoreError(f"the data of {task.name} is not that of the table '{table.name}'")
        for method, recipe in zip(methods, of_methods, strict=True):
            for seed in range(seeds):
                file = out / "searches" / f"{table.name}-{slug(method)}-{seed}.json"
                if not file.exists():
                    own = replace(recipe, run=replace(recipe.run, seed=seed, threads=threads))
                    trial = search_trial(table, method, own, task)
                    write_json(file, encode(trial))
                trials.append(decode(SearchTrial, read_json(file), file))
                info(console, trial_line(trials[-1], table))
    facts = {table.name: table_facts(table) for table in loaded}
    result = StrategyBench(__version__, facts, tuple(trials), environment_info())
    result.save(out)
    for page in strategy_tables(result):
        console.print(page.rich())
    return result


def method_recipe(table: HybridBench, method: str) -> Recipe:
    """The recipe of a table with the strategy, the selector and the settings of a method.

    Raises UnknownName and ManticoreError if it names something that does not exist.
    """
    name, _, settings = method.partition("@")
    strategy, _, selector = name.partition("+")
    keys = [f"search.strategy={strategy}", *([f"selection.selector={selector}"] if selector else [])]
    keys += [setting for setting in settings.split(",") if setting]
    return resolve([table.recipe, from_dotted(keys)], "auto")


def search_trial(table: HybridBench, method: str, recipe: Recipe, task: Task) -> SearchTrial:
    """One search, and what the table says of the path that it selects."""
    with tempfile.TemporaryDirectory() as folder:
        run_dir = RunDir(Path(folder))
        run_dir.checkpoints.mkdir()
        exp = Experiment.open(recipe, run_dir, Console(quiet=True), task, setup_hardware(recipe.run))
        exp = exp.for_component(table.base)
        search = run_search(exp, table.base)
        scores = score_paths(exp, search)
        path = tuple(scores.best(search.net, path_budget(exp)))
    known = [record.path for record in table.paths]
    by_path = {each: score for each in known if (score := scores.score(each)) > float("-inf")}
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
        seconds=round(search.seconds, 2),
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
    several = len(table.seeds) > 1
    noise = fmean(stdev(record.test) for record in table.paths) * table.scale if several else 0.0
    best = table.best().path
    return TableFacts(table.task, table.unit, len(table.paths), len(table.seeds), best, references, noise)


def trial_line(trial: SearchTrial, table: HybridBench) -> str:
    """One search in a line."""
    tau = "none" if trial.tau is None else f"{trial.tau:.2f}"
    return (
        f"  {trial.table} · {trial.method} · seed {trial.seed}: {' · '.join(trial.path)}, regret {trial.regret:.4g} "
        f"{table.unit}, tau {tau}, {trial.token_share:.0%} of the tokens, {trial.seconds:.0f} s"
    )
