"""Peak memory, step time and bits per byte of fine-tunings: all weights, MoRe, LoRA and the other adapters.

    xz -dkc samples/public_domain.txt.xz > text.txt
    python benchmarks/adapters.py --models gpt-neo-nano,mamba-nano --text text.txt --steps 40 --seeds 3

For each way of training and each seed, in a process of its own: a hybrid of the models on a fixed path (donor in the
middle stage) is trained on the first nine tenths of a text, and scored on the rest before and after. Peak memory is the
largest resident set of the process, above that of the loaded hybrid. Prints one JSON line for each run, and a table of
means with 95 % intervals over the seeds.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from manticore.adapters.attach import attach, trained_parameters
from manticore.adapters.options import AdapterOptions
from manticore.components import load
from manticore.nas.cost import parameters
from manticore.nas.discretize import discretize
from manticore.nas.searchable import named_weights
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.pipelines.pretrain import collate
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.pretraining import PretrainingText, all_documents
from manticore.tasks.task import HeadSpec
from manticore.training.batching import BatchSampler, batch_to
from manticore.training.losses import cross_entropy
from manticore.training.optimizers import weight_optimizer
from manticore.training.options import WeightOptions
from manticore.training.scoring import score
from manticore.utils.statistics import mean_interval

WAYS: dict[str, AdapterOptions] = {
    "full": AdapterOptions(),
    "more": AdapterOptions("more"),
    "lora": AdapterOptions("lora", options={"rank": 4}),
    "lora, equal rank": AdapterOptions("lora", options={"rank": 16}),
    "neuroada": AdapterOptions("neuroada", options={"k": 4}),
    "s2ft": AdapterOptions("s2ft"),
    "sara": AdapterOptions("sara"),
}
"""The ways of training. MoRe has N = 4, r = 4; LoRA as many parameters, or as large a rank."""

RATES = {"full": 3e-4}
"""Peak learning rates; that of adapters is 3e-3."""


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One training: its memory in MiB, seconds of a step, trained parameters, and bits per byte."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    names = args.models.split(",")
    space = SearchSpace(names, args.stages)
    components = [load(spec) for spec in space.components]
    base, donor = space.names[0], space.names[-1]
    path = [donor if stage == args.stages // 2 else base for stage in range(args.stages)]
    net = discretize(Supernet(components, space, base, HeadSpec()), path)
    texts = PretrainingText.read(Path(args.text), 16384, 0.1, None)
    tokenizer = components[0].tokenizer
    assert tokenizer is not None
    train = chunk(all_documents(texts.train), tokenizer, args.length)
    held_out = chunk(all_documents(texts.held_out), tokenizer, args.length)
    options = WAYS[args.way]
    if options.name is not None:
        attach(net, options)
    before = score(net, held_out, collate, 8).bits_per_byte
    weights = WeightOptions(lr=RATES.get(args.way, 3e-3), weight_decay=0.0)
    optimizer = weight_optimizer(named_weights(net), weights)
    sampler = BatchSampler(train, args.batch_size, args.seed, collate)
    start_memory, seconds = _peak(), []
    net.train()
    for step in range(args.steps):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(net, batch_to(sampler.batch(step), torch.device("cpu"))).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    after = score(net.eval(), held_out, collate, 8).bits_per_byte
    return {
        "way": args.way,
        "seed": args.seed,
        "adapter": asdict(options),
        "parameters": parameters(net),
        "trained": sum(parameter.numel() for _, parameter in named_weights(net)),
        "adapter_parameters": trained_parameters(net),
        "mib": (_peak() - start_memory) / 1024,
        "step_seconds": sorted(seconds)[len(seconds) // 2],
        "before": before,
        "after": after,
    }


def _peak() -> int:
    """Largest resident set of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure each way and seed in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt-neo-nano,mamba-nano")
    parser.add_argument("--text", required=True)
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ways", default=";".join(WAYS))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args)))
        return
    print("| way | trained | MiB | s / step | bits per byte |\n| --- | --- | --- | --- | --- |")
    for way in args.ways.split(";"):
        rows = []
        for seed in range(args.seeds):
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--seed", str(seed)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            print(output.strip().splitlines()[-1], file=sys.stderr)
            rows.append(json.loads(output.strip().splitlines()[-1]))
        cells = [_cell([row[key] for row in rows], digits) for key, digits in COLUMNS]
        print(f"| {way} | {rows[0]['trained']:,} | {' | '.join(cells)} |")


COLUMNS = (("mib", 0), ("step_seconds", 3), ("after", 4))
"""Columns of the table with their digits."""


def _cell(values: list[float], digits: int) -> str:
    known = mean_interval(values)
    margin = "" if known.margin is None else f" ± {known.margin:.{digits}f}"
    return f"{known.mean:.{digits}f}{margin}"


if __name__ == "__main__":
    main()
