"""Measure what docs/results/reliability.md reports, a part at a time.

    python -m benchmarks.reliability kills --count 50
    python -m benchmarks.reliability inputs --count 10000
    python -m benchmarks.reliability inputs --count 5000 --first 5000 --minutes 30

Run it in the root of the repository, with the packages of the extra `dev`. Prints one line for each fault and a
summary; the exit status is 1 if there is a fault.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

PARTS: dict[str, tuple[int, str]] = {
    "kills": (50, "SIGKILL of a search at random moments"),
    "comparison": (20, "SIGKILL of one or both of two processes of a comparison"),
    "ranks": (20, "SIGKILL of one or both of two processes of a search over gloo"),
    "inputs": (10_000, "mutated inputs"),
    "writes": (100, "disks that fail in the middle of a command"),
    "memory": (5_000, "steps of a long search: its memory and its files"),
}
"""Default number and description of each part."""


def kills(folder: Path, count: int, seed: int, until: float) -> tuple[list[str], str]:
    """Differences of killed and resumed searches, and a summary."""
    from benchmarks.reliability.kills import measure

    found = measure(folder, count, seed, until)
    summary = f"{found['kills']} kills in {found['runs']} runs of {found['seconds']:.1f} s"
    return found["different"], f"{summary}: {len(found['different'])} differences"


def group_kills(folder: Path, count: int, seed: int, until: float, kind: str) -> tuple[list[str], str]:
    """Differences of two processes that were killed and went on, and a summary."""
    from benchmarks.reliability.group_kills import measure

    found = measure(folder / kind, kind, count, seed, until)
    summary = f"{found['kills']} kills in {found['runs']} runs of {found['seconds']:.1f} s"
    return found["different"], f"{summary}: {len(found['different'])} differences"


def inputs(folder: Path, count: int, seed: int, until: float, first: int = 0) -> tuple[list[str], str]:
    """Faults of mutated inputs, and a summary by kind. `first`: number of the first input."""
    from benchmarks.reliability.inputs import measure

    found = measure(folder / "inputs", count, seed, first, until)
    lines = [f"{' '.join(outcome.words)}: {fault}" for outcome in found["faults"] for fault in outcome.faults]
    lines += [f"  {outcome.case}" for outcome in found["faults"]]
    kinds = sorted(found["accepted"].keys() | found["refused"].keys())
    table = "\n".join(
        f"{kind}: {found['accepted'][kind]} read, {found['refused'][kind]} refused, {found['seconds'][kind]:.0f} s"
        for kind in kinds
    )
    return lines, f"{table}\n{found['inputs']} inputs: {len(found['faults'])} faults"


def writes(folder: Path, count: int, seed: int, until: float, names: tuple[str, ...] = ()) -> tuple[list[str], str]:
    """What is wrong after failures of the disk, and a summary. `names`: the commands. Default: all."""
    from benchmarks.reliability.writes import NAMES, measure

    found = measure(folder / "writes", count, seed, names or NAMES, until)
    summary = f"{found['failures']} failures of {found['places']} that there can be"
    return found["different"], f"{summary}: {len(found['different'])} faults"


def memory(folder: Path, count: int, seed: int, until: float) -> tuple[list[str], str]:
    """Whether the memory of a long search grows, and a summary."""
    from benchmarks.reliability.long_search import MOST_GROWTH, measure

    found = measure(folder / "run", count)
    sizes = ", ".join(f"{size:.1f}" for size in found.megabytes)
    files = ", ".join(f"{name} {size:,}" for name, size in sorted(found.files.items()))
    faults = [f"the memory grows by {found.growth:.2%}"] if found.growth > MOST_GROWTH else []
    return faults, (
        f"{found.steps:,} steps in {found.seconds:.0f} s\nMiB: {sizes} ({found.growth:+.2%})\nbytes: {files}\n"
        f"{found.bytes_per_alpha_step:.0f} bytes a line of alphas.jsonl"
    )


MEASURES: dict[str, Callable[[Path, int, int, float], tuple[list[str], str]]] = {
    "kills": kills,
    "comparison": partial(group_kills, kind="comparison"),
    "ranks": partial(group_kills, kind="ranks"),
    "inputs": inputs,
    "writes": writes,
    "memory": memory,
}


def main(arguments: list[str] | None = None) -> int:
    """Print the faults and the summary of a part; 1 if there are faults."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reliability", description=__doc__)
    parser.add_argument("part", choices=PARTS, help="; ".join(f"{name}: {text}" for name, (_, text) in PARTS.items()))
    parser.add_argument("--count", type=int, help="number of kills, inputs or steps; the default is that of the page")
    parser.add_argument("--seed", type=int, default=0, help="seed of what is drawn")
    parser.add_argument("--folder", type=Path, help="where files are written; default: the system's temporary folder")
    parser.add_argument("--commands", help="for writes: the commands, separated by commas; default: all")
    parser.add_argument("--first", type=int, default=0, help="for inputs: number of the first one of the seed")
    parser.add_argument("--minutes", type=float, default=math.inf, help="not for memory: begin nothing new after these")
    options = parser.parse_args(arguments)
    measures = {**MEASURES, "inputs": partial(inputs, first=options.first)}
    if options.commands:
        measures["writes"] = partial(writes, names=tuple(options.commands.split(",")))
    until = time.monotonic() + 60 * options.minutes
    if options.folder is not None:
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        os.environ["MANTICORE_CACHE"] = f"{folder}/cache"
        lines, summary = measures[options.part](
            Path(folder), options.count or PARTS[options.part][0], options.seed, until
        )
    print(*lines, summary, sep="\n")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
