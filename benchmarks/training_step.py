"""Time and memory of a training step of a hybrid and of its components, for pretrained models.

    python benchmarks/training_step.py --base gpt-neo-nano --stages 5 --donor 3

A step is forward, backward, gradient clipping and Muon, on the same tokens for each model: the components alone, the
discrete hybrid whose stages `--donor` come from the other component, the mixture of both at all stages, and the mixture
in the hub topology of the paper. Times are taken in turns in one process; memory is the growth of a fresh process that
builds the model and takes two steps.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.bench.timing import Thunk, peak_memory, race, ratio
from manticore.components import load
from manticore.config.sections import RunOptions
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.nas.cost import model_parameters
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.training.optimizers import weight_optimizer
from manticore.training.options import WeightOptions
from manticore.utils.io import write_json

HUB = "hub"
STEPS = 2
"""Steps of the process whose memory is measured."""


class Models:
    """Builds the models that are compared.

    Args:
        specs: the two components.
        base: name of the base.
        stages: number of stages.
        donor_stages: the stages of the hybrid that the other component runs, from 1.
    """

    def __init__(self, specs: list[str], base: str, stages: int, donor_stages: list[int]) -> None:
        self.components = [load(spec) for spec in SearchSpace(specs, stages).components]
        self.names = [component.name for component in self.components]
        donor = next(name for name in self.names if name != base)
        self.base, self.path = base, [donor if stage + 1 in donor_stages else base for stage in range(stages)]

    def builders(self) -> dict[str, Callable[[], nn.Module]]:
        """The functions that build the models, by name."""
        out: dict[str, Callable[[], nn.Module]] = {f"{name} alone": partial(self.alone, name) for name in self.names}
        out["hybrid"] = lambda: discretize(self.supernet(self.base), self.path)
        out["uniform mixture"] = lambda: self.supernet(self.base, relaxation="fixed")
        out[HUB] = lambda: self.supernet(None, topology=HUB)
        return out

    def alone(self, name: str) -> nn.Module:
        """One component."""
        model: nn.Module = discretize(self.supernet(name), [name] * len(self.path))
        return model

    def supernet(self, base: str | None, topology: str = "residual", relaxation: str = "softmax") -> Supernet:
        """A supernet of both components with untrained projectors."""
        options = {"bypass": True} if topology != HUB else {}
        specs = [component.source for component in self.components]
        space = SearchSpace(specs, len(self.path), base, topology, projector_options=options)
        return Supernet(self.components, space, base or self.names[0], HeadSpec(), relaxation)


def training_step(net: nn.Module, ids_BL: Tensor) -> Thunk:
    """One training step on next-token prediction."""
    optimizer = weight_optimizer(net.train().named_parameters(), WeightOptions("muon"))

    def thunk() -> None:
        optimizer.zero_grad(set_to_none=True)
        out: Any = net(input_ids=ids_BL)
        logits_BLV = out if isinstance(out, Tensor) else out.logits
        loss = F.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return thunk


def training_memory(models: Models, name: str, ids_BL: Tensor) -> int | None:
    """Bytes by which this process grows while it builds a model and takes two steps, after compilation."""
    build = models.builders()[name]
    training_step(build(), ids_BL[:1, :8])()  # compiles

    def build_and_train() -> None:
        step = training_step(build(), ids_BL)
        for _ in range(STEPS):
            step()

    return peak_memory(build_and_train)


def memory_in_subprocess(name: str) -> int | None:
    """`training_memory` of a model in a fresh process."""
    process = subprocess.run([sys.executable, *sys.argv, "--only", name], capture_output=True, text=True, check=True)
    last = process.stdout.split()[-1]
    return int(last) if last.isdigit() else None


def main(args: argparse.Namespace) -> None:
    """Measure all models and print a row for each."""
    hardware = setup_hardware(RunOptions(device="cpu", threads=args.threads))
    torch.manual_seed(0)
    models = Models(args.models.split(","), args.base, args.stages, args.donor)
    vocab_size = min(component.config.vocab_size for component in models.components)
    ids_BL = torch.randint(3, vocab_size, (args.batch_size, args.length), device=hardware.device)
    if args.only:
        print(training_memory(models, args.only, ids_BL))
        return
    nets = {name: build() for name, build in models.builders().items()}
    timings = race({name: training_step(net, ids_BL) for name, net in nets.items()}, args.repeats, budget=300)
    first = next(iter(timings.values()))
    rows = []
    for name, timing in timings.items():
        memory = memory_in_subprocess(name)
        row = {
            "model": name,
            "parameters": model_parameters(nets[name]),
            "seconds": timing.seconds,
            "repeats": timing.repeats,
            "ratio": ratio(timing, first),
            "memory": memory,
        }
        rows.append(row)
        shown = "-" if memory is None else f"{memory / 2**20:,.0f} MiB"
        print(f"{name:<20}{row['parameters']:>10,}{timing.seconds:>9.3f} s{row['ratio']:>7.2f}x{shown:>12}", flush=True)
    if args.json:
        write_json(args.json, {"machine": environment_info(), "threads": torch.get_num_threads(), "rows": rows})


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt-neo-nano,mamba-nano", metavar="M,M", help="components")
    parser.add_argument("--base", required=True, metavar="M", help="base of the hybrid and of the mixture")
    parser.add_argument("--stages", type=int, default=5, metavar="S", help="stages of the hybrid and of the mixtures")
    parser.add_argument(
        "--donor", type=int, nargs="+", default=[3], metavar="N", help="stages run by the other component, from 1"
    )
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="sequences of a step")
    parser.add_argument("--length", type=int, default=256, metavar="N", help="tokens of a sequence")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="timed steps of each model")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads; 0: torch's choice")
    parser.add_argument("--only", metavar="MODEL", help="print the memory of one model in bytes, and nothing else")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the numbers")
    return parser


if __name__ == "__main__":
    main(make_parser().parse_args())
