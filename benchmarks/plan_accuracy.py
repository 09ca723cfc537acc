"""Time and memory of `manticore plan` beside those of the search that it describes, for three recipes.

    python benchmarks/plan_accuracy.py [FOLDER] [--wall-time] [--json FILE]

Each command runs in a process of its own with one thread. Its time is that of the processor, which other programs on
the machine lengthen less than the time on the clock; the probes of the plan are timed in the same way. `--wall-time`
takes the time on the clock, for an idle machine. Memory is the largest resident memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

LISTOPS = ["--models", "gpt-neo,mamba", "--task", "lra-listops", "--set", "search.steps=200"]
MAD = ["--models", "gpt-neo,mamba", "--task", "mad-fuzzy-recall", "--strategy", "halving"]
TEXT = ["--models", "gpt-neo-nano,mamba-nano", "--task", "text"]
RECIPES = {
    "ListOps, darts": [*LISTOPS, "--set", "finetune.steps=200", "--set", "task.test=1000", "--set", "task.val=1000"],
    "MAD, halving": [*MAD, "--set", "finetune.steps=200"],
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


def measured(what: str, wall: bool, arguments: list[str]) -> tuple[str, float, int]:
    """Output, seconds and largest resident memory in bytes of a command."""
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
    seconds = time.monotonic() - started if wall else usage.ru_utime + usage.ru_stime
    return output, seconds, 1024 * usage.ru_maxrss


def main() -> None:
    """Print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--wall-time", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| recipe | planned time | time | | planned memory | memory | |\n| --- | --- | --- | --- | --- | --- | --- |")
    with TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for name, arguments in RECIPES.items():
            planned = json.loads(measured("plan", args.wall_time, arguments)[0].splitlines()[-1])
            out = ["--out", str(folder / name.replace(", ", "-"))]
            _, seconds, peak = measured("search", args.wall_time, [*arguments, *out])
            time_error, memory_error = planned["seconds"] / seconds - 1, planned["bytes"] / peak - 1
            print(
                f"| {name} | {planned['seconds']:.0f} s | {seconds:.0f} s | {time_error:+.0%} "
                f"| {planned['bytes'] / 2**20:.0f} MiB | {peak / 2**20:.0f} MiB | {memory_error:+.0%} |",
                flush=True,
            )
            rows.append({"recipe": name, "arguments": arguments, "planned": planned, "seconds": seconds, "bytes": peak})
            if args.json is not None:
                clock = "wall time" if args.wall_time else "processor time"
                args.json.write_text(json.dumps({"clock": clock, "threads": 1, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    if "--child" in sys.argv:
        mark = sys.argv.index("--")
        child(sys.argv[sys.argv.index("--child") + 1], "--wall-time" in sys.argv[:mark], sys.argv[mark + 1 :])
    main()
