"""What closed-form projectors are worth on two pretrained models, beside the alternatives.

    python benchmarks/alignment.py --models ./gpt-neo-nano,./mamba-nano --text text.txt --json alignment.json

Every mixed path of a space of `--stages` stages is scored with each model at base in turn, on every tenth block
of the text: nothing was fitted on it, and no damping was chosen on it. Rows:

  closed form      P and Q by `manticore align --no-bypass`, on 1k to 16k tokens; `+ N steps` adds gradient steps
  with a bypass    P, Q and R by `manticore align`, the same
  linear map       no donor model: the stage is `h + R h + b` (ridge on the most tokens), which a hybrid must beat
  random           P and Q drawn at random, then gradient steps, at the best of some step sizes
  seams            no updates: the whole stream is translated where the component changes (ridge on the most tokens)
  left out         the donor stages are not there

Numbers are nats per token: the mean over all mixed paths, and each stage replaced alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.alignment import CalibrationBatch, build_calibration, fit_projectors
from manticore.alignment.closed_forms import fit_ridge, load_affine
from manticore.alignment.refine import RATE, refine
from manticore.alignment.ridge import Moments
from manticore.alignment.streams import branch_of, context_of, own_streams, token_rows
from manticore.components import Component, load
from manticore.components.spec import SKIP
from manticore.config.sections import RunOptions
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.modeling.projectors import Linear
from manticore.modeling.segments import Context
from manticore.nas.selection.path_scores import path_loss
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.language.documents import read_text
from manticore.tasks.task import HeadSpec
from manticore.utils.io import write_json

LENGTH = 128
LETTERS = 5
"""Characters of a token, and some more, so that passages do not cut each other short."""

TOKENS = (1024, 2048, 4096, 8192, 16384)
Loss = Callable[[Sequence[str]], float]


def split(text: str, blocks: int = 40) -> tuple[str, str]:
    """Text to fit on, and every tenth block of it to score on."""
    edges = [place * len(text) // blocks for place in range(blocks + 1)]
    parts = [text[start:stop] for start, stop in pairwise(edges)]
    return "".join(part for place, part in enumerate(parts) if place % 10 != 9), "".join(parts[9::10])


class Bench:
    """One model at base: the texts and what is measured on them."""

    def __init__(self, components: list[Component], base: str, text: str, given: argparse.Namespace) -> None:
        self.components, self.base = components, base
        self.random_steps, self.rates = given.random_steps, given.random_rates
        self.stages: int = given.stages
        self.donor = next(one.name for one in components if one.name != base)
        fit, test = split(text)
        self.text = {tokens: build_calibration(components, base, [fit], tokens, LENGTH) for tokens in given.tokens}
        # As many whole passages as the text has; steps read them again from the start when they end.
        self.fresh = build_calibration(components, base, [fit], len(fit) // LETTERS, LENGTH).train
        scored = build_calibration(components, base, [test], given.score_tokens, LENGTH)
        self.scored = [*scored.train, *scored.val]

    def supernet(self, bypass: bool = False) -> Supernet:
        """Untrained projectors, with a bypass or without."""
        names = [one.name for one in self.components]
        space = SearchSpace(names, self.stages, self.base, projector_options={"bypass": bypass}, skip=True)
        return Supernet(self.components, space, self.base, HeadSpec()).eval()

    def sum_up(self, loss: Loss) -> dict[str, Any]:
        """The mean over mixed paths, and each stage replaced alone."""
        names = [self.base, self.donor]
        losses = {path: loss(path) for path in product(names, repeat=self.stages)}
        mixed = [held for path, held in losses.items() if len(set(path)) == 2]
        base = [self.base] * self.stages
        single = [losses[(*base[:stage], self.donor, *base[stage + 1 :])] for stage in range(self.stages)]
        whole = {"base": losses[tuple(base)], "donor": losses[(self.donor,) * self.stages]}
        return {"mixed": sum(mixed) / len(mixed), "single": single, **whole}

    def rows(self, steps: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every method's numbers."""
        most = self.text[max(self.text)]
        for name, bypass in (("closed form", False), ("with a bypass", True)):
            for tokens, held in self.text.items():
                net, started = self.supernet(bypass), time.monotonic()
                fit_projectors(net, held.train, held.val)
                seconds = time.monotonic() - started
                yield f"{name}, {tokens:,} tokens", {**self.sum_up(self.loss_of(net)), "seconds": seconds}
            for count in steps:
                net = self.supernet(bypass)
                fit_projectors(net, most.train, most.val)
                started = time.monotonic()
                self.train(net, most.train, count)
                seconds = time.monotonic() - started
                yield f"{name} + {count} steps", {**self.sum_up(self.loss_of(net)), "seconds": seconds}
        net = self.supernet()
        for stage, linear in enumerate(fit_linear_maps(net, most.train, most.val)):
            net.stages[stage][self.donor] = linear
        yield "linear map, no donor model", self.sum_up(self.loss_of(net))
        tried = [self.random(rate) for rate in self.rates]
        best = min(tried, key=lambda one: one["mixed"])
        yield f"random + {self.random_steps} steps", {**best, "tried": {one["rate"]: one["mixed"] for one in tried}}
        seams = Seams(self.supernet(), self.donor)
        seams.fit(most.train, most.val)
        yield "seams", self.sum_up(lambda path: seams.loss(self.scored, path))
        net = self.supernet()
        loss = self.loss_of(net)
        yield "left out", self.sum_up(lambda path: loss([SKIP if name == self.donor else name for name in path]))

    def random(self, rate: float) -> dict[str, Any]:
        """P and Q drawn at random, then gradient steps at a rate."""
        net = self.supernet()
        torch.manual_seed(0)
        for stage in range(self.stages):
            for projector in (branch_of(net, stage, self.donor).proj_in, branch_of(net, stage, self.donor).proj_out):
                nn.Linear.reset_parameters(projector)
        started = time.monotonic()
        self.train(net, self.fresh, self.random_steps, rate)
        seconds = time.monotonic() - started
        return {**self.sum_up(self.loss_of(net)), "seconds": seconds, "rate": rate}

    def train(self, net: Supernet, batches: list[CalibrationBatch], steps: int, rate: float = RATE) -> None:
        """Gradient steps on paths of both components; `skip` is not drawn."""
        with torch.no_grad():
            net.alpha[:, net.candidates.index(SKIP)] = -1e9
        torch.manual_seed(0)
        refine(net, batches, steps, rate)

    def loss_of(self, net: Supernet) -> Loss:
        """The loss of a path of `net` on the text to score on."""
        return lambda path: path_loss(net, [batch.token_batch for batch in self.scored], path)


class LinearMap(nn.Module):
    """`y = h + R h + b` instead of a stage: what a donor model must beat to be of use."""

    def __init__(self, stream: int) -> None:
        super().__init__()
        self.linear = Linear(stream, stream)

    def forward(self, h_BLD: Tensor, context: Context) -> Tensor:
        update_BLD: Tensor = self.linear(h_BLD)
        return h_BLD + update_BLD


@torch.no_grad()
def fit_linear_maps(net: Supernet, seen: list[CalibrationBatch], held: list[CalibrationBatch]) -> list[LinearMap]:
    """One for each stage, by ridge least squares against base's own update."""
    moments = [[Moments(net.stream, net.stream) for _ in range(2)] for _ in range(net.space.stages)]
    for part, readings in enumerate((seen, held)):
        for reading in readings:
            own = own_streams(net, net.base, reading.ids_BL, context_of(net, reading.ids_BL, reading.mask_BL))
            for stage, (h_BLD, after_BLD) in enumerate(pairwise(own)):
                x_ND, y_ND = token_rows(h_BLD, reading.mask_BL), token_rows(after_BLD - h_BLD, reading.mask_BL)
                moments[stage][part].add(x_ND, y_ND)
    made = [LinearMap(net.stream) for _ in moments]
    for one, kept in zip(made, moments, strict=True):
        load_affine(one.linear, fit_ridge(one.linear, *kept).affine)
    return made


class Seams:
    """The alternative: whoever runs a stage is given its own stream, translated from that of whoever ran the last."""

    def __init__(self, net: Supernet, donor: str) -> None:
        self.net, self.names = net, (net.base, donor)
        width = {name: net.components[name].width for name in self.names}
        self.translators = {
            (one, other, cut): Linear(width[one], width[other])
            for one, other in (self.names, self.names[::-1])
            for cut in range(net.space.stages + 1)
        }

    @torch.no_grad()
    def fit(self, seen: list[CalibrationBatch], held: list[CalibrationBatch]) -> None:
        """Ridge least squares between the two models' own streams at every cut, absolute positions left out."""
        moments: dict[Any, Moments] = {}
        for part, readings in (("seen", seen), ("held", held)):
            for reading in readings:
                context = context_of(self.net, reading.ids_BL, reading.mask_BL)
                own = {name: own_streams(self.net, name, reading.ids_BL, context) for name in self.names}
                for one, other, cut in self.translators:
                    y_BLD = own[other][cut] - context.positions.get(other, 0)
                    x_ND, y_ND = token_rows(own[one][cut], reading.mask_BL), token_rows(y_BLD, reading.mask_BL)
                    key = (part, one, other, cut)
                    moments.setdefault(key, Moments(x_ND.shape[1], y_ND.shape[1])).add(x_ND, y_ND)
        for key, linear in self.translators.items():
            load_affine(linear, fit_ridge(linear, moments["seen", *key], moments["held", *key]).affine)

    @torch.no_grad()
    def loss(self, batches: list[CalibrationBatch], path: Sequence[str]) -> float:
        """Nats per next token, base's embedding and head at the ends."""
        total, count = 0.0, 0
        for reading in batches:
            context = context_of(self.net, reading.ids_BL, reading.mask_BL)
            h_BLD: Tensor = self.net.embeds[self.net.base](reading.ids_BL, context.positions.get(self.net.base))
            ran = self.net.base
            for cut, name in enumerate([*path, self.net.base]):
                if name != ran:
                    h_BLD = self.translators[ran, name, cut](h_BLD) + context.positions.get(name, 0)
                if cut < len(path):
                    h_BLD = branch_of(self.net, cut, name).segment(h_BLD, context, cut)
                ran = name
            logits_BLV = self.net.heads[ran](self.net.norms[ran](h_BLD))
            told = torch.ones_like(reading.ids_BL) if reading.mask_BL is None else reading.mask_BL
            labels = reading.ids_BL[:, 1:].masked_fill(told[:, 1:] == 0, -100).flatten()
            total += float(F.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), labels, reduction="sum"))
            count += int((labels >= 0).sum())
        return total / count


def main() -> None:
    """Parse the words, run, print, write."""
    parser = argparse.ArgumentParser(description="closed-form projectors beside the alternatives")
    parser.add_argument("--models", required=True, help="two model folders that share a tokenizer: A,B")
    parser.add_argument("--text", type=Path, required=True, help="text in UTF-8; a tenth of it is only scored")
    parser.add_argument("--stages", type=int, default=4, help="stages of the space")
    parser.add_argument("--score-tokens", type=int, default=8192, help="tokens that paths are scored on")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="tokens to fit on")
    parser.add_argument("--steps", type=int, nargs="*", default=[100, 500], help="gradient steps after the closed form")
    parser.add_argument("--random-steps", type=int, default=500, help="gradient steps after a random start")
    parser.add_argument(
        "--random-rates", type=float, nargs="+", default=[1e-3, 3e-3, 1e-2], help="their step sizes; the best is told"
    )
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    given = parser.parse_args()
    setup_hardware(RunOptions(device="cpu"))
    text = read_text(given.text)
    components = [load(spec) for spec in SearchSpace(given.models.split(",")).components]
    out: dict[str, Any] = {"machine": environment_info(), "text": given.text.name, "bases": {}}
    for base in [one.name for one in components]:
        bench = Bench(components, base, text, given)
        found = out["bases"].setdefault(base, {})
        for name, numbers in bench.rows(given.steps):
            if not found:
                print(f"\n{base} at base: {numbers['base']:.3f} alone\n{'':30}{'mixed':>8}   each stage replaced alone")
            found[name] = numbers
            print(f"{name:30}{numbers['mixed']:8.3f}   {' '.join(f'{x:.3f}' for x in numbers['single'])}", flush=True)
    if given.json is not None:
        write_json(given.json, out)


if __name__ == "__main__":
    main()
