"""`manticore select`: another path, or a Pareto front, from a finished search and its scores. Nothing is searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from manticore.config.model_commands import SelectCommand
from manticore.errors import ManticoreError
from manticore.experiment.bit_front import find_bit_front
from manticore.experiment.bits import BitChoice, check_bit_search, select_with_bits
from manticore.experiment.budget import with_numbers
from manticore.experiment.experiment import Experiment
from manticore.experiment.pareto import find_front
from manticore.experiment.run_dir import finished_run
from manticore.experiment.searched import open_finished, searched_supernet
from manticore.nas.architecture import Architecture
from manticore.nas.bits import FULL, BitCosts, BitPath
from manticore.nas.cost import PathCosts
from manticore.nas.resources import Resource, parse_limits
from manticore.nas.selection import Budget
from manticore.pipelines.finetune import FinetuneResult, run_from
from manticore.report.run.front import front_table
from manticore.report.run.page import write_run_report
from manticore.report.run.reading import read_run
from manticore.report.table import Row, Table
from manticore.results.pareto import ParetoFront
from manticore.results.path_scores import SavedScores
from manticore.results.search import SearchResult
from manticore.utils.console import info
from manticore.utils.path_text import path_text


@dataclass(frozen=True)
class Selection:
    """The paths that were selected.

    Attributes:
        paths: the path, or those of the front by rising cost, each once.
        front: the front; None for a single path.
        trained: the paths after fine-tuning, if there is a folder for them.
    """

    paths: tuple[tuple[str, ...], ...]
    front: ParetoFront | None
    trained: tuple[FinetuneResult, ...] = ()


def run(options: SelectCommand, console: Console) -> Selection:
    """Select from the scores of a run, and fine-tune and export what was selected if there is a folder for it.

    A front is saved as `pareto.json` in the run folder, and the report page is written again.

    Raises ManticoreError if the run has no scores, or none of its paths is within the limits.
    """
    run_dir = finished_run(options.run)
    if not (run_dir.root / SavedScores.FILE).exists():
        raise ManticoreError(
            f"{options.run} has no scores of paths: there is no {SavedScores.FILE} in it; search again"
        )
    saved = SavedScores.load(run_dir.root)
    exp = open_finished(options.run, console, options.trust_code)
    net = exp.skeleton(SearchResult.load(run_dir.root).base)
    budget = Budget(
        with_numbers(exp, parse_limits(options.max, "--max", numbers=True)),
        with_numbers(exp, parse_limits(options.min, "--min", numbers=True)),
        exp.task.max_length,
    )
    selected, costs = Architecture.load(run_dir.architecture).path, PathCosts(net, budget.length)
    front, paths, chosen_bits = None, tuple[tuple[str, ...], ...](), tuple[int, ...]()
    if options.bits and not options.pareto:
        choice = _with_bits(exp, saved, budget, options.bits)
        paths, chosen_bits = (choice.chosen.path,), choice.chosen.bits
        console.print(_table(saved, costs, budget, paths[0], selected).rich())
        info(console, choice.summary)
    elif options.pareto:
        if options.bits:
            front = _bit_front(exp, saved, options, budget)
        else:
            budget.check(costs)
            front = find_front(exp, net, saved, options.pareto, budget, selected)
        front.save(run_dir.root)
        write_run_report(read_run(run_dir.root))
        paths = tuple(dict.fromkeys(point.path for point in front.front))  # bits change no exported weight
        console.print(front_table(front).rich())
        info(console, f"report: {run_dir.report}")
    else:
        budget.check(costs)
        paths = (tuple(saved.scores.best(net, budget)),)
        console.print(_table(saved, costs, budget, paths[0], selected).rich())
    if options.out is None:
        return Selection(paths, front)
    trained = []
    for number, path in enumerate(paths, start=1):
        out = options.out if front is None else options.out / str(number)
        recipe = exp.recipe
        info(console, f"{path_text(path)}: {out}")
        trained.append(
            run_from(options.run, path, recipe.finetune, recipe.run, out, console, options.resume, options.trust_code)
        )
        if options.bits:
            numbers = "BITS" if front is not None else ",".join(map(str, chosen_bits))
            command = f"manticore export {out} --quantize torchao --bits {numbers} --out FOLDER"
            hint = "" if set(chosen_bits) == {FULL} else f". {command} writes them quantized"
            info(console, f"{out}: the weights are in full precision; bits were simulated in the selection{hint}")
    return Selection(paths, front, tuple(trained))


def _with_bits(exp: Experiment, saved: SavedScores, budget: Budget, bits: Sequence[int]) -> BitChoice:
    """The path and its bits, with the weights of the search."""
    check_bit_search(saved.selector, bits)
    net = searched_supernet(exp, SearchResult.load(exp.run_dir.root).base)
    budget.check(BitCosts(net, budget.length, bits))
    return select_with_bits(exp.for_search(), net, saved.scores, budget, bits)


def _bit_front(exp: Experiment, saved: SavedScores, options: SelectCommand, budget: Budget) -> ParetoFront:
    """The front over paths and bits, with the weights of the search."""
    check_bit_search(saved.selector, options.bits)
    architecture = Architecture.load(exp.run_dir.architecture)
    net = searched_supernet(exp, SearchResult.load(exp.run_dir.root).base)
    budget.check(BitCosts(net, budget.length, options.bits))
    selected = BitPath(architecture.path, architecture.bits)
    return find_bit_front(exp.for_search(), net, saved, options.pareto, options.bits, budget, selected)


def _table(
    saved: SavedScores, costs: PathCosts, budget: Budget, path: tuple[str, ...], selected: tuple[str, ...]
) -> Table:
    """The path beside the one that the run selected."""
    resources = list(dict.fromkeys([*budget.resources, Resource("parameters"), Resource("cache_bytes", budget.length)]))

    def row(name: str, of: tuple[str, ...]) -> Row:
        values = (resource.number(costs.cost(of, resource)) for resource in resources)
        return Row((f"{name}: {path_text(of)}", f"{saved.scores.score(of):.4f}", *values), emphasized=name == "path")

    columns = ("", "score", *map(str, resources))
    return Table(
        columns, (row("path", path), row("the run's", selected)), f"selected by the scores of {saved.selector}"
    )
