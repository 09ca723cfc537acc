"""What might make closed-form projectors better, tried beside what `manticore align` does.

    python benchmarks/alignment_ideas.py --models ./gpt-neo-nano,./mamba-nano --text prose.txt --target source.txt

Mixed paths of a space of `--stages` stages, each model at base in turn, scored on every tenth block of a text, as in
`alignment.py`. Rows:

  as it is         P, Q and R by `manticore align`, every stage fitted on base's own stream
  along each path  fitted anew for every path, a stage on the stream that the stages before it make in fact; Q and R
                   are to make base's own update (`update`), or what is missing to base's own stream (`repair`)
  the target text  scored on the other text: fitted on the first, on that one, and on half as much of each
  low rank         P, Q and R of a rank; `whitened`: the directions to keep are chosen with all directions of what is
                   fitted to made equally large. With all ranks kept whitening changes nothing: ridge fits every
                   direction by itself

Numbers are nats per token: the mean over all mixed paths, and the lowest of them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
from alignment import LENGTH, split
from torch import Tensor

from manticore.alignment import Calibration, CalibrationBatch, build_calibration, fit_projectors
from manticore.alignment.closed_forms import RidgeFit, load_affine
from manticore.alignment.fit import GAINS, MIN_IMPROVEMENT
from manticore.alignment.ridge import DAMPINGS, Affine, Moments
from manticore.alignment.streams import branch_of, context_of, own_streams, token_rows
from manticore.components import Component, load
from manticore.config.sections import RunOptions
from manticore.experiment.environment import environment_info, setup_hardware
from manticore.modeling.branches import DonorBranch
from manticore.modeling.segments import Context
from manticore.nas.selection.path_scores import TokenBatch, path_loss
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.language.documents import read_text
from manticore.tasks.task import HeadSpec
from manticore.utils.io import write_json

Streams = dict[str, list[Tensor]]
"""By component, its own stream at every cut (B, L, D_k)."""

Walk = list[tuple[CalibrationBatch, Context, Streams, Tensor]]
"""Text, what surrounds it, all streams, and that (B, L, D) at the cut that a path has come to."""

Rows = tuple[Tensor, Tensor]
"""Vectors (N, D) and (N, E) of the same tokens."""

Loss = Callable[[Sequence[str]], float]


@dataclass(frozen=True)
class Idea:
    """How the projectors of a stage are fitted.

    Attributes:
        along: on the stream that a path makes; else on base's own.
        repair: Q and R are to make what is missing to base's own stream after the stage; else base's update.
        rank: of P, and of Q and R together; None: any.
        whitened: directions to keep are chosen among targets made equally large in all of them.
    """

    along: bool = False
    repair: bool = False
    rank: int | None = None
    whitened: bool = False


def tokens(batches: Sequence[CalibrationBatch]) -> list[TokenBatch]:
    """Token ids and masks of calibration batches."""
    return [batch.token_batch for batch in batches]


class Bench:
    """One model at base."""

    def __init__(self, components: list[Component], base: str, given: argparse.Namespace) -> None:
        self.components, self.base, self.stages = components, base, given.stages
        self.donor = next(one.name for one in components if one.name != base)
        self.tokens, self.score_tokens = given.tokens, given.score_tokens
        self.mixed = [path for path in product([base, self.donor], repeat=self.stages) if len(set(path)) == 2]

    def rows(self, text: str, target: str | None, ranks: Sequence[int]) -> Iterator[tuple[str, dict[str, float]]]:
        """Every idea's numbers."""
        fit, test = split(text)
        on, told = self.read([fit], self.tokens), self.told(test)
        net = self.aligned(on)
        starts = [start(net, part) for part in (on.train, on.val)]
        yield "base alone", {"mixed": path_loss(net, tokens(told), [self.base] * self.stages)}
        yield "as it is", self.sum_up(lambda path: path_loss(net, tokens(told), path))
        for aim in ("update", "repair"):
            moved, idea = self.supernet(), Idea(along=True, repair=aim == "repair")
            yield f"along each path, {aim}", self.sum_up(self.refitted(moved, starts, idea, told))
        for rank in ranks:
            for whitened in (False, True):
                low = self.supernet()
                fit_path(low, [self.donor] * self.stages, starts, Idea(rank=rank, whitened=whitened))
                name = f"rank {rank}{', whitened' if whitened else ''}"
                yield name, self.sum_up(lambda path, low=low: path_loss(low, tokens(told), path))
        if target is None:
            return
        fit_there, test_there = split(target)
        there = self.told(test_there)
        yield "target: base alone", {"mixed": path_loss(net, tokens(there), [self.base] * self.stages)}
        yield "target: fitted on the text", self.sum_up(lambda path: path_loss(net, tokens(there), path))
        size = min(len(fit), len(fit_there))
        for name, texts in (("the target", [fit_there]), ("both, half of each", [fit[:size], fit_there[:size]])):
            moved = self.aligned(self.read(texts, self.tokens))
            yield (
                f"target: fitted on {name}",
                self.sum_up(lambda path, moved=moved: path_loss(moved, tokens(there), path)),
            )

    def supernet(self) -> Supernet:
        """Untrained projectors."""
        names = [one.name for one in self.components]
        space = SearchSpace(names, self.stages, self.base, projector_options={"bypass": True})
        return Supernet(self.components, space, self.base, HeadSpec()).eval()

    def aligned(self, text: Calibration) -> Supernet:
        """Projectors as `manticore align` makes them."""
        net = self.supernet()
        fit_projectors(net, text.train, text.val)
        return net

    def read(self, texts: Sequence[str], tokens: int) -> Calibration:
        """Text to fit on."""
        return build_calibration(self.components, self.base, texts, tokens, LENGTH)

    def told(self, text: str) -> list[CalibrationBatch]:
        """Text to score on."""
        held = self.read([text], self.score_tokens)
        return [*held.train, *held.val]

    def refitted(self, net: Supernet, starts: Sequence[Walk], idea: Idea, told: list[CalibrationBatch]) -> Loss:
        """The loss of a path for which the projectors are fitted anew."""

        def loss(path: Sequence[str]) -> float:
            fit_path(net, path, starts, idea)
            return path_loss(net, tokens(told), path)

        return loss

    def sum_up(self, loss: Loss) -> dict[str, float]:
        """The mean over mixed paths and the lowest."""
        started = time.monotonic()
        losses = [loss(path) for path in self.mixed]
        return {"mixed": sum(losses) / len(losses), "lowest": min(losses), "seconds": time.monotonic() - started}


@torch.no_grad()
def fit_path(net: Supernet, path: Sequence[str], starts: Sequence[Walk], idea: Idea) -> None:
    """Fit the projectors of a path in place, from its first stage to its last."""
    walks = list(starts)
    for stage, name in enumerate(path):
        branch, base = branch_of(net, stage, name), branch_of(net, stage, net.base)
        if isinstance(branch, DonorBranch):
            fit_stage(net, branch, stage, walks, idea)
        runs = branch if idea.along else base
        walks = [[(one, context, own, runs(h, context)) for one, context, own, h in walk] for walk in walks]


@torch.no_grad()
def start(net: Supernet, text: Sequence[CalibrationBatch]) -> Walk:
    """The stream before the first stage."""
    out: Walk = []
    for reading in text:
        context = context_of(net, reading.ids_BL, reading.mask_BL)
        own = {name: own_streams(net, name, reading.ids_BL, context) for name in net.components}
        out.append((reading, context, own, own[net.base][0]))
    return out


def fit_stage(net: Supernet, branch: DonorBranch, stage: int, walks: Sequence[Walk], idea: Idea) -> None:
    """Fit P, then Q with R for each stretch of P, as `align` does, on the streams that are given."""

    def proj_in(walk: Walk) -> Iterator[Rows]:
        for reading, context, own, h_BLD in walk:
            y_BLD = own[branch.name][stage] - context.positions.get(branch.name, 0)
            yield token_rows(h_BLD, reading.mask_BL), token_rows(y_BLD, reading.mask_BL)

    def proj_out(walk: Walk) -> Iterator[Rows]:
        for reading, context, own, h_BLD in walk:
            x_BLD = torch.cat([branch.segment_update(branch.proj_in(h_BLD), context), h_BLD], dim=-1)
            base = own[net.base]
            y_BLD = base[stage + 1] - (h_BLD if idea.repair else base[stage])
            yield token_rows(x_BLD, reading.mask_BL), token_rows(y_BLD, reading.mask_BL)

    p = fitted(*map(proj_in, walks), idea)
    tried = []
    for stretch in GAINS if p.r2 <= 1 - MIN_IMPROVEMENT else GAINS[:1]:
        load_affine(branch.proj_in, p.scaled(stretch))
        tried.append((fitted(*map(proj_out, walks), idea), stretch))
    q, stretch = tried[0]
    for other, by in tried[1:]:
        q, stretch = (other, by) if other.r2 > q.r2 + MIN_IMPROVEMENT else (q, stretch)
    load_affine(branch.proj_in, p.scaled(stretch))
    load_affine(branch.proj_out, q.affine, branch.bypass)


def fitted(seen: Iterator[Rows], held: Iterator[Rows], idea: Idea) -> RidgeFit:
    """The map that leaves least of what is held out unexplained, of the rank that the idea wants."""
    (moments, targets), (test, _) = gather(seen), gather(held)
    fits = moments.solve_each(DAMPINGS)
    if idea.rank is not None and idea.whitened:
        fits = [truncate_whitened(moments, targets, fit, idea.rank) for fit in fits]
    elif idea.rank is not None:
        fits = [moments.truncate(fit, idea.rank) for fit in fits]
    choices = [
        RidgeFit(fit, at, 1 - test.unexplained(fit), moments.y_E) for fit, at in zip(fits, DAMPINGS, strict=True)
    ]
    return max(choices, key=lambda choice: choice.r2)


def gather(pairs: Iterator[Rows]) -> tuple[Moments, Moments]:
    """Moments of (x, y) and of (y, y)."""
    both, targets = Moments(0, 0), Moments(0, 0)
    for x_ND, y_NE in pairs:
        if not both.count:
            both, targets = Moments(x_ND.shape[1], y_NE.shape[1]), Moments(y_NE.shape[1], y_NE.shape[1])
        both.add(x_ND, y_NE)
        targets.add(y_NE, y_NE)
    return both, targets


def truncate_whitened(moments: Moments, targets: Moments, fit: Affine, rank: int) -> Affine:
    """`Moments.truncate` among targets made equally large in all directions."""
    sizes_E, axes_EE = torch.linalg.eigh(targets.xx_DD)
    sizes_E = sizes_E.clamp(min=float(sizes_E.max()) * 1e-9).sqrt()
    weight_ED = (axes_EE / sizes_E) @ axes_EE.T @ fit.weight_ED
    kept_ER = torch.linalg.eigh(weight_ED @ moments.xx_DD @ weight_ED.T)[1][:, -rank:]
    weight_ED = (axes_EE * sizes_E) @ axes_EE.T @ kept_ER @ (kept_ER.T @ weight_ED)
    return Affine(weight_ED, moments.y_E - weight_ED @ moments.x_D)


def main() -> None:
    """Parse the words, run, print, write."""
    parser = argparse.ArgumentParser(description="ideas for better closed-form projectors, tried")
    parser.add_argument("--models", required=True, help="two model folders that share a tokenizer: A,B")
    parser.add_argument("--text", type=Path, required=True, help="text in UTF-8; a tenth of it is only scored")
    parser.add_argument("--target", type=Path, help="text of another kind, to fit on and to score on")
    parser.add_argument("--stages", type=int, default=4, help="stages of the space")
    parser.add_argument("--score-tokens", type=int, default=4096, help="tokens that paths are scored on")
    parser.add_argument("--tokens", type=int, default=16384, help="tokens to fit on")
    parser.add_argument("--ranks", type=int, nargs="*", default=[16, 64], help="ranks that are tried")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    given = parser.parse_args()
    setup_hardware(RunOptions(device="cpu"))
    text, target = read_text(given.text), None if given.target is None else read_text(given.target)
    components = [load(spec) for spec in SearchSpace(given.models.split(",")).components]
    out: dict[str, Any] = {"machine": environment_info(), "text": given.text.name, "bases": {}}
    for base in [one.name for one in components]:
        found = out["bases"].setdefault(base, {})
        print(f"\n{base} at base{'mixed':>{36 - len(base)}}  lowest")
        for name, numbers in Bench(components, base, given).rows(text, target, given.ranks):
            found[name] = numbers
            lowest = f"{numbers['lowest']:8.3f}" if "lowest" in numbers else ""
            print(f"{name:36}{numbers['mixed']:8.3f}{lowest}", flush=True)
    if given.json is not None:
        write_json(given.json, out)


if __name__ == "__main__":
    main()
