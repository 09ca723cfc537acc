"""Peak memory, step time and bits per byte of fine-tunings: all weights, adapters, a ladder; options; and LiNeS.

    manticore export --models gpt-neo-nano,mamba-nano --projectors nano-gpt-neo-base --out runs/nano \\
        --path gpt-neo-nano,mamba-nano,gpt-neo-nano,mamba-nano,mamba-nano
    python benchmarks/domains.py runs/domains 600000
    python benchmarks/adapters.py --hybrid runs/nano --text runs/domains/source --out adapters.json

For each way of training and each seed a hybrid is trained on the first part of every file of a text, with one thread,
a linear warm-up and a cosine, and scored on the rest before and after, and on a control text (`--control`), such as
that of its pretraining. With `--validate` the last part of the training text is scored instead, to choose learning
rates (`--rates`).

Peak memory is the largest resident set of the steps above that before them (Linux), so each training runs in a process
of its own; with `--together` all run in one, which saves its start, and memory is not measured. `--no-scores` measures
memory and time alone. Of the training of all weights, LiNeS is measured too (`--lines`): the factors 0, 0.1, ..., 1 of
the first layer's update; and the exits after fewer stages (`--exits 3;4`).

Every run is written to `--out` when it has ended, and is not run again there: the same command continues. A table of
means with 95 % intervals over the seeds is printed at the end, and by `--table` from what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from manticore.adapters.attach import attach, trained_parameters
from manticore.adapters.calibration import prepare
from manticore.adapters.ladder import ladder_loss
from manticore.adapters.options import LADDER, AdapterOptions
from manticore.experiment.environment import set_malloc_thresholds
from manticore.export.load import load_hybrid
from manticore.nas.cost import parameters
from manticore.nas.searchable import named_weights
from manticore.pipelines.lines import FACTORS, scale_update
from manticore.pipelines.pretrain import collate
from manticore.tasks.dataset import Examples
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.documents import read_texts
from manticore.tasks.language.pretraining import PretrainingText, all_documents, hold_out, load_tokenizer
from manticore.training.batching import BatchSampler, micro_batches
from manticore.training.depth import depth_scales, freeze_first_layers
from manticore.training.exits import ExitLoss
from manticore.training.losses import LossFunction, cross_entropy
from manticore.training.optimizers import cosine, weight_optimizer
from manticore.training.options import WeightOptions
from manticore.training.scoring import score
from manticore.utils.io import read_json, write_json
from manticore.utils.memory import reset_resident_peak, resident_bytes
from manticore.utils.statistics import mean_interval


@dataclass(frozen=True)
class Way:
    """A way of training.

    Attributes:
        adapter: name of the adapter; None: all weights.
        options: of the adapter.
        weights: options of the optimizer.
        exits: whether the exits are trained too.
    """

    adapter: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    exits: bool = False


WAYS = {
    "full": Way(),
    "more": Way("more"),
    "more, rank 8": Way("more", {"rank": 8}),
    "lora": Way("lora", {"rank": 4}),
    "lora, rank 8": Way("lora", {"rank": 8}),
    "lora, rank 16": Way("lora", {"rank": 16}),
    "lora, rank 32": Way("lora", {"rank": 32}),
    "neuroada": Way("neuroada", {"k": 4}),
    "s2ft": Way("s2ft"),
    "sara": Way("sara"),
    "lt-sft": Way("lt-sft"),
    "mos": Way("mos", {"rank": 16, "budget": 4}),
    "corda": Way("corda", {"rank": 4}),
    "ladder": Way("ladder"),
    "rate decay": Way(weights={"depth_lr_decay": 0.9}),
    "half frozen": Way(weights={"freeze_depth": 0.5}),
    "sorted exits": Way(exits=True),
}
"""The ways of training. MoRe has N = 4 blocks: of rank 4 it has as many parameters as LoRA of rank 4, and the rank of
LoRA of rank 16; of rank 8 those of 8 and 32."""

FULL_RATE, RATE = 1e-3, 3e-3
"""Peak learning rates of all weights and of adapters, where `--rates` has none."""

WARMUP, MAX_GRAD_NORM, MIN_RATIO = 0.1, 1.0, 0.1
"""Share of the steps with a rising rate, largest norm of the gradient, last rate as a share of the peak."""


@dataclass(frozen=True)
class Texts:
    """Chunks of tokens: those to train on, those to score, and the control text."""

    train: Examples
    target: Examples
    control: Examples | None

    @classmethod
    def read(cls, args: argparse.Namespace) -> Texts:
        """The texts as the hybrid's tokenizer reads them."""
        tokenizer = load_tokenizer(args.hybrid)
        texts = PretrainingText.read(args.text, 8192, args.held_out, None)
        parts = hold_out(texts.train, args.held_out) if args.validate else (texts.train, texts.held_out)
        chunks = [chunk(all_documents(files), tokenizer, args.length) for files in parts]
        control = None if args.control is None else chunk(read_texts(args.control), tokenizer, args.length)
        return cls(chunks[0], chunks[1], control)


def measure(args: argparse.Namespace, name: str, seed: int, texts: Texts, scores: Mapping[str, Any]) -> dict[str, Any]:
    """One training: its memory in MiB, seconds of a step, trained parameters, and bits per byte.

    `scores` are those of the hybrid before the training.
    """
    way = WAYS[name]
    torch.manual_seed(seed)
    net = load_hybrid(args.hybrid)
    sampler = BatchSampler(texts.train, args.batch_size, seed, collate)
    before = {key: weight.detach().clone() for key, weight in net.named_parameters()} if args.lines else {}
    if way.adapter is not None:
        options = AdapterOptions(way.adapter, options=dict(way.options), freeze=args.freeze)
        attach(net, options)
        prepare(net, (sampler.batch(step) for step in range(4)))
    rate = args.rates.get(name, FULL_RATE if way.adapter is None else RATE)
    weights = WeightOptions(lr=rate, weight_decay=0.0, **way.weights)
    freeze_first_layers(net, weights.freeze_depth)
    scales = depth_scales(net, weights.depth_lr_decay) if weights.depth_lr_decay < 1 else None
    loss: LossFunction = cross_entropy
    if way.adapter == LADDER:
        loss = ladder_loss(options)
    elif way.exits:
        loss = ExitLoss(net, args.exits)
    start, peak, seconds = _train(net, loss, weights, sampler, args.steps, scales, args.micro_batch)
    scores = dict(scores)
    if not args.no_scores:
        scores |= _scores(net.eval(), texts, "after")
    if args.exits and way.adapter is None:
        scores["exits"] = [_exit_bits(net, depth, texts.target) for depth in args.exits]
    return {
        "way": name,
        "seed": seed,
        "options": asdict(way),
        "lr": rate,
        "parameters": parameters(net),
        "trained": sum(parameter.numel() for _, parameter in named_weights(net)),
        "adapter_parameters": trained_parameters(net),
        "mib": None if args.together else (peak - start) / 2**20,
        "mib_before": None if args.together else start / 2**20,
        "step_seconds": sorted(seconds)[len(seconds) // 2],
        **scores,
        **({"lines": _lines(net, before, texts)} if args.lines and name == "full" else {}),
    }


def _train(
    net: PreTrainedModel,
    loss: LossFunction,
    weights: WeightOptions,
    sampler: BatchSampler,
    steps: int,
    scales: Mapping[str, float] | None,
    micro_batch: int,
) -> tuple[int, int, list[float]]:
    """Train, and return the resident bytes before, at the peak, and the seconds of each step."""
    trained = [parameter for _, parameter in named_weights(net)]
    optimizer = weight_optimizer(named_weights(net), weights, scales=scales)
    schedule = cosine(optimizer, steps, MIN_RATIO, round(WARMUP * steps))
    reset_resident_peak()
    start, seconds = resident_bytes() or 0, []
    set_malloc_thresholds()  # as in every training of manticore; from here on, so that loading leaves no free memory
    net.train()
    for step in range(steps):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        for part, share in micro_batches(sampler.batch(step), micro_batch):
            (share * loss(net, part)).backward()
        torch.nn.utils.clip_grad_norm_(trained, MAX_GRAD_NORM)
        optimizer.step()
        schedule.step()
        seconds.append(time.perf_counter() - started)
    return start, resident_bytes("VmHWM") or 0, seconds


def _lines(net: PreTrainedModel, before: dict[str, Any], texts: Texts) -> list[Any]:
    """For each factor of the first layer's update, the bits per byte on the target and on the control text."""
    update = {name: weight.detach() - before[name] for name, weight in net.named_parameters()}
    rows = []
    for first in FACTORS:
        scale_update(net, before, update, first)
        rows.append({"first": first, "target": _bits(net, texts.target), "control": _bits(net, texts.control)})
    return rows


def _exit_bits(net: PreTrainedModel, depth: int, examples: Examples) -> float | None:
    net.config.exit_stage = depth
    bits = _bits(net, examples)
    net.config.exit_stage = None
    return bits


def _before(args: argparse.Namespace, texts: Texts) -> dict[str, Any]:
    return {} if args.no_scores else _scores(load_hybrid(args.hybrid), texts, "before")


def _scores(net: PreTrainedModel, texts: Texts, when: str) -> dict[str, Any]:
    return {when: _bits(net, texts.target), f"control_{when}": _bits(net, texts.control)}


def _bits(net: PreTrainedModel, examples: Examples | None) -> float | None:
    return None if examples is None else score(net, examples, collate, 8).bits_per_byte


def main() -> None:
    """Measure each way and seed that is missing, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hybrid", type=Path, required=True, help="exported folder of a language model")
    parser.add_argument("--text", type=Path, help="text to train on, a file or a folder")
    parser.add_argument("--control", type=Path, help="text to score, which is not trained on")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of all runs; it is continued")
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--micro-batch", type=int, default=0, help="sequences in one forward pass; 0: the batch")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out", type=float, default=0.1, help="share of every file that is scored")
    parser.add_argument("--validate", action="store_true", help="score the last part of the training text instead")
    parser.add_argument("--freeze", default="components", help="what adapters leave as it is: components or all")
    parser.add_argument("--rates", type=_rates, default={}, help="peak learning rates, as in full=0.001;more=0.003")
    parser.add_argument("--lines", action="store_true", help="measure LiNeS on the training of all weights")
    parser.add_argument("--exits", type=_numbers, default=(), help="numbers of stages to exit after, as in 3;4")
    parser.add_argument("--ways", default=";".join(WAYS))
    parser.add_argument("--together", action="store_true", help="run all in this process, without memory")
    parser.add_argument("--no-scores", action="store_true", help="measure memory and time alone")
    parser.add_argument("--table", action="store_true", help="print the table of --out alone")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.way:
        texts = Texts.read(args)
        print(json.dumps(measure(args, args.way, args.seed, texts, _before(args, texts))))
        return
    settings = {name: str(getattr(args, name)) for name in SETTINGS}
    record = read_json(args.out) if args.out.exists() else {"settings": settings, "runs": []}
    if not args.table:
        if record["settings"] != settings:
            parser.error(f"{args.out} has runs with other settings: {record['settings']}")
        done = {(run["way"], run["seed"]) for run in record["runs"]}
        missing = [(way, seed) for way in args.ways.split(";") for seed in range(args.seeds) if (way, seed) not in done]
        shared = (texts := Texts.read(args), _before(args, texts)) if args.together and missing else None
        for way, seed in missing:
            record["runs"].append(_run(args, way, seed) if shared is None else measure(args, way, seed, *shared))
            write_json(args.out, record)
    print(table(record["runs"]))


def _run(args: argparse.Namespace, way: str, seed: int) -> dict[str, Any]:
    """One training in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--way", way, "--seed", str(seed)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return result


SETTINGS = (
    *("hybrid", "text", "control", "length", "batch_size", "micro_batch", "steps", "held_out", "validate", "freeze"),
    *("rates", "lines", "exits", "together", "no_scores"),
)
"""What all runs of a file have in common."""

COLUMNS = (("mib", 0), ("step_seconds", 3), ("before", 4), ("after", 4), ("control_before", 4), ("control_after", 4))
"""Columns of the table with their digits."""


def table(runs: list[dict[str, Any]]) -> str:
    """A row for each way of training, then for each exit, and for each factor of LiNeS."""
    head = ("way", "trained", "MiB", "s / step", "before", "bits per byte", "control before", "control")
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for way in dict.fromkeys(run["way"] for run in runs):
        rows = [run for run in runs if run["way"] == way]
        cells = [_cell([row.get(key) for row in rows], digits) for key, digits in COLUMNS]
        lines.append(f"| {way} | {rows[0]['trained']:,} | {' | '.join(cells)} |")
        for index in range(len(rows[0].get("exits", ()))):
            cell = _cell([row["exits"][index] for row in rows], 4)
            lines.append(f"| {way}, number {index + 1} of --exits | | | | | {cell} | | |")
        for index in range(len(rows[0].get("lines", ()))):
            steps = [row["lines"][index] for row in rows]
            target, control = (_cell([step[key] for step in steps], 4) for key in ("target", "control"))
            lines.append(f"| {way}, LiNeS {steps[0]['first']:g} | | | | | {target} | | {control} |")
    return "\n".join(lines)


def _cell(values: list[float | None], digits: int) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return ""
    known = mean_interval(numbers)
    margin = "" if known.margin is None else f" ± {known.margin:.{digits}f}"
    return f"{known.mean:.{digits}f}{margin}"


def _rates(text: str) -> dict[str, float]:
    return {way: float(rate) for way, _, rate in (part.partition("=") for part in text.split(";"))}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(";")))


if __name__ == "__main__":
    main()
