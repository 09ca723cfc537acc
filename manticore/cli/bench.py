"""`manticore bench`: times of kernels, search steps and parts of hybrids; HybridBench, and searches measured by it."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import LAUNCH, RECIPE
from manticore.config.tool_commands import BenchCommand
from manticore.errors import ManticoreError, UnknownName

FLAGS = {
    "benchmark": "benchmark",
    "subject": "subject",
    "--task": "recipe.keys.task.name",
    **{flag: f"recipe.{key}" for flag, key in RECIPE.items() if flag not in ("--models", "--config", "--strategy")},
    "--lengths": "lengths",
    "--batches": "batches",
    "--dtypes": "dtypes",
    "--config": "config",
    "--table": "table",
    "--method": "method",
    "--seeds": "seeds",
    **LAUNCH,
    "--out": "out",
    "--case": "case",
    "--aot": "aot",
    "--quick": "quick",
    "--repeats": "repeats",
    "--budget": "budget",
    "--threads": "threads",
    "--width": "width",
    "--layers": "layers",
    "--batch": "batch",
    "--length": "length",
    "--device": "device",
    "--json": "json",
}


def add(commands: Any) -> None:
    """Add `manticore bench` to the subparsers."""
    command(
        commands,
        "bench",
        BenchCommand,
        FLAGS,
        run,
        "time kernels, search steps and parts of hybrids; measure searches against tables of every path",
        examples=(
            "manticore bench kernels",
            "manticore bench kernels --case scan,conv --json here.json",
            "manticore bench kernels --aot --json kernels-aot.json",
            "manticore bench search --width 256 --length 512",
            "manticore bench latency gpt-neo,mamba --task lra-listops --lengths 512,1024,2048",
            "manticore bench latency runs/first --lengths 512,2048",
            "manticore bench table --config hybridbench/listops --workers 2",
            "manticore bench strategies --table mad-fuzzy-recall --method darts,halving,darts+evaluated",
        ),
        notes="All cases of kernels take minutes, because the reference implementations are slow. The implementations "
        "of a case are timed in turns in one run, and a ratio compares them. Close other programs first: ratios "
        "hold on a busy machine, seconds do not. With pip install mambapy its kernels are timed too.",
    )


def run(options: BenchCommand) -> None:
    """Run a benchmark, print its tables and write its numbers."""
    if options.benchmark in ("table", "strategies"):
        _hybridbench(options)
        return
    import torch

    from manticore.experiment.environment import environment_info
    from manticore.utils.io import write_json

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ManticoreError("--device cuda: torch sees no GPU; allowed here: cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.benchmark == "latency":
        _latency(options)
        return
    machine = {**environment_info(), "threads": torch.get_num_threads()}
    result = (_kernels if options.benchmark == "kernels" else _search)(options)
    if options.json is not None:
        record = {"benchmark": options.benchmark, "machine": machine, "quick": options.quick, **result}
        write_json(options.json, record)


def _hybridbench(options: BenchCommand) -> None:
    from manticore.pipelines import hybridbench, strategy_bench
    from manticore.studies.launchers import start_crew
    from manticore.utils.console import make_console

    threads = options.threads or 0
    with start_crew(options.launch, options.out) as crew:
        if options.benchmark == "table":
            hybridbench.make_tables(options.config, options.out, crew, threads, make_console())
        else:
            strategy_bench.run(options.table, options.method, options.seeds, threads, options.out, crew, make_console())


def _latency(options: BenchCommand) -> None:
    from manticore.pipelines import latency
    from manticore.utils.console import make_console

    measured = (options.lengths, options.batches, options.dtypes)
    latency.run(options.measured, options.device, *measured, options.repeats, make_console())


def _kernels(options: BenchCommand) -> dict[str, Any]:
    from manticore.bench.kernels import CASES
    from manticore.bench.run import bench_aot, bench_kernels
    from manticore.utils.console import make_console

    if options.aot:
        return bench_aot(options.quick, make_console())
    known = {case.name: case for case in CASES}
    names = options.case or list(known)
    for name in names:
        if name not in known:
            raise UnknownName("case", name, known)
    cases, scaling = [known[name] for name in names], not options.case
    return bench_kernels(cases, options.repeats, options.budget, options.quick, make_console(), scaling)


def _search(options: BenchCommand) -> dict[str, Any]:
    from manticore.bench.run import bench_search
    from manticore.utils.console import make_console

    small = {"width": 32, "layers": 4, "batch": 2, "length": 32}
    size = small if options.quick else {name: getattr(options, name) for name in small}
    return bench_search(**size, repeats=options.repeats, device=options.device, console=make_console())
