"""Peak memory, step time and bits per byte of fine-tunings with adapters, a ladder, or of all weights; and LiNeS.

    xz -dkc samples/public_domain.txt.xz > text.txt
    python benchmarks/adapters.py --models gpt-neo-nano,mamba-nano --text text.txt --out adapters.json

For each way of training and each seed, in a process of its own with one thread: a hybrid of the models on a fixed path
(donor in the middle stage) is trained on the first nine tenths of a text, and scored on the rest before and after, and
on a control text (`--control`), such as that of its pretraining. Peak memory is the largest resident set of the steps,
above that before them (Linux). Of the training of all weights, LiNeS is measured too (`--lines`): the
factors 0, 0.1, ..., 1 of the first layer's update.

Every run is written to `--out` when it has ended, and is not run again there: the same command continues. A table of
means with 95 % intervals over the seeds is printed at the end, and by `--table` from what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from manticore.adapters.attach import attach, trained_parameters
from manticore.adapters.calibration import prepare
from manticore.adapters.ladder import ladder_loss
from manticore.adapters.options import LADDER, AdapterOptions
from manticore.components import load
from manticore.nas.cost import parameters
from manticore.nas.discretize import discretize
from manticore.nas.searchable import named_weights
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.pipelines.lines import FACTORS, scale_update
from manticore.pipelines.pretrain import collate
from manticore.tasks.dataset import Examples
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.documents import read_texts
from manticore.tasks.language.pretraining import PretrainingText, all_documents
from manticore.tasks.task import HeadSpec
from manticore.training.batching import BatchSampler, batch_to
from manticore.training.losses import cross_entropy
from manticore.training.optimizers import weight_optimizer
from manticore.training.options import WeightOptions
from manticore.training.scoring import score
from manticore.utils.io import read_json, write_json
from manticore.utils.statistics import mean_interval

WAYS: dict[str, AdapterOptions] = {
    "full": AdapterOptions(),
    "more": AdapterOptions("more"),
    "lora": AdapterOptions("lora", options={"rank": 4}),
    "lora, equal rank": AdapterOptions("lora", options={"rank": 16}),
    "neuroada": AdapterOptions("neuroada", options={"k": 4}),
    "s2ft": AdapterOptions("s2ft"),
    "sara": AdapterOptions("sara"),
    "lt-sft": AdapterOptions("lt-sft"),
    "mos": AdapterOptions("mos", options={"rank": 16, "budget": 4}),
    "corda": AdapterOptions("corda", options={"rank": 4}),
    "ladder": AdapterOptions("ladder"),
}
"""The ways of training. MoRe has N = 4, r = 4; LoRA as many parameters, or as large a rank; MoS both."""

RATES = {"full": 3e-4}
"""Peak learning rates; that of adapters is 3e-3."""


def hybrid_of(args: argparse.Namespace) -> tuple[PreTrainedModel, Any]:
    """The hybrid, and the tokenizer of its base."""
    names = args.models.split(",")
    space = SearchSpace(names, args.stages)
    components = [load(spec) for spec in space.components]
    base, donor = space.names[0], space.names[-1]
    path = [donor if stage == args.stages // 2 else base for stage in range(args.stages)]
    return discretize(Supernet(components, space, base, HeadSpec()), path), components[0].tokenizer


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """One training: its memory in MiB, seconds of a step, trained parameters, and bits per byte."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    net, tokenizer = hybrid_of(args)
    texts = PretrainingText.read(Path(args.text), 16384, 0.1, None)
    train = chunk(all_documents(texts.train), tokenizer, args.length)
    target = chunk(all_documents(texts.held_out), tokenizer, args.length)
    control = None if args.control is None else chunk(read_texts(Path(args.control)), tokenizer, args.length)
    options = WAYS[args.way]
    sampler = BatchSampler(train, args.batch_size, args.seed, collate)
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()} if args.lines else {}
    scores = {"before": _bits(net, target), "control_before": _bits(net, control)}
    if options.name is not None:
        attach(net, options)
        prepare(net, (sampler.batch(step) for step in range(4)))
    loss = ladder_loss(options) if options.name == LADDER else cross_entropy
    optimizer = weight_optimizer(named_weights(net), WeightOptions(lr=RATES.get(args.way, 3e-3), weight_decay=0.0))
    start_memory, seconds = _reset_peak(), []
    net.train()
    for step in range(args.steps):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss(net, batch_to(sampler.batch(step), torch.device("cpu"))).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    memory = (_peak() - start_memory) / 1024
    scores |= {"after": _bits(net.eval(), target), "control_after": _bits(net, control)}
    return {
        "way": args.way,
        "seed": args.seed,
        "adapter": asdict(options),
        "parameters": parameters(net),
        "trained": sum(parameter.numel() for _, parameter in named_weights(net)),
        "adapter_parameters": trained_parameters(net),
        "mib": memory,
        "step_seconds": sorted(seconds)[len(seconds) // 2],
        **scores,
        **({"lines": _lines(net, before, target, control)} if args.lines and options.name is None else {}),
    }


def _lines(net: PreTrainedModel, before: dict[str, Any], target: Examples, control: Examples | None) -> list[Any]:
    """For each factor of the first layer's update, the bits per byte on the target and on the control text."""
    update = {name: weight.detach() - before[name] for name, weight in net.named_parameters()}
    rows = []
    for first in FACTORS:
        scale_update(net, before, update, first)
        rows.append({"first": first, "target": _bits(net, target), "control": _bits(net, control)})
    return rows


def _bits(net: PreTrainedModel, examples: Examples | None) -> float | None:
    return None if examples is None else score(net, examples, collate, 8).bits_per_byte


def _reset_peak() -> int:
    """Set the largest resident set of this process back to the present one. Returns it, in KiB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """Largest resident set of this process since the last reset, in KiB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def main() -> None:
    """Measure each way and seed that is missing in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt-neo-nano,mamba-nano")
    parser.add_argument("--text", help="text to train on")
    parser.add_argument("--control", help="text to score, which is not trained on")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of all runs; it is continued")
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--lines", action="store_true", help="measure LiNeS on the training of all weights")
    parser.add_argument("--ways", default=";".join(WAYS))
    parser.add_argument("--table", action="store_true", help="print the table of --out alone")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(measure(args)))
        return
    settings = {name: str(getattr(args, name)) for name in SETTINGS}
    record = read_json(args.out) if args.out.exists() else {"settings": settings, "runs": []}
    if not args.table:
        if record["settings"] != settings:
            parser.error(f"{args.out} has runs with other settings: {record['settings']}")
        for way in args.ways.split(";"):
            for seed in range(args.seeds):
                if any((run["way"], run["seed"]) == (way, seed) for run in record["runs"]):
                    continue
                command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--seed", str(seed)]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                record["runs"].append(json.loads(output.strip().splitlines()[-1]))
                write_json(args.out, record)
    print(table(record["runs"]))


SETTINGS = ("models", "text", "control", "stages", "length", "batch_size", "steps", "lines")
"""What all runs of a file have in common."""

COLUMNS = (("mib", 0), ("step_seconds", 3), ("after", 4), ("control_after", 4))
"""Columns of the table with their digits."""


def table(runs: list[dict[str, Any]]) -> str:
    """A row for each way of training, and one for each factor of LiNeS."""
    lines = ["| way | trained | MiB | s / step | bits per byte | control |", "| --- | --- | --- | --- | --- | --- |"]
    for way in dict.fromkeys(run["way"] for run in runs):
        rows = [run for run in runs if run["way"] == way]
        cells = [_cell([row[key] for row in rows], digits) for key, digits in COLUMNS]
        lines.append(f"| {way} | {rows[0]['trained']:,} | {' | '.join(cells)} |")
        for index in range(len(rows[0].get("lines", ()))):
            steps = [row["lines"][index] for row in rows]
            cells = [_cell([step[key] for step in steps], 4) for key in ("target", "control")]
            lines.append(f"| {way}, LiNeS {steps[0]['first']:g} | | | | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(values: list[float | None], digits: int) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return ""
    known = mean_interval(numbers)
    margin = "" if known.margin is None else f" ± {known.margin:.{digits}f}"
    return f"{known.mean:.{digits}f}{margin}"


if __name__ == "__main__":
    main()
