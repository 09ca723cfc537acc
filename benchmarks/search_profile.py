"""Where the wall time of the demo's search goes, and how long the commands take to start.

    python benchmarks/search_profile.py --threads 1 --json benchmarks/results/search-profile-cpu.json

The first part runs `manticore search --models gpt-neo,mamba --task lra-listops` in this process, with its data in the
cache, and takes the time of forward passes, backward passes and optimizer steps of each phase, and of the forward
passes that score a model. The column `passes` is the share of all these passes. The second part starts `manticore
--help`, and a search whose first training step ends the process, each several times.
`--quick` is a search of a few steps, a check that the script runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

ARGUMENTS = ["search", "--models", "gpt-neo,mamba", "--task", "lra-listops"]

QUICK = ["--set", "search.steps=20", "--set", "search.warmup_steps=5", "--set", "finetune.steps=10"]

FIRST_STEP = """
import os, sys
from manticore.training.gradient_steps import GradientSteps

def stop(*args, **options):
    print("first step", flush=True)
    os._exit(0)

GradientSteps.loss = stop
from manticore.training.search_module import SearchModule
SearchModule.loss = stop
from manticore.cli import main
sys.exit(main(sys.argv[1:]))
"""


class Profile:
    """Seconds by phase and part. A part inside another one counts for the outer one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        self.phase = "before and after"
        self._inside = False

    def part(self, owner: Any, function: str, name: str) -> None:
        """Take the time of a method of a class, or of a function of a module."""
        original: Callable[..., Any] = getattr(owner, function)

        @wraps(original)
        def timed(*args: Any, **options: Any) -> Any:
            if self._inside:
                return original(*args, **options)
            self._inside, started = True, time.perf_counter()
            try:
                return original(*args, **options)
            finally:
                self._inside = False
                self.seconds[self.phase][name] += time.perf_counter() - started

        setattr(owner, function, timed)

    def phases(self, owner: Any) -> None:
        """Take the time of each phase, whose name is the first argument of `owner.train`."""
        original: Callable[..., Any] = owner.train

        @wraps(original)
        def timed(experiment: Any, phase: str, *args: Any, **options: Any) -> Any:
            outer, started = self.phase, time.perf_counter()
            self.phase = phase
            try:
                return original(experiment, phase, *args, **options)
            finally:
                self.phase = outer
                self.seconds[phase]["wall"] += time.perf_counter() - started

        owner.train = timed


def profile_search(arguments: list[str], out: Path) -> dict[str, dict[str, float]]:
    """Seconds of forward, backward, optimizer and of scoring's forward passes, and of the wall, for each phase."""
    from manticore.cli import main
    from manticore.experiment.experiment import Experiment
    from manticore.training import scoring
    from manticore.training.gradient_steps import GradientSteps
    from manticore.training.search_module import SearchModule
    from manticore.training.trainer import fit  # noqa: F401  before the clock starts

    profile = Profile()
    profile.phases(Experiment)
    profile.part(SearchModule, "loss", "forward")
    profile.part(GradientSteps, "loss", "forward")
    profile.part(GradientSteps, "manual_backward", "backward")
    profile.part(GradientSteps, "_take_steps", "optimizer")
    profile.part(scoring, "logits_of", "scoring")
    started = time.perf_counter()
    status = main([*arguments, "--out", str(out)])
    wall = time.perf_counter() - started
    if status:
        raise SystemExit(status)
    phases = {name: dict(parts) for name, parts in profile.seconds.items()}
    trained = sum(parts.get("wall", 0.0) for parts in phases.values())
    phases.setdefault("before and after", {})["wall"] = wall - trained
    return phases


def seconds_to_start(command: list[str], repeats: int) -> float:
    """Median wall time of a command."""
    runs = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        runs.append(time.perf_counter() - started)
    return round(statistics.median(runs), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="recipe keys of the search")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)  # read when torch is imported, below
    from manticore.experiment.environment import environment_info
    from manticore.utils.io import write_json

    arguments = ARGUMENTS + (QUICK if options.quick else []) + [part for key in options.set for part in ("--set", key)]
    with tempfile.TemporaryDirectory() as folder:
        phases = profile_search(arguments, Path(folder) / "run")
        search = [sys.executable, "-c", FIRST_STEP, *arguments, "--out"]
        starts = {
            "manticore --help": seconds_to_start([sys.executable, "-m", "manticore.cli", "--help"], options.repeats),
            "search, to its first step": statistics.median(
                seconds_to_start([*search, str(Path(folder) / f"start-{index}")], 1) for index in range(options.repeats)
            ),
        }
    titles = ("wall", "forward", "backward", "optimizer", "scoring", "passes")
    print(f"{'phase':20}" + "".join(f"{title:>{len(title) + 3}}" for title in titles))
    totals: dict[str, float] = defaultdict(float)
    for parts in phases.values():
        for part, seconds in parts.items():
            totals[part] += seconds
    for name, parts in {**phases, "all": totals}.items():
        columns = [parts.get(part, 0.0) for part in ("wall", "forward", "backward", "optimizer", "scoring")]
        share = (columns[1] + columns[2] + columns[4]) / columns[0] if columns[0] else 0.0
        numbers = "".join(f"{each:{len(title) + 3}.1f}" for title, each in zip(titles, columns, strict=False))
        print(f"{name:20}{numbers}{share:{len(titles[-1]) + 3}.0%}")
    for name, seconds in starts.items():
        print(f"{name}: {seconds:.2f} s")
    if options.json:
        rounded = {name: {part: round(value, 2) for part, value in parts.items()} for name, parts in phases.items()}
        write_json(options.json, {"phases": rounded, "starts": starts, "machine": environment_info()})


if __name__ == "__main__":
    main()
