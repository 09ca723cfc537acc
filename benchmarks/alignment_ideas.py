"""Variants of the closed-form fit of projectors, compared with the fit of `manticore align`.

    python benchmarks/alignment_ideas.py --models ./gpt-neo-nano,./mamba-nano --text prose.txt --target source.txt

Every mixed path of a space of `--stages` stages is scored, with each model as base in turn, on every tenth block of the
text, as in `alignment.py`. Rows:

  as it is         P, Q and R by `manticore align`: every stage is fitted on the stream of the base alone
  along each path  the projectors are fitted again for every path, each stage on the stream that the previous stages of
                   the path compute. The target of Q and R is the update of the base alone (`update`), or the
                   difference between the stream of the base alone and that of the path (`repair`)
  target: ...      paths are scored on the target text, with projectors fitted on the text, on the target text, and on
                   half as much of each
  rank ...         P, Q and R of low rank; `whitened`: the directions to keep are selected after whitening the targets.
                   Whitening has no effect at full rank, where ridge regression fits every direction separately

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
"""The stream (B, L, D_k) of each component alone, at every cut."""

PathState = list[tuple[CalibrationBatch, Context, Streams, Tensor]]
"""For each batch: its tokens, its context, the streams of the components, and a path's stream (B, L, D) at a cut."""

Rows = tuple[Tensor, Tensor]
"""Inputs (N, D) and targets (N, E) of a regression, one row for each token."""

Loss = Callable[[Sequence[str]], float]


@dataclass(frozen=True)
class Variant:
    """How the projectors of a stage are fitted.

    Attributes:
        along: whether the inputs are the stream of the path; else they are the stream of the base alone.
        repair: whether the target of Q and R is the difference to the stream of the base alone after the stage; else
            it is the update of the base.
        rank: the rank of P, and of Q and R together; None is full rank.
        whitened: whether the directions to keep are selected after whitening the targets.
    """

    along: bool = False
    repair: bool = False
    rank: int | None = None
    whitened: bool = False


def tokens(batches: Sequence[CalibrationBatch]) -> list[TokenBatch]:
    """Token ids and masks of calibration batches."""
    return [batch.token_batch for batch in batches]


class Bench:
    """Measures every variant with one model as base."""

    def __init__(self, components: list[Component], base: str, args: argparse.Namespace) -> None:
        self.components, self.base, self.stages = components, base, args.stages
        self.donor = next(component.name for component in components if component.name != base)
        self.tokens, self.score_tokens = args.tokens, args.score_tokens
        self.mixed = [path for path in product([base, self.donor], repeat=self.stages) if len(set(path)) == 2]

    def rows(self, text: str, target: str | None, ranks: Sequence[int]) -> Iterator[tuple[str, dict[str, float]]]:
        """The numbers of every variant."""
        fit, test = split(text)
        calibration, scored = self.calibrate([fit], self.tokens), self.score_batches(test)
        net = self.aligned_supernet(calibration)
        starts = [start(net, batches) for batches in (calibration.train, calibration.val)]
        yield "base alone", {"mixed": path_loss(net, tokens(scored), [self.base] * self.stages)}
        yield "as it is", self.summarize(lambda path: path_loss(net, tokens(scored), path))
        for aim in ("update", "repair"):
            refit_net, variant = self.supernet(), Variant(along=True, repair=aim == "repair")
            yield f"along each path, {aim}", self.summarize(self.refit_loss(refit_net, starts, variant, scored))
        for rank in ranks:
            for whitened in (False, True):
                low = self.supernet()
                fit_path(low, [self.donor] * self.stages, starts, Variant(rank=rank, whitened=whitened))
                name = f"rank {rank}{', whitened' if whitened else ''}"
                yield name, self.summarize(lambda path, low=low: path_loss(low, tokens(scored), path))
        if target is None:
            return
        target_fit, target_test = split(target)
        target_scored = self.score_batches(target_test)
        yield "target: base alone", {"mixed": path_loss(net, tokens(target_scored), [self.base] * self.stages)}
        yield "target: fitted on the text", self.summarize(lambda path: path_loss(net, tokens(target_scored), path))
        size = min(len(fit), len(target_fit))
        for name, texts in (("the target", [target_fit]), ("both, half of each", [fit[:size], target_fit[:size]])):
            target_net = self.aligned_supernet(self.calibrate(texts, self.tokens))
            yield (
                f"target: fitted on {name}",
                self.summarize(lambda path, net=target_net: path_loss(net, tokens(target_scored), path)),
            )

    def supernet(self) -> Supernet:
        """A supernet with untrained projectors and bypasses."""
        names = [component.name for component in self.components]
        space = SearchSpace(names, self.stages, self.base, projector_options={"bypass": True})
        return Supernet(self.components, space, self.base, HeadSpec()).eval()

    def aligned_supernet(self, calibration: Calibration) -> Supernet:
        """A supernet with the projectors of `manticore align`."""
        net = self.supernet()
        fit_projectors(net, calibration.train, calibration.val)
        return net

    def calibrate(self, texts: Sequence[str], tokens: int) -> Calibration:
        """Calibration batches from texts, with at most this number of tokens."""
        return build_calibration(self.components, self.base, texts, tokens, LENGTH)

    def score_batches(self, text: str) -> list[CalibrationBatch]:
        """The batches of a text that paths are scored on."""
        calibration = self.calibrate([text], self.score_tokens)
        return [*calibration.train, *calibration.val]

    def refit_loss(
        self, net: Supernet, starts: Sequence[PathState], variant: Variant, scored: list[CalibrationBatch]
    ) -> Loss:
        """The function from a path to its loss after the projectors are fitted for that path."""

        def loss(path: Sequence[str]) -> float:
            fit_path(net, path, starts, variant)
            return path_loss(net, tokens(scored), path)

        return loss

    def summarize(self, loss: Loss) -> dict[str, float]:
        """The mean and the minimum of the loss over mixed paths, and the seconds that it took."""
        started = time.monotonic()
        losses = [loss(path) for path in self.mixed]
        return {"mixed": sum(losses) / len(losses), "lowest": min(losses), "seconds": time.monotonic() - started}


@torch.no_grad()
def fit_path(net: Supernet, path: Sequence[str], starts: Sequence[PathState], variant: Variant) -> None:
    """Fit the projectors of a path in place, from its first stage to its last."""
    states = list(starts)
    for stage, name in enumerate(path):
        branch, base = branch_of(net, stage, name), branch_of(net, stage, net.base)
        if isinstance(branch, DonorBranch):
            fit_stage(net, branch, stage, states, variant)
        step = branch if variant.along else base
        states = [[(batch, context, own, step(h, context)) for batch, context, own, h in state] for state in states]


@torch.no_grad()
def start(net: Supernet, batches: Sequence[CalibrationBatch]) -> PathState:
    """The state of a path before its first stage."""
    state: PathState = []
    for batch in batches:
        context = context_of(net, batch.ids_BL, batch.mask_BL)
        own = {name: own_streams(net, name, batch.ids_BL, context) for name in net.components}
        state.append((batch, context, own, own[net.base][0]))
    return state


def fit_stage(net: Supernet, branch: DonorBranch, stage: int, states: Sequence[PathState], variant: Variant) -> None:
    """Fit P, then Q and R for each gain of P, as `align` does; `states` are those for training and validation."""

    def rows_in(state: PathState) -> Iterator[Rows]:
        for batch, context, own, h_BLD in state:
            y_BLD = own[branch.name][stage] - context.positions.get(branch.name, 0)
            yield token_rows(h_BLD, batch.mask_BL), token_rows(y_BLD, batch.mask_BL)

    def rows_out(state: PathState) -> Iterator[Rows]:
        for batch, context, own, h_BLD in state:
            x_BLD = torch.cat([branch.segment_update(branch.proj_in(h_BLD), context), h_BLD], dim=-1)
            base = own[net.base]
            y_BLD = base[stage + 1] - (h_BLD if variant.repair else base[stage])
            yield token_rows(x_BLD, batch.mask_BL), token_rows(y_BLD, batch.mask_BL)

    p = fit_map(*map(rows_in, states), variant)
    fits = []
    for gain in GAINS if p.r2 <= 1 - MIN_IMPROVEMENT else GAINS[:1]:
        load_affine(branch.proj_in, p.scaled(gain))
        fits.append((fit_map(*map(rows_out, states), variant), gain))
    best, best_gain = fits[0]
    for fit, gain in fits[1:]:
        best, best_gain = (fit, gain) if fit.r2 > best.r2 + MIN_IMPROVEMENT else (best, best_gain)
    load_affine(branch.proj_in, p.scaled(best_gain))
    load_affine(branch.proj_out, best.affine, branch.bypass)


def fit_map(train: Iterator[Rows], val: Iterator[Rows], variant: Variant) -> RidgeFit:
    """Ridge regression of the variant's rank, with the damping that explains most of the validation rows."""
    (moments, targets), (val_moments, _) = gather(train), gather(val)
    maps = moments.solve_each(DAMPINGS)
    if variant.rank is not None and variant.whitened:
        maps = [truncate_whitened(moments, targets, affine, variant.rank) for affine in maps]
    elif variant.rank is not None:
        maps = [moments.truncate(affine, variant.rank) for affine in maps]
    fits = [
        RidgeFit(affine, damping, 1 - val_moments.unexplained(affine), moments.y_E)
        for affine, damping in zip(maps, DAMPINGS, strict=True)
    ]
    return max(fits, key=lambda fit: fit.r2)


def gather(rows: Iterator[Rows]) -> tuple[Moments, Moments]:
    """Moments of (x, y) and of (y, y)."""
    moments, targets = Moments(0, 0), Moments(0, 0)
    for x_ND, y_NE in rows:
        if not moments.count:
            moments, targets = Moments(x_ND.shape[1], y_NE.shape[1]), Moments(y_NE.shape[1], y_NE.shape[1])
        moments.add(x_ND, y_NE)
        targets.add(y_NE, y_NE)
    return moments, targets


def truncate_whitened(moments: Moments, targets: Moments, affine: Affine, rank: int) -> Affine:
    """`Moments.truncate` for whitened targets."""
    sizes_E, axes_EE = torch.linalg.eigh(targets.xx_DD)
    sizes_E = sizes_E.clamp(min=float(sizes_E.max()) * 1e-9).sqrt()
    weight_ED = (axes_EE / sizes_E) @ axes_EE.T @ affine.weight_ED
    kept_ER = torch.linalg.eigh(weight_ED @ moments.xx_DD @ weight_ED.T)[1][:, -rank:]
    weight_ED = (axes_EE * sizes_E) @ axes_EE.T @ kept_ER @ (kept_ER.T @ weight_ED)
    return Affine(weight_ED, moments.y_E - weight_ED @ moments.x_D)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="variants of the closed-form fit of projectors")
    parser.add_argument("--models", required=True, help="two model folders that share a tokenizer: A,B")
    parser.add_argument("--text", type=Path, required=True, help="text in UTF-8; a tenth of it is only scored")
    parser.add_argument("--target", type=Path, help="text of another kind, to fit on and to score on")
    parser.add_argument("--stages", type=int, default=4, help="stages of the space")
    parser.add_argument("--score-tokens", type=int, default=4096, help="tokens that paths are scored on")
    parser.add_argument("--tokens", type=int, default=16384, help="tokens to fit on")
    parser.add_argument("--ranks", type=int, nargs="*", default=[16, 64], help="ranks to measure")
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    args = parser.parse_args()
    setup_hardware(RunOptions(device="cpu"))
    text, target = read_text(args.text), None if args.target is None else read_text(args.target)
    components = [load(spec) for spec in SearchSpace(args.models.split(",")).components]
    out: dict[str, Any] = {"machine": environment_info(), "text": args.text.name, "bases": {}}
    for base in [component.name for component in components]:
        rows = out["bases"].setdefault(base, {})
        print(f"\n{base} as base{'mixed':>{36 - len(base)}}  lowest")
        for name, numbers in Bench(components, base, args).rows(text, target, args.ranks):
            rows[name] = numbers
            lowest = f"{numbers['lowest']:8.3f}" if "lowest" in numbers else ""
            print(f"{name:36}{numbers['mixed']:8.3f}{lowest}", flush=True)
    if args.json is not None:
        write_json(args.json, out)


if __name__ == "__main__":
    main()
