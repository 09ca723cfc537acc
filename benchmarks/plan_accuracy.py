"""Time and memory of `manticore plan` beside those of the search that it describes, for three recipes.

    python benchmarks/plan_accuracy.py [FOLDER]

Each command runs in a process of its own, whose wall time and largest resident memory are measured. Close other
programs first: a plan measures seconds, the search minutes, and both take the machine as it is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

RECIPES = {
    "ListOps, darts": ["--models", "gpt-neo,mamba", "--task", "lra-listops", "--set", "search.steps=200"],
    "MAD, halving": ["--models", "gpt-neo,mamba", "--task", "mad-fuzzy-recall", "--strategy", "halving"],
    "text, zero-shot": ["--models", "gpt-neo-nano,mamba-nano", "--task", "text"],
}
"""Arguments by the name of a row."""


def measured(arguments: list[str]) -> tuple[str, float, int]:
    """Output, seconds and largest resident memory in bytes of a command of manticore."""
    started = time.monotonic()
    command = [sys.executable, "-m", "manticore.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with status {process.returncode}")
    return output, time.monotonic() - started, 1024 * usage.ru_maxrss


def planned(output: str) -> tuple[float, float]:
    """Seconds and bytes of the last line of a plan."""
    match = re.search(
        r"about (?:(\d+) h )?(?:(\d+) min ?)?(?:([\d.]+) s)? .*?, ([\d.]+) ([GM])iB\s+of", output, re.DOTALL
    )
    assert match is not None, output
    hours, minutes, seconds = (float(part or 0) for part in match.groups()[:3])
    return 3600 * hours + 60 * minutes + seconds, float(match[4]) * (2**30 if match[5] == "G" else 2**20)


def main() -> None:
    print("| recipe | planned time | time | | planned memory | memory | |\n| --- | --- | --- | --- | --- | --- | --- |")
    with TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        for name, arguments in RECIPES.items():
            seconds, size = planned(measured(["plan", *arguments])[0])
            _, actual, peak = measured(["search", *arguments, "--out", str(folder / name.replace(", ", "-"))])
            print(
                f"| {name} | {seconds:.0f} s | {actual:.0f} s | {seconds / actual - 1:+.0%} "
                f"| {size / 2**20:.0f} MiB | {peak / 2**20:.0f} MiB | {size / peak - 1:+.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
