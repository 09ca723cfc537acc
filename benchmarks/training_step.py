"""What a training step of a hybrid costs beside its components': seconds and memory, pretrained models and their text.

    python benchmarks/training_step.py --base gpt-neo-nano --stages 5 --donor 3

Every side is forward, backward, clipping and Muon on the same tokens: each component alone, the discrete hybrid with
the stages that `--donor` names run by the other, the mixture of both at all stages, and the mixture in the paper's
hub. Times are taken in turns in one process; memory
is the growth of a fresh process that builds the model and takes two steps.
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

from manticore.bench.timing import Thunk, peak, race, ratio
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
"""Steps of the process whose memory is taken."""


class Sides:
    """How each side is built."""

    def __init__(self, models: list[str], base: str, stages: int, donor: list[int]) -> None:
        self.components = [load(spec) for spec in SearchSpace(models, stages).components]
        self.names = [component.name for component in self.components]
        other = next(name for name in self.names if name != base)
        self.base, self.path = base, [other if stage + 1 in donor else base for stage in range(stages)]

    def builders(self) -> dict[str, Callable[[], nn.Module]]:
        """Each side's model."""
        out: dict[str, Callable[[], nn.Module]] = {f"{name} alone": partial(self.alone, name) for name in self.names}
        out["hybrid"] = lambda: discretize(self.supernet(self.base), self.path)
        out["uniform mixture"] = lambda: self.supernet(self.base, relaxation="fixed")
        out[HUB] = lambda: self.supernet(None, topology=HUB)
        return out

    def alone(self, name: str) -> nn.Module:
        """One component."""
        made: nn.Module = discretize(self.supernet(name), [name] * len(self.path))
        return made

    def supernet(self, base: str | None, topology: str = "residual", relaxation: str = "softmax") -> Supernet:
        """A supernet of both, fresh projectors."""
        options = {"bypass": True} if topology != HUB else {}
        specs = [component.source for component in self.components]
        space = SearchSpace(specs, len(self.path), base, topology, projector_options=options)
        return Supernet(self.components, space, base or self.names[0], HeadSpec(), relaxation)


def step(net: nn.Module, ids_BL: Tensor) -> Thunk:
    """One training step on next tokens."""
    optimizer = weight_optimizer(net.train().named_parameters(), WeightOptions("muon"))

    def once() -> None:
        optimizer.zero_grad(set_to_none=True)
        out: Any = net(input_ids=ids_BL)
        logits_BLV = out if isinstance(out, Tensor) else out.logits
        loss = F.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), ids_BL[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return once


def memory(sides: Sides, side: str, ids_BL: Tensor) -> int | None:
    """Bytes by which this process grows while it builds a side and takes two steps; what is compiled once is not it."""
    build = sides.builders()[side]
    step(build(), ids_BL[:1, :8])()

    def whole() -> None:
        once = step(build(), ids_BL)
        for _ in range(STEPS):
            once()

    return peak(whole)


def memory_elsewhere(side: str) -> int | None:
    """`memory` of a side in a fresh process."""
    done = subprocess.run([sys.executable, *sys.argv, "--only", side], capture_output=True, text=True, check=True)
    told = done.stdout.split()[-1]
    return int(told) if told.isdigit() else None


def main(given: argparse.Namespace) -> None:
    """Take both and print a row for each side."""
    machine = setup_hardware(RunOptions(device="cpu", threads=given.threads))
    torch.manual_seed(0)
    sides = Sides(given.models.split(","), given.base, given.stages, given.donor)
    size = min(component.config.vocab_size for component in sides.components)
    ids_BL = torch.randint(3, size, (given.batch_size, given.length), device=machine.device)
    if given.only:
        print(memory(sides, given.only, ids_BL))
        return
    nets = {name: build() for name, build in sides.builders().items()}
    timings = race({name: step(net, ids_BL) for name, net in nets.items()}, given.repeats, budget=300)
    base = next(iter(timings.values()))
    rows = []
    for name, timing in timings.items():
        grown = memory_elsewhere(name)
        row = {
            "side": name, "parameters": model_parameters(nets[name]), "seconds": timing.seconds, "runs": timing.repeats,
            "ratio": ratio(timing, base), "memory": grown,
        }  # fmt: skip
        rows.append(row)
        told = "-" if grown is None else f"{grown / 2**20:,.0f} MiB"
        print(f"{name:<20}{row['parameters']:>10,}{timing.seconds:>9.3f} s{row['ratio']:>7.2f}x{told:>12}", flush=True)
    if given.json:
        write_json(given.json, {"machine": environment_info(), "threads": torch.get_num_threads(), "rows": rows})


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="gpt-neo-nano,mamba-nano", metavar="M,M", help="components")
    parser.add_argument("--base", required=True, metavar="M", help="base of hybrid and mixture")
    parser.add_argument("--stages", type=int, default=5, metavar="S", help="stages of hybrid and mixtures")
    parser.add_argument("--donor", type=int, nargs="+", default=[3], metavar="N", help="stages by the other, from 1")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="sequences of a step")
    parser.add_argument("--length", type=int, default=256, metavar="N", help="tokens of a sequence")
    parser.add_argument("--repeats", type=int, default=7, metavar="N", help="timed runs of each side")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="threads; 0: torch's choice")
    parser.add_argument("--only", metavar="SIDE", help="print the bytes that one side needs, and nothing else")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    return parser


if __name__ == "__main__":
    main(arguments().parse_args())
