"""Fits P, Q and the bypass of every donor branch in closed form: ridge regressions on text, without gradients.

The formulas are also in docs/design/method.md, section "Closed-form alignment".

For each stage s and donor k:

- P[s,k] maps the base's stream before stage s to the donor's own stream there, without the donor's absolute positions:
  the branch adds these after P.
- Q[s,k] maps the update that the donor's segment computes from P's output to the update of the base's own segment. It
  is fitted after P, so it compensates part of the error of P.
- A bypass R[s,k] also reads the base's stream. It is fitted jointly with Q as one map [Q R] of the concatenation of
  donor update and stream; with low-rank projectors [Q R] has one rank.

A ridge regression shrinks the output of P towards its mean, and the normalization at the start of the donor's segment
amplifies the share of that mean. So the output of P is scaled about its mean by the factor of `GAINS` with which Q
explains the base's update best.

If the tokenizers differ, P is fitted on the pairs of positions that end at the same character. Q needs no pairs: a
hybrid reads the base's tokens only, so both updates exist at each of them.

Only second moments are kept: one pass over the text for all P, and one for all Q per gain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manticore.alignment.calibration import CalibrationBatch
from manticore.alignment.closed_forms import RidgeFit, check_closed_form, fit_ridge, load_affine
from manticore.alignment.ridge import Moments
from manticore.alignment.streams import branch_of, context_of, drop_copies, own_streams, token_rows
from manticore.components.tokenizers import same_vocabulary
from manticore.errors import ManticoreError
from manticore.modeling.branches import DonorBranch
from manticore.nas.supernet import Supernet
from manticore.utils.module_state import eval_mode

GAINS = (1.0, 2.0, 4.0)
"""Factors by which the output of P may be scaled about its mean."""

MIN_IMPROVEMENT = 0.005
"""Smallest relevant share of a variance. P is scaled only if it loses more of the donor's stream than this, and a
larger gain is chosen only if Q then explains this much more of the base's update."""

StageCandidate = tuple[str, int]
"""Component and stage."""

Fits = dict[StageCandidate, tuple[RidgeFit, Moments]]
"""The chosen fit of each projector, and the validation moments of its rows."""

BranchRows = Iterator[tuple[str, int, Tensor, Tensor]]
"""Component, stage, and rows x (N, D) and y (N, E) of its regression."""


@dataclass(frozen=True)
class StageFit:
    """Quality of the projectors between one donor and one stage, measured on validation text.

    Attributes:
        stage: index of the stage, from 0.
        component: name of the donor.
        r2_in, r2_out: coefficient of determination R^2 of P, and of Q jointly with its bypass; 1 is a perfect fit, 0
            that of the mean, None if the target does not vary.
        damping_in, damping_out: chosen ridge penalties; see `Moments.solve`.
        gain: chosen factor for the output of P about its mean.
        base_update: root mean squared norm of the update that the base's own segment adds to the stream.
        update_before, update: root mean squared norm of the donor branch's update, before and after alignment. An alpha
            weighs this update against the base's.
    """

    stage: int
    component: str
    r2_in: float | None
    r2_out: float | None
    damping_in: float
    damping_out: float
    gain: float
    base_update: float
    update_before: float
    update: float


def fit_projectors(
    supernet: Supernet, train: Sequence[CalibrationBatch], val: Sequence[CalibrationBatch]
) -> list[StageFit]:
    """Fit every P, Q and bypass of a supernet in place; nothing else changes.

    Args:
        supernet: in the residual topology, with linear or low-rank projectors and its components' own vocabularies.
        train: text to fit on.
        val: other text, on which dampings and gains are chosen and the fit is measured.

    Returns one entry for each stage and donor.

    Raises ManticoreError if the supernet cannot be aligned, or if the text is too short.
    """
    check_alignable(supernet)
    _check_paired(supernet, train)
    with eval_mode(supernet), torch.no_grad():
        before = _update_rms(supernet, val)
        fits_in = _fit(supernet, _proj_in_rows, _proj_in_modules, train, val)
        fits_out = _fit_proj_out(supernet, fits_in, train, val)
    drop_copies(supernet)
    results = []
    for name, stage, _ in _donor_branches(supernet):
        (p, _), (q, moments, gain) = fits_in[name, stage], fits_out[name, stage]
        lengths = (moments.target_rms(), before[name, stage], moments.prediction_rms(q.affine))
        results.append(StageFit(stage, name, _finite(p.r2), _finite(q.r2), p.damping, q.damping, gain, *lengths))
    return results


def _finite(r2: float) -> float | None:
    return r2 if math.isfinite(r2) else None


def check_alignable(supernet: Supernet) -> None:
    """Raises ManticoreError if the projectors of a supernet have no closed form, or no streams to be fitted to."""
    if "alignment" not in supernet.topology.supports:
        raise ManticoreError(
            f"the {supernet.space.topology} topology has no base to align to; align needs topology=residual"
        )
    base = supernet.components[supernet.base]
    own, used = getattr(base.backbone, base.layout.tokens), supernet.embeds[supernet.base].tokens
    assert isinstance(used, nn.Embedding)
    if own.num_embeddings != used.num_embeddings:
        raise ManticoreError("align needs the components' own vocabulary; a fresh embedding has no streams to compare")
    for _, _, branch in _donor_branches(supernet):
        check_closed_form(branch.proj_in, supernet.space.projector)


def _donors(supernet: Supernet) -> list[str]:
    return [name for name in supernet.components if name != supernet.base]


def _check_paired(supernet: Supernet, batches: Sequence[CalibrationBatch]) -> None:
    """Raises ManticoreError if a donor has another tokenizer and the text was not tokenized with it."""
    base_tokenizer = supernet.components[supernet.base].tokenizer
    for name in _donors(supernet):
        tokenizer = supernet.components[name].tokenizer
        if not batches or name in batches[0].donors or base_tokenizer is None or tokenizer is None:
            continue
        if not same_vocabulary(base_tokenizer, tokenizer):
            raise ManticoreError(f"'{name}' has another tokenizer than '{supernet.base}'; its text must be paired")


def _donor_branches(supernet: Supernet) -> Iterator[tuple[str, int, DonorBranch]]:
    for stage in range(supernet.space.stages):
        for name in supernet.choices.names(stage):
            branch = supernet.branch(stage, name)
            if isinstance(branch, DonorBranch):
                yield name, stage, branch


def _fit_proj_out(
    supernet: Supernet, fits_in: Fits, train: Sequence[CalibrationBatch], val: Sequence[CalibrationBatch]
) -> dict[StageCandidate, tuple[RidgeFit, Moments, float]]:
    """Fit Q and bypass for every gain of P, and load for each branch the gain with the largest R^2 of Q."""
    best: dict[StageCandidate, tuple[RidgeFit, Moments, float]] = {}
    branches = [((name, stage), branch) for name, stage, branch in _donor_branches(supernet)]
    for gain in GAINS:
        # Q is fitted for each gain: its input, Segment(u) - u, depends on the scaled output u of P.
        for key, branch in branches:
            load_affine(branch.proj_in, fits_in[key][0].scaled(gain))
        for key, (fit, moments) in _fit(supernet, _proj_out_rows, _proj_out_modules, train, val).items():
            if gain > 1 and fits_in[key][0].r2 > 1 - MIN_IMPROVEMENT:
                continue  # P loses nothing that a gain could restore
            # A larger gain must explain clearly more: the gains are compared on the same validation text.
            if key not in best or fit.r2 > best[key][0].r2 + MIN_IMPROVEMENT:
                best[key] = (fit, moments, gain)
    for key, branch in branches:
        fit, _, gain = best[key]
        load_affine(branch.proj_in, fits_in[key][0].scaled(gain))
        load_affine(branch.proj_out, fit.affine, branch.bypass)
    return best


def _fit(
    supernet: Supernet,
    rows_of: Callable[[Supernet, CalibrationBatch], BranchRows],
    modules_of: Callable[[DonorBranch], tuple[nn.Module, nn.Module | None]],
    train: Sequence[CalibrationBatch],
    val: Sequence[CalibrationBatch],
) -> Fits:
    """Fit one projector of every donor branch, jointly with the bypass if `modules_of` returns one, and load both."""
    train_moments, val_moments = _moments(supernet, rows_of, train), _moments(supernet, rows_of, val)
    fits = {}
    for name, stage, branch in _donor_branches(supernet):
        fitted, measured = train_moments.get((name, stage)), val_moments.get((name, stage))
        if fitted is None or measured is None or min(fitted.count, measured.count) < 2:
            raise ManticoreError(f"the text is too short to align '{name}': it has no positions to compare")
        if not (fitted.yx_ED.isfinite().all() and measured.yx_ED.isfinite().all()):
            raise ManticoreError(f"'{name}' cannot be aligned: at stage {stage + 1} some activations are not finite")
        projector, bypass = modules_of(branch)
        # The rank of [Q R] is that of R: a bypass maps base to base, and Q may be narrower than its rank.
        fit = fit_ridge(projector if bypass is None else bypass, fitted, measured)
        load_affine(projector, fit.affine, bypass)
        fits[name, stage] = (fit, measured)
    return fits


def _moments(
    supernet: Supernet,
    rows_of: Callable[[Supernet, CalibrationBatch], BranchRows],
    batches: Sequence[CalibrationBatch],
) -> dict[StageCandidate, Moments]:
    """Second moments of the rows of every donor branch, over all batches."""
    moments: dict[StageCandidate, Moments] = {}
    for batch in batches:
        for name, stage, x_ND, y_NE in rows_of(supernet, batch):
            if (name, stage) not in moments:
                moments[name, stage] = Moments(x_ND.shape[1], y_NE.shape[1])
            moments[name, stage].add(x_ND, y_NE)
    return moments


def _proj_in_modules(branch: DonorBranch) -> tuple[nn.Module, nn.Module | None]:
    return branch.proj_in, None


def _proj_out_modules(branch: DonorBranch) -> tuple[nn.Module, nn.Module | None]:
    return branch.proj_out, branch.bypass


def _proj_in_rows(supernet: Supernet, batch: CalibrationBatch) -> BranchRows:
    """x: the base's stream before each stage; y: each donor's own stream there, without its absolute positions."""
    context = context_of(supernet, batch.ids_BL, batch.mask_BL)
    base = own_streams(supernet, supernet.base, batch.ids_BL, context)
    for name in _donors(supernet):
        tokens = batch.donors.get(name)
        if tokens is not None:
            donor_context = context_of(supernet, tokens.ids_BL, tokens.mask_BL)
            donor = own_streams(supernet, name, tokens.ids_BL, donor_context)
        else:
            donor_context, donor = context, own_streams(supernet, name, batch.ids_BL, context)
        for stage in range(supernet.space.stages):
            if name not in supernet.choices.names(stage):
                continue
            y_BLD = donor[stage] - donor_context.positions[name] if name in donor_context.positions else donor[stage]
            if tokens is None:
                yield name, stage, token_rows(base[stage], batch.mask_BL), token_rows(y_BLD, batch.mask_BL)
            else:
                sequence, base_position, donor_position = tokens.pairs_M3.T
                yield name, stage, base[stage][sequence, base_position], y_BLD[sequence, donor_position]


def _proj_out_rows(supernet: Supernet, batch: CalibrationBatch) -> BranchRows:
    """x: the update of each donor segment on P's output, and with a bypass the base's stream behind it; y: the update
    of the base's own segment."""
    context = context_of(supernet, batch.ids_BL, batch.mask_BL)
    base = own_streams(supernet, supernet.base, batch.ids_BL, context)
    for name, stage, branch in _donor_branches(supernet):
        x_BLD = branch.segment_update(branch.proj_in(base[stage]), context)
        x_BLD = x_BLD if branch.bypass is None else torch.cat([x_BLD, base[stage]], dim=-1)
        y_BLD = base[stage + 1] - base[stage]
        yield name, stage, token_rows(x_BLD, batch.mask_BL), token_rows(y_BLD, batch.mask_BL)


def _update_rms(supernet: Supernet, batches: Sequence[CalibrationBatch]) -> dict[StageCandidate, float]:
    """Root mean squared norm of every donor branch's update with the projectors as they are."""
    sums: dict[StageCandidate, tuple[float, int]] = {}
    for batch in batches:
        for name, stage, x_ND, _ in _proj_out_rows(supernet, batch):
            branch = branch_of(supernet, stage, name)
            assert isinstance(branch, DonorBranch)
            width = supernet.components[name].width
            squares, count = sums.get((name, stage), (0.0, 0))
            squares += float(branch.stream_update(x_ND[:, :width], x_ND[:, width:]).double().square().sum())
            sums[name, stage] = (squares, count + len(x_ND))
    return {key: (squares / max(1, count)) ** 0.5 for key, (squares, count) in sums.items()}
