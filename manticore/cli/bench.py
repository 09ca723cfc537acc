"""`manticore bench`: times of kernels and of a search step here, beside what they replace."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import BenchCommand
from manticore.errors import ManticoreError, UnknownName

FLAGS = {
    "benchmark": "benchmark",
    "--case": "case",
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
        "time the kernels, or a search step, against what they replace",
        examples=(
            "manticore bench kernels",
            "manticore bench kernels --case scan,conv --json here.json",
            "manticore bench search --width 256 --length 512",
        ),
        notes="All cases of kernels take minutes, because the reference implementations are slow. The implementations "
        "of a case are timed in turns in one run, and a ratio compares them. Close other programs first: ratios "
        "hold on a busy machine, seconds do not. With pip install mambapy its kernels are timed too.",
    )


def run(options: BenchCommand) -> None:
    """Run a benchmark, print its tables and write its numbers."""
    import torch

    from manticore.experiment.environment import environment_info
    from manticore.utils.io import write_json

    if options.device == "cuda" and not torch.cuda.is_available():
        raise ManticoreError("--device cuda: torch sees no GPU; allowed here: cpu")
    if options.threads:
        torch.set_num_threads(options.threads)
    machine = {**environment_info(), "threads": torch.get_num_threads()}
    result = (_kernels if options.benchmark == "kernels" else _search)(options)
    if options.json is not None:
        record = {"benchmark": options.benchmark, "machine": machine, "quick": options.quick, **result}
        write_json(options.json, record)


def _kernels(options: BenchCommand) -> dict[str, Any]:
    from manticore.bench import facts, run, tables
    from manticore.bench.kernels import CASES
    from manticore.utils.console import make_console

    known = {case.name: case for case in CASES}
    wanted = options.case or list(known)
    for name in wanted:
        if name not in known:
            raise UnknownName("case", name, known)
    console = make_console()
    chosen = facts.choices("cpu")
    console.print(tables.choices(chosen))
    rows = run.run_cases([known[name] for name in wanted], options.repeats, options.budget, options.quick, console)
    console.print(tables.races(rows))
    result: dict[str, Any] = {"backends": chosen, "rows": rows}
    if not options.case:
        result["growth"] = facts.growth(options.repeats, options.quick)
        console.print(tables.growth(result["growth"]))
        result["bound"] = facts.distance_from_bound(options.repeats, options.quick)
        exponentials = tables.seconds(result["bound"]["exponentials_seconds"])
        console.print(
            f"scan, forward and backward: {result['bound']['times_the_bound']:.2f} times its exponentials alone "
            f"({exponentials}), which no scan can do without"
        )
        result["first_call_seconds"] = facts.first_call()
        console.print(f"first call, compiling everything: {tables.seconds(result['first_call_seconds'])}, once")
    return result


def _search(options: BenchCommand) -> dict[str, Any]:
    from manticore.bench import tables
    from manticore.bench.search_step import race_steps
    from manticore.utils.console import make_console

    small = {"width": 32, "layers": 4, "batch": 2, "length": 32}
    full = {name: getattr(options, name) for name in small}
    size = small if options.quick else full
    rows = race_steps(**size, repeats=options.repeats, device=options.device)
    make_console().print(tables.steps(rows))
    return {"size": size, "rows": rows}
