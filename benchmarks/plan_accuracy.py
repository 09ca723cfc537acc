"""Time and memory of `manticore plan` beside those of the search that it describes, for three recipes.

    python benchmarks/plan_accuracy.py [FOLDER] [--recipe NAME] [--set KEY=VALUE] [--wall-time] [--json FILE]

Each command runs in a process of its own with one thread. Its time is that of the processor, which other programs on
the machine lengthen less than the time on the clock; the probes of the plan are timed in the same way. `--wall-time`
compares the times on the clock, for an idle machine. The last column is the time on the clock of the search as a
multiple of that of the processor: above 1.1 other programs ran, and the figures do not count. Memory is the largest
resident memory of the process. `--recipe` takes one of the recipes, `--set` changes all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from manticore.experiment.run_dir import RunDir
from manticore.utils.io import write_json

FEWER = ["--set", "finetune.steps=200"]
LISTOPS = ["--models", "gpt-neo,mamba", "--task", "lra-listops", "--set", "search.steps=200"]
MAD = ["--models", "gpt-neo,mamba", "--task", "mad-fuzzy-recall", "--strategy", "halving"]
TEXT = ["--models", "gpt-neo-nano,mamba-nano", "--task", "text"]
RECIPES = {
    "ListOps, per-example": [*LISTOPS, *FEWER, "--set", "task.test=1000", "--set", "task.val=1000"],
    "MAD, halving": [*MAD, *FEWER],
    "text, zero-shot": [*TEXT, "--set", "finetune.steps=20"],
}
"""Arguments by the name of a row."""


def child(what: str, wall: bool, arguments: list[str]) -> None:
    """Run `plan` and print its seconds and bytes as JSON, or run `search`."""
    from manticore import cli
    from manticore.experiment import plan as probes
    from manticore.pipelines import plan

    if what == "search":
        sys.argv = ["manticore", "search", *arguments]
        raise SystemExit(cli.main())
    if not wall:
        probes.time = SimpleNamespace(perf_counter=time.process_time)
        probes.process_seconds = time.process_time
    kept: list[Any] = []
    run = plan.run
    plan.run = lambda *args: kept.append(run(*args))
    sys.argv = ["manticore", "plan", *arguments]
    status = cli.main()
    if kept:
        phases = [{"name": each.name, "seconds": each.seconds, "bytes": each.peak_bytes} for each in kept[0].phases]
        print(json.dumps({"seconds": kept[0].seconds, "bytes": kept[0].peak_bytes, "phases": phases}))
    raise SystemExit(status)


@dataclass(frozen=True)
class Measured:
    """A command that has ended: what it printed, its seconds on both clocks, its largest resident memory in bytes."""

    output: str
    processor: float
    clock: float
    bytes: int

    def seconds(self, wall: bool) -> float:
        """On the clock, or of the processor."""
        return self.clock if wall else self.processor


def measured(what: str, wall: bool, arguments: list[str]) -> Measured:
    """Run a command."""
    started = time.monotonic()
    command = [sys.executable, __file__, "--child", what, *(["--wall-time"] if wall else []), "--", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{what} {' '.join(arguments)} ended with status {process.returncode}\n{output[-2000:]}")
    return Measured(output, usage.ru_utime + usage.ru_stime, time.monotonic() - started, 1024 * usage.ru_maxrss)


def run_seconds(folder: Path, phases: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds on the clock of the phases of a run that a plan has too."""
    records = {phase["name"]: RunDir(folder).finished_phase(phase["name"]) for phase in phases}
    return {name: record["seconds"] for name, record in records.items() if record is not None}


def main() -> None:
    """Print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--recipe", choices=[*RECIPES])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--wall-time", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| recipe | planned time | time | | planned memory | memory | | clock / processor |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with TemporaryDirectory() as temporary:
        for name in [args.recipe] if args.recipe else RECIPES:
            arguments = [*RECIPES[name], *(part for change in args.set for part in ("--set", change))]
            folder = (args.folder or Path(temporary)) / name.replace(", ", "-")
            planned = json.loads(measured("plan", args.wall_time, arguments).output.splitlines()[-1])
            search = measured("search", args.wall_time, [*arguments, "--out", str(folder)])
            seconds = search.seconds(args.wall_time)
            print(
                f"| {name} | {planned['seconds']:.0f} s | {seconds:.0f} s | {planned['seconds'] / seconds - 1:+.0%} "
                f"| {planned['bytes'] / 2**20:.0f} MiB | {search.bytes / 2**20:.0f} MiB "
                f"| {planned['bytes'] / search.bytes - 1:+.0%} | {search.clock / search.processor:.2f} |",
                flush=True,
            )
            times = {"processor_seconds": search.processor, "clock_seconds": search.clock, "bytes": search.bytes}
            phases = run_seconds(folder, planned["phases"])
            rows.append({"recipe": name, "arguments": arguments, "planned": planned, **times, "phases": phases})
            if args.json is not None:
                clock = "wall time" if args.wall_time else "processor time"
                write_json(args.json, {"clock": clock, "threads": 1, "rows": rows})


if __name__ == "__main__":
    if "--child" in sys.argv:
        mark = sys.argv.index("--")
        child(sys.argv[sys.argv.index("--child") + 1], "--wall-time" in sys.argv[:mark], sys.argv[mark + 1 :])
    main()
