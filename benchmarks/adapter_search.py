"""Memory and time of search steps over two pretrained components, with their weights trained and with adapters.

    python benchmarks/adapter_search.py --models gpt-neo-nano,mamba-nano --stages 5 --out adapter-search.json

For each adapter, in a process of its own with one thread: the components are loaded, then a supernet is built, and
steps of its weights and of its alphas are run in turns on random tokens, as in a search with the strategy `darts`.
Memory is the largest resident set above that with the components alone (Linux), so it counts the supernet's copies of
weights, gradients, states of the optimizer, and activations.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from manticore.adapters.options import AdapterOptions
from manticore.bench.search_step import optimizer_step
from manticore.components import load
from manticore.experiment.adapters import adapt
from manticore.experiment.environment import set_malloc_thresholds
from manticore.nas.searchable import named_weights
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.training.losses import cross_entropy
from manticore.training.optimizers import weight_optimizer
from manticore.training.options import WeightOptions
from manticore.utils.io import read_json, write_json
from manticore.utils.memory import reset_resident_peak, resident_bytes
from manticore.utils.module_state import trainable_only

NONE = "none"
"""Name of the search that trains all weights."""


def measure(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """One search: memory in MiB and seconds of steps of the weights and of the alphas."""
    torch.manual_seed(0)
    space = SearchSpace(args.models.split(","), args.stages)
    parts = [load(spec) for spec in space.components]
    reset_resident_peak()
    start = resident_bytes() or 0
    set_malloc_thresholds()  # as in every search; from here on, so that loading leaves no free memory
    net = Supernet(parts, space, space.names[0], HeadSpec()).train()
    if name != NONE:
        adapt(net, AdapterOptions(name), strict=True, searched=True)
    rows = min(part.model.get_input_embeddings().weight.shape[0] for part in parts)
    ids = torch.randint(rows, (args.batch_size, args.length + 1))
    batch = {"input_ids": ids[:, :-1], "attention_mask": torch.ones_like(ids[:, 1:]), "labels": ids[:, 1:]}
    weights = list(named_weights(net))
    trained = [parameter for _, parameter in weights]
    optimizer = weight_optimizer(weights, WeightOptions())

    def weight_step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with trainable_only(net, trained):
            cross_entropy(net, batch).backward()
        optimizer.step()

    steps = {"weights": weight_step, "alphas": optimizer_step(net, lambda: cross_entropy(net, batch), alphas=True)}
    seconds: dict[str, list[float]] = {step: [] for step in steps}
    for _ in range(args.steps):
        for step, run in steps.items():
            started = time.perf_counter()
            run()
            seconds[step].append(time.perf_counter() - started)
    return {
        "adapter": name,
        "trained": sum(parameter.numel() for parameter in trained),
        "mib": ((resident_bytes("VmHWM") or 0) - start) / 2**20,
        "seconds": {step: sorted(values)[len(values) // 2] for step, values in seconds.items()},
    }


def main() -> None:
    """Measure each adapter in a process of its own, several times, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt-neo-nano,mamba-nano")
    parser.add_argument("--stages", type=int, default=5)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--adapters", default=f"{NONE},more,lora")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of all runs; it is continued")
    parser.add_argument("--adapter", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.adapter:
        print(json.dumps(measure(args, args.adapter)))
        return
    runs = read_json(args.out) if args.out.exists() else []
    for repeat in range(args.repeats):
        for name in args.adapters.split(","):
            if any((run["models"], run["adapter"], run["repeat"]) == (args.models, name, repeat) for run in runs):
                continue
            command = [sys.executable, __file__, *sys.argv[1:], "--adapter", name]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            runs.append({**json.loads(output.strip().splitlines()[-1]), "repeat": repeat, "models": args.models})
            write_json(args.out, runs)
    for run in runs:
        print(json.dumps(run))


if __name__ == "__main__":
    main()
