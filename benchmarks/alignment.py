"""What closed-form projectors are worth on two pretrained models, beside the alternatives.

    python benchmarks/alignment.py --models ./gpt-neo-nano,./mamba-nano --text text.txt --json alignment.json

Every mixed path of a 4-stage space is scored on text that nothing was fitted on, with each model at home in turn:

  closed form      `manticore align` on 1k to 16k tokens; `+ N steps` adds gradient steps on the 16k tokens
  trained          P and Q drawn at random, then gradient steps on fresh text
  seams            no updates: the whole stream is translated where the component changes (ridge, 16k tokens)
  left out         the foreign stages are not there
  linear map       no foreign model: home's update is guessed from home's stream (ridge, 16k tokens)
  with a bypass    Q is given home's stream beside the foreign update (no branch of manticore does that)

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

from manticore.alignment import Reading, align
from manticore.alignment.forms import choose, write
from manticore.alignment.ridge import Moments
from manticore.alignment.steps import refine
from manticore.alignment.streams import branch_of, context_of, own_streams, rows
from manticore.architecture import SKIP
from manticore.components import Component, load
from manticore.files import write_json
from manticore.modeling.branches import ForeignBranch
from manticore.modeling.projectors import Linear
from manticore.modeling.segments import Context
from manticore.recipe import RunOptions
from manticore.runs.calibration import calibration, read_texts
from manticore.runs.machine import facts, prepare
from manticore.selection.zero_shot import path_loss
from manticore.space import SearchSpace
from manticore.supernet import Readout, Supernet

STAGES, LENGTH, STEPS = 4, 128, 500
TOKENS = (1024, 2048, 4096, 8192, 16384)
Loss = Callable[[Sequence[str]], float]


def split(text: str, blocks: int = 40) -> tuple[str, str]:
    """Text to fit on, and every tenth block of it to score on."""
    edges = [place * len(text) // blocks for place in range(blocks + 1)]
    parts = [text[start:stop] for start, stop in pairwise(edges)]
    return "".join(part for place, part in enumerate(parts) if place % 10 != 9), "".join(parts[9::10])


class Bench:
    """One model at home: the texts and what is measured on them."""

    def __init__(self, components: list[Component], home: str, text: str, score_tokens: int) -> None:
        self.components, self.home = components, home
        self.foreign = next(one.name for one in components if one.name != home)
        fit, test = split(text)
        self.text = {tokens: calibration(components, home, [fit], tokens, LENGTH) for tokens in TOKENS}
        self.fresh = calibration(components, home, [fit], STEPS * 8 * LENGTH, LENGTH).seen
        scored = calibration(components, home, [test], score_tokens, LENGTH)
        self.scored = [*scored.seen, *scored.held]

    def supernet(self) -> Supernet:
        space = SearchSpace([one.name for one in self.components], stages=STAGES, home=self.home, skip=True)
        return Supernet(self.components, space, self.home, Readout()).eval()

    def sum_up(self, loss: Loss) -> dict[str, Any]:
        """The mean over mixed paths, and each stage replaced alone."""
        names = [self.home, self.foreign]
        losses = {path: loss(path) for path in product(names, repeat=STAGES)}
        mixed = [held for path, held in losses.items() if len(set(path)) == 2]
        home = [self.home] * STAGES
        single = [losses[(*home[:stage], self.foreign, *home[stage + 1 :])] for stage in range(STAGES)]
        whole = {"home": losses[tuple(home)], "foreign": losses[(self.foreign,) * STAGES]}
        return {"mixed": sum(mixed) / len(mixed), "single": single, **whole}

    def rows(self, steps: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every method's numbers."""
        most = self.text[TOKENS[-1]]
        for tokens, held in self.text.items():
            net, started = self.supernet(), time.monotonic()
            align(net, lambda held=held: held.seen, lambda held=held: held.held)
            seconds = time.monotonic() - started
            yield f"closed form, {tokens:,} tokens", {**self.sum_up(self.loss_of(net)), "seconds": seconds}
        for count in steps:
            net = self.supernet()
            align(net, lambda: most.seen, lambda: most.held)
            started = time.monotonic()
            self.train(net, most.seen, count)
            seconds = time.monotonic() - started
            yield f"closed form + {count} steps", {**self.sum_up(self.loss_of(net)), "seconds": seconds}
        net = self.supernet()
        torch.manual_seed(0)
        for stage in range(STAGES):
            for projector in (branch_of(net, stage, self.foreign).inward, branch_of(net, stage, self.foreign).outward):
                nn.Linear.reset_parameters(projector)
        started = time.monotonic()
        self.train(net, self.fresh, STEPS)
        seconds = time.monotonic() - started
        yield f"random + {STEPS} steps", {**self.sum_up(self.loss_of(net)), "seconds": seconds}
        seams = Seams(self.supernet(), self.foreign)
        seams.fit(most.seen, most.held)
        yield "seams", self.sum_up(lambda path: seams.loss(self.scored, path))
        for name, beside in (("linear map", False), ("with a bypass", True)):
            net = self.supernet()
            align(net, lambda: most.seen, lambda: most.held)
            for stage, branch in enumerate(fit_bypasses(net, self.foreign, most.seen, most.held, beside)):
                net.stages[stage][self.foreign] = branch
            yield name, self.sum_up(self.loss_of(net))
        net = self.supernet()
        loss = self.loss_of(net)
        yield "left out", self.sum_up(lambda path: loss([SKIP if name == self.foreign else name for name in path]))

    def train(self, net: Supernet, batches: list[Reading], steps: int) -> None:
        """Gradient steps on paths of both components; `skip` is not drawn."""
        with torch.no_grad():
            net.alpha[:, net.candidates.index(SKIP)] = -1e9
        torch.manual_seed(0)
        refine(net, lambda: batches, steps)

    def loss_of(self, net: Supernet) -> Loss:
        """The loss of a path of `net` on the text to score on."""
        return lambda path: path_loss(net, self.scored, path)


class Bypass(nn.Module):
    """`y = h + R [h, update]`: the foreign update, if any, beside a linear map of the stream."""

    def __init__(self, branch: ForeignBranch, width: int, stream: int, beside: bool) -> None:
        super().__init__()
        self.branch, self.beside = branch, beside
        self.linear = Linear(stream + width * beside, stream)

    def given(self, h_BLD: Tensor, context: Context) -> Tensor:
        """What the linear map reads."""
        if not self.beside:
            return h_BLD
        return torch.cat([h_BLD, self.branch.update(self.branch.inward(h_BLD), context)], dim=-1)

    def forward(self, h_BLD: Tensor, context: Context) -> Tensor:
        update_BLD: Tensor = self.linear(self.given(h_BLD, context))
        return h_BLD + update_BLD


@torch.no_grad()
def fit_bypasses(net: Supernet, foreign: str, seen: list[Reading], held: list[Reading], beside: bool) -> list[Bypass]:
    """A bypass for each stage of an aligned supernet, by ridge least squares against home's own update."""
    made = []
    for stage in range(STAGES):
        branch = Bypass(branch_of(net, stage, foreign), net.components[foreign].width, net.stream, beside)
        moments = [Moments(branch.linear.in_features, net.stream) for _ in range(2)]
        for readings, kept in zip((seen, held), moments, strict=True):
            for reading in readings:
                context = context_of(net, reading.ids_BL, reading.mask_BL)
                own = own_streams(net, net.home, reading.ids_BL, context)
                x_BLD, y_BLD = branch.given(own[stage], context), own[stage + 1] - own[stage]
                kept.add(rows(x_BLD, reading.mask_BL), rows(y_BLD, reading.mask_BL))
        write(branch.linear, choose(branch.linear, *moments).affine)
        made.append(branch)
    return made


class Seams:
    """The alternative: whoever runs a stage is given its own stream, translated from that of whoever ran the last."""

    def __init__(self, net: Supernet, foreign: str) -> None:
        self.net, self.names = net, (net.home, foreign)
        width = {name: net.components[name].width for name in self.names}
        self.translators = {
            (one, other, cut): Linear(width[one], width[other])
            for one, other in (self.names, self.names[::-1])
            for cut in range(STAGES + 1)
        }

    @torch.no_grad()
    def fit(self, seen: list[Reading], held: list[Reading]) -> None:
        """Ridge least squares between the two models' own streams at every cut, absolute positions left out."""
        moments: dict[Any, Moments] = {}
        for part, readings in (("seen", seen), ("held", held)):
            for reading in readings:
                context = context_of(self.net, reading.ids_BL, reading.mask_BL)
                own = {name: own_streams(self.net, name, reading.ids_BL, context) for name in self.names}
                for one, other, cut in self.translators:
                    y_BLD = own[other][cut] - context.positions.get(other, 0)
                    x_ND, y_ND = rows(own[one][cut], reading.mask_BL), rows(y_BLD, reading.mask_BL)
                    key = (part, one, other, cut)
                    moments.setdefault(key, Moments(x_ND.shape[1], y_ND.shape[1])).add(x_ND, y_ND)
        for key, linear in self.translators.items():
            write(linear, choose(linear, moments["seen", *key], moments["held", *key]).affine)

    @torch.no_grad()
    def loss(self, batches: list[Reading], path: Sequence[str]) -> float:
        """Nats per next token, home's embedding and head at the ends."""
        total, count = 0.0, 0
        for reading in batches:
            context = context_of(self.net, reading.ids_BL, reading.mask_BL)
            h_BLD: Tensor = self.net.embeds[self.net.home](reading.ids_BL, context.positions.get(self.net.home))
            ran = self.net.home
            for cut, name in enumerate([*path, self.net.home]):
                if name != ran:
                    h_BLD = self.translators[ran, name, cut](h_BLD) + context.positions.get(name, 0)
                if cut < STAGES:
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
    parser.add_argument("--score-tokens", type=int, default=8192, help="tokens that paths are scored on")
    parser.add_argument("--steps", type=int, nargs="*", default=[100, 500], help="gradient steps after the closed form")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    given = parser.parse_args()
    prepare(RunOptions(device="cpu"))
    text = "".join(read_texts([given.text]))
    components = [load(spec) for spec in SearchSpace(given.models.split(",")).components]
    out: dict[str, Any] = {"machine": facts(), "text": given.text.name, "homes": {}}
    for home in [one.name for one in components]:
        bench = Bench(components, home, text, given.score_tokens)
        found = out["homes"].setdefault(home, {})
        for name, numbers in bench.rows(given.steps):
            if not found:
                print(f"\n{home} at home: {numbers['home']:.3f} alone\n{'':28}{'mixed':>8}   each stage replaced alone")
            found[name] = numbers
            print(f"{name:28}{numbers['mixed']:8.3f}   {' '.join(f'{x:.3f}' for x in numbers['single'])}", flush=True)
    if given.json is not None:
        write_json(given.json, out)


if __name__ == "__main__":
    main()
