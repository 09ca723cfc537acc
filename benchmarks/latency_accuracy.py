"""Predicted latency of 20 random paths beside their measured latency, of the two shipped language models.

    python benchmarks/latency_accuracy.py [--json FILE]

In each of eight rounds the parts are timed as by `manticore bench latency`, at the lengths 64, 128 and 256, and then 20
paths as whole hybrids at 192 tokens, which no part was timed at, and at 256; of the predictions and of the times the
smallest counts. The parts are scaled to four whole paths (`manticore/bench/whole_paths.py`), which are not among the
20. With one thread the times are those of the processor; other programs still slow it down, by its caches and clock
rates.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path
from statistics import fmean, median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from manticore.bench.latency import Timer, Workload, model_run, modes_of, supernet_parts, time_parts, workloads
from manticore.bench.whole_paths import reference_paths
from manticore.config.commands import RecipeCommand
from manticore.config.loading import load_command
from manticore.experiment.environment import environment_info
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import RunDir
from manticore.nas.cost import PathCosts
from manticore.nas.discretize import discretize
from manticore.nas.latency import MODES, LatencyTable, Machine, using
from manticore.nas.resources import Resource
from manticore.utils.console import make_console
from manticore.utils.io import write_json

MODELS, TASK, BASE = ["gpt-neo-nano", "mamba-nano"], "text", "gpt-neo-nano"
LENGTHS, MEASURED_AT, PATHS, ROUNDS = (64, 128, 256), (192, 256), 20, 8


def main() -> None:
    """Print the table, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    timer, rng = Timer(torch.device("cpu")), random.Random(0)
    command = RecipeCommand(keys={"space": {"components": MODELS, "base": BASE}, "task": {"name": TASK}})
    with TemporaryDirectory() as folder:
        exp = Experiment.open(load_command(command).recipe, RunDir(Path(folder)), make_console()).for_component(BASE)
        net = exp.supernet(BASE, "softmax", "latency").eval()
        parts, references = supernet_parts(net), reference_paths(net)
        paths = rng.sample([path for path in net.choices.paths() if path not in references], PATHS)
        hybrids = {path: discretize(net, path) for path in paths}
        resources = [Resource(name, length) for name in ("prefill_ms", "decode_ms") for length in MEASURED_AT]
        cases = [(resource, path) for resource in resources for path in paths]
        rows: list[dict[str, Any]] = [
            {"resource": str(resource), "path": path, "predicted_ms": math.inf, "ms": math.inf}
            for resource, path in cases
        ]
        for _ in range(ROUNDS):
            table = LatencyTable(Machine.current(timer.device))
            for workload in workloads(modes_of(net), (1,), LENGTHS, ("float32",)):
                for entry in time_parts(parts, net, workload, timer):
                    table.add(entry)
            with using(table):
                costs = PathCosts(net, LENGTHS[-1])
                for row, (resource, path) in zip(rows, cases, strict=True):
                    run = model_run(hybrids[path], Workload(MODES[resource.name], 1, resource.length or 1))
                    row["ms"] = min(row["ms"], *timer.fastest([run]))
                    row["predicted_ms"] = min(row["predicted_ms"], costs.cost(path, resource))
    print("| resource | error in the mean | median | largest | within 10 % |\n| --- | ---: | ---: | ---: | ---: |")
    for resource in dict.fromkeys(row["resource"] for row in rows):
        errors = [row["predicted_ms"] / row["ms"] - 1 for row in rows if row["resource"] == resource]
        sizes = sorted(map(abs, errors))
        within = sum(size <= 0.1 for size in sizes)
        print(
            f"| `{resource}` | {fmean(errors):+.1%} | {median(errors):+.1%} | {sizes[-1]:.1%} | {within} of {PATHS} |"
        )
    if args.json is not None:
        write_json(args.json, {"machine": {**environment_info(), "threads": 1}, "models": MODELS, "rows": rows})


if __name__ == "__main__":
    main()
