"""The loss of hybrids with closed-form projectors on two pretrained models, against alternatives.

    python benchmarks/alignment.py --models ./gpt-neo-nano,./mamba-nano --text text.txt --json alignment.json

Every mixed path of a space of `--stages` stages is scored, with each model as base in turn, on every tenth block of the
text, on which nothing was fitted and no damping selected. Rows:

  closed form      P and Q by `manticore align --no-bypass`, on 1k to 16k tokens; `+ N steps` adds gradient steps
  with a bypass    P, Q and R by `manticore align`, the same
  linear map       no donor model: the stage is `h + R h + b` (ridge on the most tokens), which a hybrid must beat
  random           random P and Q, then gradient steps, at the best of several learning rates
  seams            the whole stream is translated where the component changes (ridge on the most tokens)
  left out         donor stages are skipped

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
CHARACTERS = 5
"""Characters per token, estimated high, so that the text has as many tokens as are asked for."""

TOKENS = (1024, 2048, 4096, 8192, 16384)
Loss = Callable[[Sequence[str]], float]


def split(text: str, blocks: int = 40) -> tuple[str, str]:
    """The text to fit on, and every tenth block, which is the text to score on."""
    edges = [index * len(text) // blocks for index in range(blocks + 1)]
    parts = [text[start:stop] for start, stop in pairwise(edges)]
    return "".join(part for index, part in enumerate(parts) if index % 10 != 9), "".join(parts[9::10])


class Bench:
    """Measures every method with one model as base."""

    def __init__(self, components: list[Component], base: str, text: str, args: argparse.Namespace) -> None:
        self.components, self.base = components, base
        self.random_steps, self.rates = args.random_steps, args.random_rates
        self.stages: int = args.stages
        self.donor = next(component.name for component in components if component.name != base)
        fit, test = split(text)
        self.text = {tokens: build_calibration(components, base, [fit], tokens, LENGTH) for tokens in args.tokens}
        # All of the text: gradient steps from random projectors need more than the closed form.
        self.all_text = build_calibration(components, base, [fit], len(fit) // CHARACTERS, LENGTH).train
        scored = build_calibration(components, base, [test], args.score_tokens, LENGTH)
        self.scored = [*scored.train, *scored.val]

    def supernet(self, bypass: bool = False) -> Supernet:
        """A supernet with untrained projectors, with a bypass or without."""
        names = [component.name for component in self.components]
        space = SearchSpace(names, self.stages, self.base, projector_options={"bypass": bypass}, skip=True)
        return Supernet(self.components, space, self.base, HeadSpec()).eval()

    def summarize(self, loss: Loss) -> dict[str, Any]:
        """The mean loss over mixed paths, and the loss with each stage replaced alone."""
        names = [self.base, self.donor]
        losses = {path: loss(path) for path in product(names, repeat=self.stages)}
        mixed = [value for path, value in losses.items() if len(set(path)) == 2]
        base = [self.base] * self.stages
        single = [losses[(*base[:stage], self.donor, *base[stage + 1 :])] for stage in range(self.stages)]
        unmixed = {"base": losses[tuple(base)], "donor": losses[(self.donor,) * self.stages]}
        return {"mixed": sum(mixed) / len(mixed), "single": single, **unmixed}

    def rows(self, steps: Sequence[int]) -> Iterator[tuple[str, dict[str, Any]]]:
        """The numbers of every method."""
        most = self.text[max(self.text)]
        for name, bypass in (("closed form", False), ("with a bypass", True)):
            for tokens, calibration in self.text.items():
                net, started = self.supernet(bypass), time.monotonic()
                fit_projectors(net, calibration.train, calibration.val)
                seconds = time.monotonic() - started
                yield f"{name}, {tokens:,} tokens", {**self.summarize(self.loss_of(net)), "seconds": seconds}
            for count in steps:
                net = self.supernet(bypass)
                fit_projectors(net, most.train, most.val)
                started = time.monotonic()
                self.train(net, most.train, count)
                seconds = time.monotonic() - started
                yield f"{name} + {count} steps", {**self.summarize(self.loss_of(net)), "seconds": seconds}
        net = self.supernet()
        for stage, linear in enumerate(fit_linear_maps(net, most.train, most.val)):
            net.stages[stage][self.donor] = linear
        yield "linear map, no donor model", self.summarize(self.loss_of(net))
        runs = [self.random(rate) for rate in self.rates]
        best = min(runs, key=lambda run: run["mixed"])
        yield f"random + {self.random_steps} steps", {**best, "tried": {run["rate"]: run["mixed"] for run in runs}}
        seams = Seams(self.supernet(), self.donor)
        seams.fit(most.train, most.val)
        yield "seams", self.summarize(lambda path: seams.loss(self.scored, path))
        net = self.supernet()
        loss = self.loss_of(net)
        yield "left out", self.summarize(lambda path: loss([SKIP if name == self.donor else name for name in path]))

    def random(self, rate: float) -> dict[str, Any]:
        """Random P and Q, then gradient steps at a learning rate."""
        net = self.supernet()
        torch.manual_seed(0)
        for stage in range(self.stages):
            for projector in (branch_of(net, stage, self.donor).proj_in, branch_of(net, stage, self.donor).proj_out):
                nn.Linear.reset_parameters(projector)
        started = time.monotonic()
        self.train(net, self.all_text, self.random_steps, rate)
        seconds = time.monotonic() - started
        return {**self.summarize(self.loss_of(net)), "seconds": seconds, "rate": rate}

    def train(self, net: Supernet, batches: list[CalibrationBatch], steps: int, rate: float = RATE) -> None:
        """Gradient steps on paths of both components; `skip` is not drawn."""
        with torch.no_grad():
            net.alpha[:, net.candidates.index(SKIP)] = -1e9
        torch.manual_seed(0)
        refine(net, batches, steps, rate)

    def loss_of(self, net: Supernet) -> Loss:
        """The function from a path of `net` to its loss on the text to score on."""
        return lambda path: path_loss(net, [batch.token_batch for batch in self.scored], path)


class LinearMap(nn.Module):
    """`y = h + R h + b` instead of a stage, the baseline of a donor model."""

    def __init__(self, stream: int) -> None:
        super().__init__()
        self.linear = Linear(stream, stream)

    def forward(self, h_BLD: Tensor, context: Context) -> Tensor:
        update_BLD: Tensor = self.linear(h_BLD)
        return h_BLD + update_BLD


@torch.no_grad()
def fit_linear_maps(net: Supernet, train: list[CalibrationBatch], val: list[CalibrationBatch]) -> list[LinearMap]:
    """One map for each stage, by ridge regression on the update of the base."""
    moments = [[Moments(net.stream, net.stream) for _ in range(2)] for _ in range(net.space.stages)]
    for part, batches in enumerate((train, val)):
        for batch in batches:
            own = own_streams(net, net.base, batch.ids_BL, context_of(net, batch.ids_BL, batch.mask_BL))
            for stage, (h_BLD, after_BLD) in enumerate(pairwise(own)):
                x_ND, y_ND = token_rows(h_BLD, batch.mask_BL), token_rows(after_BLD - h_BLD, batch.mask_BL)
                moments[stage][part].add(x_ND, y_ND)
    maps = [LinearMap(net.stream) for _ in moments]
    for linear_map, stage_moments in zip(maps, moments, strict=True):
        load_affine(linear_map.linear, fit_ridge(linear_map.linear, *stage_moments).affine)
    return maps


class Seams:
    """Every stage runs on its component's own stream, translated from the stream of the component before it."""

    def __init__(self, net: Supernet, donor: str) -> None:
        self.net, self.names = net, (net.base, donor)
        width = {name: net.components[name].width for name in self.names}
        self.translators = {
            (source, target, cut): Linear(width[source], width[target])
            for source, target in (self.names, self.names[::-1])
            for cut in range(net.space.stages + 1)
        }

    @torch.no_grad()
    def fit(self, train: list[CalibrationBatch], val: list[CalibrationBatch]) -> None:
        """Ridge regression between the two models' own streams at every cut, without absolute positions."""
        moments: dict[Any, Moments] = {}
        for part, batches in (("train", train), ("val", val)):
            for batch in batches:
                context = context_of(self.net, batch.ids_BL, batch.mask_BL)
                own = {name: own_streams(self.net, name, batch.ids_BL, context) for name in self.names}
                for source, target, cut in self.translators:
                    y_BLD = own[target][cut] - context.positions.get(target, 0)
                    x_ND, y_ND = token_rows(own[source][cut], batch.mask_BL), token_rows(y_BLD, batch.mask_BL)
                    key = (part, source, target, cut)
                    moments.setdefault(key, Moments(x_ND.shape[1], y_ND.shape[1])).add(x_ND, y_ND)
        for key, linear in self.translators.items():
            load_affine(linear, fit_ridge(linear, moments["train", *key], moments["val", *key]).affine)

    @torch.no_grad()
    def loss(self, batches: list[CalibrationBatch], path: Sequence[str]) -> float:
        """Nats per next token, with the embedding and the head of the base."""
        total, count = 0.0, 0
        for batch in batches:
            context = context_of(self.net, batch.ids_BL, batch.mask_BL)
            h_BLD: Tensor = self.net.embeds[self.net.base](batch.ids_BL, context.positions.get(self.net.base))
            current = self.net.base
            for cut, name in enumerate([*path, self.net.base]):
                if name != current:
                    h_BLD = self.translators[current, name, cut](h_BLD) + context.positions.get(name, 0)
                if cut < len(path):
                    h_BLD = branch_of(self.net, cut, name).segment(h_BLD, context, cut)
                current = name
            logits_BLV = self.net.heads[current](self.net.norms[current](h_BLD))
            mask_BL = torch.ones_like(batch.ids_BL) if batch.mask_BL is None else batch.mask_BL
            labels = batch.ids_BL[:, 1:].masked_fill(mask_BL[:, 1:] == 0, -100).flatten()
            total += float(F.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), labels, reduction="sum"))
            count += int((labels >= 0).sum())
        return total / count


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="closed-form projectors against alternatives")
    parser.add_argument("--models", required=True, help="two model folders that share a tokenizer: A,B")
    parser.add_argument("--text", type=Path, required=True, help="text in UTF-8; a tenth of it is for scoring")
    parser.add_argument("--stages", type=int, default=4, help="stages of the space")
    parser.add_argument("--score-tokens", type=int, default=8192, help="tokens that paths are scored on")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="tokens to fit on")
    parser.add_argument("--steps", type=int, nargs="*", default=[100, 500], help="gradient steps after the closed form")
    parser.add_argument("--random-steps", type=int, default=500, help="gradient steps from random projectors")
    parser.add_argument(
        "--random-rates",
        type=float,
        nargs="+",
        default=[1e-3, 3e-3, 1e-2],
        help="their learning rates; the best is reported",
    )
    parser.add_argument("--json", type=Path, help="file for the numbers")
    args = parser.parse_args()
    setup_hardware(RunOptions(device="cpu"))
    text = read_text(args.text)
    components = [load(spec) for spec in SearchSpace(args.models.split(",")).components]
    out: dict[str, Any] = {"machine": environment_info(), "text": args.text.name, "bases": {}}
    for base in [component.name for component in components]:
        bench = Bench(components, base, text, args)
        rows = out["bases"].setdefault(base, {})
        for name, numbers in bench.rows(args.steps):
            if not rows:
                print(f"\n{base} as base: {numbers['base']:.3f} alone\n{'':30}{'mixed':>8}   each stage replaced alone")
            rows[name] = numbers
            print(f"{name:30}{numbers['mixed']:8.3f}   {' '.join(f'{x:.3f}' for x in numbers['single'])}", flush=True)
    if args.json is not None:
        write_json(args.json, out)


if __name__ == "__main__":
    main()
