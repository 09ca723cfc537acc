"""`manticore bench`: how fast the kernels and the search are here, against what they replace."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import above_zero, at_least, command
from manticore.errors import ManticoreError, UnknownName
from manticore.utils.console import make_console

WHAT = ("kernels", "search")


def add(commands: Any) -> None:
    """The words of `manticore bench`."""
    made = command(
        commands,
        "bench",
        run,
        "time our kernels, or a search step, against what they replace",
        "manticore bench kernels                          every case; minutes, because the other sides are slow\n"
        "  manticore bench kernels --case scan,conv --json here.json\n"
        "  manticore bench search --width 256 --length 512\n"
        "\nBoth sides of a case are timed in turns in one run; a ratio says how much faster ours is. Close other\n"
        "programs first: ratios hold on a busy machine, seconds do not. pip install mambapy for its sides.",
    )
    made.add_argument("what", metavar="WHAT", help="kernels or search")
    made.add_argument("--case", metavar="C,C", help="kernels: only these cases (default: all)")
    made.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, not how fast it is")
    made.add_argument("--repeats", type=at_least(1), default=5, metavar="N", help="timed runs of a side (default 5)")
    made.add_argument(
        "--budget",
        type=above_zero,
        default=60.0,
        metavar="S",
        help="kernels: a side that has used this many seconds sits out further runs (default 60)",
    )
    made.add_argument("--threads", type=at_least(1), metavar="N", help="threads (default: torch's)")
    made.add_argument("--width", type=at_least(8), default=256, metavar="N", help="search: features (default 256)")
    made.add_argument("--layers", type=at_least(4), default=8, metavar="N", help="search: GPT-Neo layers (default 8)")
    made.add_argument("--batch", type=at_least(1), default=4, metavar="N", help="search: sequences (default 4)")
    made.add_argument("--length", type=at_least(8), default=512, metavar="N", help="search: tokens (default 512)")
    made.add_argument("--device", default="cpu", metavar="D", help="search: cpu (default) or cuda")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here as well")


def run(given: argparse.Namespace) -> None:
    """`manticore bench`."""
    if given.what not in WHAT:
        raise UnknownName("benchmark", given.what, WHAT)
    import torch

    from manticore.experiment.environment import environment_info
    from manticore.utils.io import write_json

    if given.device != "cpu" and not (given.device == "cuda" and torch.cuda.is_available()):
        raise ManticoreError(f"--device {given.device} is not here; allowed: cpu, or cuda where torch sees a GPU")
    if given.json is not None and not given.json.parent.is_dir():
        raise ManticoreError(f"--json {given.json}: there is no folder {given.json.parent}")
    if given.threads:
        torch.set_num_threads(given.threads)
    machine = {**environment_info(), "threads": torch.get_num_threads()}
    found = (_kernels if given.what == "kernels" else _search)(given)
    if given.json is not None:
        write_json(given.json, {"benchmark": given.what, "machine": machine, "quick": given.quick, **found})


def _kernels(given: argparse.Namespace) -> dict[str, Any]:
    from manticore.bench import facts, run, tables
    from manticore.bench.kernels import CASES
    from manticore.cli.options import names

    known = {case.name: case for case in CASES}
    wanted = names(given.case) if given.case else list(known)
    for name in wanted:
        if name not in known:
            raise UnknownName("case", name, known)
    console = make_console()
    chosen = facts.choices("cpu")
    console.print(tables.choices(chosen))
    rows = run.run_cases([known[name] for name in wanted], given.repeats, given.budget, given.quick, console)
    console.print(tables.races(rows))
    found: dict[str, Any] = {"backends": chosen, "rows": rows}
    if not given.case:
        found["growth"] = facts.growth(given.repeats, given.quick)
        console.print(tables.growth(found["growth"]))
        found["bound"] = facts.distance_from_bound(given.repeats, given.quick)
        exponentials = tables.seconds(found["bound"]["exponentials_seconds"])
        console.print(
            f"scan, forward and backward: {found['bound']['times_the_bound']:.2f} times its exponentials alone "
            f"({exponentials}), which no scan can do without"
        )
        found["first_call_seconds"] = facts.first_call()
        console.print(f"first call, compiling everything: {tables.seconds(found['first_call_seconds'])}, once")
    return found


def _search(given: argparse.Namespace) -> dict[str, Any]:
    from manticore.bench import tables
    from manticore.bench.search_step import race_steps

    small = {"width": 32, "layers": 4, "batch": 2, "length": 32}
    full = {name: getattr(given, name) for name in small}
    size = small if given.quick else full
    rows = race_steps(**size, repeats=given.repeats, device=given.device)
    make_console().print(tables.steps(rows))
    return {"size": size, "rows": rows}
