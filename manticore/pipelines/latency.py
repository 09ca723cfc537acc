"""`manticore bench latency`: time the parts of a search space on this machine, and add the times to its table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from manticore.bench.latency import Timer, modes_of, supernet_parts, time_parts, workloads
from manticore.components.context_length import component_context_length
from manticore.config.commands import RecipeCommand
from manticore.config.loading import load_command, read_recipe
from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import RunDir
from manticore.nas.latency import LatencyTable, Machine, PartLatency, latency_file
from manticore.nas.supernet import Supernet
from manticore.report.table import Row, Table
from manticore.utils.console import info
from manticore.utils.devices import choose_device
from manticore.utils.formatting import counted


def run(
    what: RecipeCommand | Path,
    device: str,
    lengths: Sequence[int],
    batches: Sequence[int],
    dtypes: Sequence[str],
    repeats: int,
    console: Console,
) -> LatencyTable:
    """Time the parts of a search space, and save them in the table of this machine.

    Args:
        what: the options of a search, or the folder of a run.
        device: `cpu` or `cuda`.
        lengths: numbers of tokens; empty: an eighth to all of the task's longest sequence.
        batches: numbers of sequences.
        dtypes: types of weights and stream.
        repeats: timed runs of a part.
        console: where progress is printed.

    Raises ManticoreError if the components cannot be loaded, for more tokens than one has positions, and BadFile if the
    table of this machine is damaged.
    """
    recipe = _recipe(what)
    timer = Timer(choose_device(device), repeats)
    measured: list[PartLatency] = []
    with TemporaryDirectory(prefix="manticore-latency-") as folder:
        exp = Experiment.open(recipe, RunDir(Path(folder)), console)
        machine = Machine.current(timer.device)  # after `open`, which sets the number of threads
        file = latency_file(machine)
        table = LatencyTable.load(file) if file.is_file() else LatencyTable(machine)
        if table.machine != machine:
            raise ManticoreError(f"the latency table {file} is of another machine, {table.machine}; name another file")
        chosen = _lengths(exp, lengths)
        seen: set[str] = set()
        for net in _supernets(exp):
            parts = [part for part in supernet_parts(net) if part.digest not in seen]
            seen.update(part.digest for part in parts)
            for workload in workloads(modes_of(net), batches, chosen, dtypes) if parts else ():
                info(console, f"timing {counted(len(parts), 'part')}: {workload.mode}, {workload.length:,} tokens")
                measured += time_parts(parts, net, workload, timer)
        for entry in measured:
            table.add(entry)
    table.save(file)
    console.print(_table(measured).rich())
    info(console, f"latency table of {machine}: {file}")
    return table


def _recipe(what: RecipeCommand | Path) -> Recipe:
    if isinstance(what, RecipeCommand):
        return load_command(what).recipe
    if not (file := RunDir(what).recipe).is_file():
        raise ManticoreError(f"{what} is no run folder: there is no {file.name} in it")
    return read_recipe(file)


def _lengths(exp: Experiment, lengths: Sequence[int]) -> list[int]:
    longest = exp.task.max_length
    chosen = sorted({*lengths} or {max(1, longest // divisor) for divisor in (8, 4, 2, 1)})
    for component in exp.components:
        limit = component_context_length(component)
        if limit is not None and chosen[-1] > limit:
            raise ManticoreError(f"--lengths {chosen[-1]}: '{component.name}' has {limit} positions")
    return chosen


def _supernets(exp: Experiment) -> Iterator[Supernet]:
    """The supernets whose paths a search may weigh: of each base, and of each component alone."""
    space = exp.space
    for base in [space.base] if space.base else space.names:
        own = exp.for_component(base)
        yield own.supernet(base, "softmax", "latency", adapted=False)
    for name in space.names:
        own = exp.for_component(name)
        yield own.supernet(name, "softmax", "latency", alone=True, adapted=False)


def _table(measured: Sequence[PartLatency]) -> Table:
    rows = [
        Row((entry.kind, entry.name, entry.mode, f"{entry.batch} x {length:,}", entry.dtype, f"{ms:.3g}"))
        for entry in measured
        for length, ms in entry.ms.items()
    ]
    return Table(("part", "of", "mode", "tokens", "type", "ms"), tuple(rows), "latency of the parts")
