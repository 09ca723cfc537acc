"""P, Q and bypass of every donor branch by ridge least squares on text, no gradient (DESIGN section 2).

P[s,k] maps base's stream before stage s to component k's own stream there, less k's absolute positions, which the
branch adds after P. Q[s,k] maps the update that k's segment makes of what P gives it to base's own update: fitted
after P, it repairs what P loses. A bypass R reads base's stream beside that update and is fitted together with Q, as
one map [Q R] of both, of which low-rank projectors keep one rank in all. Only second moments are kept, of one pass over
the text for all P and one for all Q of each stretch.

What P cannot tell is missing from its results, so that they lie too near their centre, and the norm a segment begins
with makes too much of that centre. So P is stretched about it, each by that factor with which the updates tell most of
base's.

With unlike tokenizers P is fitted where tokens of both end at the same character. Q needs no pairs: a hybrid reads
base's tokens, so both updates exist at every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from manticore.alignment.batches import CalibrationBatch
from manticore.alignment.closed_forms import RidgeFit, check_form, fit_ridge, load_affine
from manticore.alignment.ridge import Moments
from manticore.alignment.streams import branch_of, context_of, own_streams, rows
from manticore.components.tokenizers import same_vocabulary
from manticore.errors import ManticoreError
from manticore.modeling.branches import DonorBranch
from manticore.nas.supernet import Supernet

GAINS = (1.0, 2.0, 4.0)
"""Factors about its centre by which a P may be stretched, if it loses anything."""

MIN_IMPROVEMENT = 0.005
"""Share of a variance that counts as something: of donor streams, what P loses before it is stretched; of base's
updates, what a larger stretch must explain on top of a smaller one."""

CalibrationBatches = Callable[[], Iterable[CalibrationBatch]]
"""Calibration text that can be read again from the start."""

StageCandidate = tuple[str, int]
"""Component and stage."""

Fits = dict[StageCandidate, tuple[RidgeFit, Moments]]
"""What was chosen for a projector, and the held-out moments of its rows."""

Pairs = Iterator[tuple[str, int, Tensor, Tensor]]
"""Component, stage, and rows (x, y) for its projector there."""


@dataclass(frozen=True)
class StageFit:
    """How well one donor component is attached to one stage, on held-out text.

    Attributes:
        stage: from 0.
        component: the donor component.
        proj_in, proj_out: R^2 of P, and of Q with its bypass, if any; 1: nothing is lost, 0: no better than the mean,
            NaN: nothing to explain.
        proj_in_damping, proj_out_damping: the penalties that were chosen, as in `Moments.solve`.
        stretch: the factor that was chosen for P.
        base_update: root mean squared length of what base's own segment adds to the stream.
        update_before, update: the same of this branch, before alignment and after. An alpha weighs an update of this
            length against one of base's.
    """

    stage: int
    component: str
    proj_in: float
    proj_out: float
    proj_in_damping: float
    proj_out_damping: float
    stretch: float
    base_update: float
    update_before: float
    update: float


def fit_projectors(supernet: Supernet, seen: CalibrationBatches, held: CalibrationBatches) -> list[StageFit]:
    """Fit every P, Q and bypass of a supernet in place; nothing else in it changes.

    Args:
        supernet: in the residual topology, with linear or low-rank projectors, and its components' own vocabulary.
        seen: text to fit on.
        held: other text, on which dampings are chosen and the result is measured.

    Returns: one entry for each stage and donor component.

    Raises ManticoreError if this supernet cannot be aligned, or if a text is too short to tell anything.
    """
    donor = check(supernet)
    _check_tokens(supernet, donor, seen)
    with _frozen(supernet):
        before = _sizes(supernet, held)
        proj_in = _fit(supernet, _proj_in_pairs, seen, held)
        proj_out = _fit_proj_out(supernet, proj_in, seen, held)
    out = []
    for stage in range(supernet.space.stages):
        for name in donor:
            (p, _), (q, moments, stretch) = proj_in[name, stage], proj_out[name, stage]
            sizes = (moments.size_in(), before[name, stage], moments.size_out(q.affine))
            out.append(StageFit(stage, name, p.explained, q.explained, p.damping, q.damping, stretch, *sizes))
    return out


def check(supernet: Supernet) -> list[str]:
    """The donor components. Raises ManticoreError if this supernet cannot be aligned."""
    if "alignment" not in supernet.topology.supports:
        raise ManticoreError(
            f"the {supernet.space.topology} topology has no base to align to; align needs topology=residual"
        )
    base = supernet.components[supernet.base]
    own, used = getattr(base.backbone, base.layout.tokens), supernet.embeds[supernet.base].tokens
    assert isinstance(used, torch.nn.Embedding)
    if own.num_embeddings != used.num_embeddings:
        raise ManticoreError("align needs the components' own vocabulary; a fresh embedding has no streams to compare")
    donor = [name for name in supernet.components if name != supernet.base]
    for name in donor:
        branch = branch_of(supernet, 0, name)
        assert isinstance(branch, DonorBranch)
        check_form(branch.proj_in, supernet.space.projector)
    return donor


def _check_tokens(supernet: Supernet, donor: list[str], text: CalibrationBatches) -> None:
    """Raises ManticoreError if the text has base's tokens alone for a component that has another tokenizer."""
    first = next(iter(text()), None)
    own = supernet.components[supernet.base].tokenizer
    for name in donor:
        other = supernet.components[name].tokenizer
        if first is None or name in first.donor or own is None or other is None:
            continue
        if not same_vocabulary(own, other):
            raise ManticoreError(f"'{name}' has another tokenizer than '{supernet.base}'; its text must be paired")


@contextmanager
def _frozen(supernet: Supernet) -> Iterator[None]:
    """Evaluation mode without gradients, and back."""
    was_training = supernet.training
    supernet.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        supernet.train(was_training)


def _donor_branches(supernet: Supernet) -> Iterator[tuple[str, int, DonorBranch]]:
    for stage in range(supernet.space.stages):
        for name in supernet.components:
            branch = branch_of(supernet, stage, name)
            if isinstance(branch, DonorBranch):
                yield name, stage, branch


def _fit_proj_out(
    supernet: Supernet, proj_in: Fits, seen: CalibrationBatches, held: CalibrationBatches
) -> dict[StageCandidate, tuple[RidgeFit, Moments, float]]:
    """Fit and write Q and bypass for every stretch of P, and keep for each branch the one that explains most."""
    best: dict[StageCandidate, tuple[RidgeFit, Moments, float]] = {}
    branches = [((name, stage), branch) for name, stage, branch in _donor_branches(supernet)]
    for stretch in GAINS:
        for place, branch in branches:
            load_affine(branch.proj_in, proj_in[place][0].stretched(stretch))
        for place, (choice, moments) in _fit(supernet, _proj_out_pairs, seen, held).items():
            if stretch > 1 and proj_in[place][0].explained > 1 - MIN_IMPROVEMENT:
                continue
            if place not in best or choice.explained > best[place][0].explained + MIN_IMPROVEMENT:
                best[place] = (choice, moments, stretch)
    for place, branch in branches:
        choice, _, stretch = best[place]
        load_affine(branch.proj_in, proj_in[place][0].stretched(stretch))
        load_affine(branch.proj_out, choice.affine, branch.bypass)
    return best


def _fit(
    supernet: Supernet,
    pairs: Callable[[Supernet, CalibrationBatch], Pairs],
    seen: CalibrationBatches,
    held: CalibrationBatches,
) -> Fits:
    """Fit and write the projectors that `pairs` has rows for; returns what was chosen, and the held-out moments."""
    measured, kept = _gather(supernet, pairs, seen), _gather(supernet, pairs, held)
    out = {}
    for name, stage, branch in _donor_branches(supernet):
        moments, test = measured.get((name, stage)), kept.get((name, stage))
        if moments is None or test is None or min(moments.count, test.count) < 2:
            raise ManticoreError(f"the text is too short to align '{name}': it has no places to compare")
        if not (moments.yx_ED.isfinite().all() and test.yx_ED.isfinite().all()):
            raise ManticoreError(f"'{name}' cannot be aligned: at stage {stage + 1} some activations are not finite")
        projector, bypass = (branch.proj_in, None) if pairs is _proj_in_pairs else (branch.proj_out, branch.bypass)
        choice = fit_ridge(projector if bypass is None else bypass, moments, test)  # a bypass's rank is the larger one
        load_affine(projector, choice.affine, bypass)
        out[name, stage] = (choice, test)
    return out


def _gather(
    supernet: Supernet, pairs: Callable[[Supernet, CalibrationBatch], Pairs], text: CalibrationBatches
) -> dict[StageCandidate, Moments]:
    out: dict[StageCandidate, Moments] = {}
    for reading in text():
        for name, stage, x_ND, y_NE in pairs(supernet, reading):
            if (name, stage) not in out:
                out[name, stage] = Moments(x_ND.shape[1], y_NE.shape[1])
            out[name, stage].add(x_ND, y_NE)
    return out


def _proj_in_pairs(supernet: Supernet, reading: CalibrationBatch) -> Pairs:
    """Base's stream before each stage, and each donor component's own there."""
    context = context_of(supernet, reading.ids_BL, reading.mask_BL)
    base = own_streams(supernet, supernet.base, reading.ids_BL, context)
    for name in supernet.components:
        if name == supernet.base:
            continue
        other = reading.donor.get(name)
        if other is not None:
            context_k = context_of(supernet, other.ids_BL, other.mask_BL)
            own = own_streams(supernet, name, other.ids_BL, context_k)
        else:
            context_k, own = context, own_streams(supernet, name, reading.ids_BL, context)
        for stage in range(supernet.space.stages):
            y_BLD = own[stage] - context_k.positions[name] if name in context_k.positions else own[stage]
            if other is None:
                yield name, stage, rows(base[stage], reading.mask_BL), rows(y_BLD, reading.mask_BL)
            else:
                sequence, here, there = other.places_M3.T
                yield name, stage, base[stage][sequence, here], y_BLD[sequence, there]


def _proj_out_pairs(supernet: Supernet, reading: CalibrationBatch) -> Pairs:
    """What each donor segment adds to what P made of base's stream, and what base's own segment adds.

    A branch with a bypass is given base's stream as well, behind the donor update.
    """
    context = context_of(supernet, reading.ids_BL, reading.mask_BL)
    base = own_streams(supernet, supernet.base, reading.ids_BL, context)
    for name, stage, branch in _donor_branches(supernet):
        x_BLD = branch.segment_update(branch.proj_in(base[stage]), context)
        x_BLD = x_BLD if branch.bypass is None else torch.cat([x_BLD, base[stage]], dim=-1)
        y_BLD = base[stage + 1] - base[stage]
        yield name, stage, rows(x_BLD, reading.mask_BL), rows(y_BLD, reading.mask_BL)


def _sizes(supernet: Supernet, text: CalibrationBatches) -> dict[StageCandidate, float]:
    """Root mean squared length of every donor branch's update as it stands."""
    total: dict[StageCandidate, list[float]] = {}
    for reading in text():
        for name, stage, x_ND, _ in _proj_out_pairs(supernet, reading):
            branch = branch_of(supernet, stage, name)
            assert isinstance(branch, DonorBranch)
            width = supernet.components[name].width
            seen = total.setdefault((name, stage), [0.0, 0.0])
            seen[0] += float(branch.stream_update(x_ND[:, :width], x_ND[:, width:]).double().square().sum())
            seen[1] += len(x_ND)
    return {key: (squares / max(1, count)) ** 0.5 for key, (squares, count) in total.items()}
