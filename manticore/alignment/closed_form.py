"""P, Q and bypass of every foreign branch by ridge least squares on text, no gradient (DESIGN section 2).

P[s,k] maps home's stream before stage s to component k's own stream there, less k's absolute positions, which the
branch adds after P. Q[s,k] maps the update that k's segment makes of what P gives it to home's own update: fitted
after P, it repairs what P loses. A bypass R reads home's stream beside that update and is fitted together with Q, as
one map [Q R] of both, of which low-rank projectors keep one rank in all. Only second moments are kept, of one pass over
the text for all P and one for all Q of each stretch.

What P cannot tell is missing from its results, so that they lie too near their centre, and the norm a segment begins
with makes too much of that centre. So P is stretched about it, each by that factor with which the updates tell most of
home's.

With unlike tokenizers P is fitted where tokens of both end at the same character. Q needs no pairs: a hybrid reads
home's tokens, so both updates exist at every one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from manticore.alignment.forms import Choice, check_form, choose, write
from manticore.alignment.reading import Reading
from manticore.alignment.ridge import Moments
from manticore.alignment.streams import branch_of, context_of, own_streams, rows
from manticore.components.vocabulary import same
from manticore.errors import ManticoreError
from manticore.modeling.branches import ForeignBranch
from manticore.supernet import Supernet

STRETCHES = (1.0, 2.0, 4.0)
"""Factors about its centre by which a P may be stretched, if it loses anything."""

WORTH = 0.005
"""Share of a variance that counts as something: of foreign streams, what P loses before it is stretched; of home's
updates, what a larger stretch must explain on top of a smaller one."""

Readings = Callable[[], Iterable[Reading]]
"""Calibration text that can be read again from the start."""

Place = tuple[str, int]
"""Component and stage."""

Fits = dict[Place, tuple[Choice, Moments]]
"""What was chosen for a projector, and the held-out moments of its rows."""

Pairs = Iterator[tuple[str, int, Tensor, Tensor]]
"""Component, stage, and rows (x, y) for its projector there."""


@dataclass(frozen=True)
class StageFit:
    """How well one foreign component is attached to one stage, on held-out text.

    Attributes:
        stage: from 0.
        component: the foreign component.
        inward, outward: R^2 of P, and of Q with its bypass, if any; 1: nothing is lost, 0: no better than the mean,
            NaN: nothing to explain.
        inward_damping, outward_damping: the penalties that were chosen, as in `Moments.solve`.
        stretch: the factor that was chosen for P.
        home_update: root mean squared length of what home's own segment adds to the stream.
        update_before, update: the same of this branch, before alignment and after. An alpha weighs an update of this
            length against one of home's.
    """

    stage: int
    component: str
    inward: float
    outward: float
    inward_damping: float
    outward_damping: float
    stretch: float
    home_update: float
    update_before: float
    update: float


def align(supernet: Supernet, seen: Readings, held: Readings) -> list[StageFit]:
    """Fit every P, Q and bypass of a supernet in place; nothing else in it changes.

    Args:
        supernet: in the residual topology, with linear or low-rank projectors, and its components' own vocabulary.
        seen: text to fit on.
        held: other text, on which dampings are chosen and the result is measured.

    Returns: one entry for each stage and foreign component.

    Raises ManticoreError if this supernet cannot be aligned, or if a text is too short to tell anything.
    """
    foreign = check(supernet)
    _check_tokens(supernet, foreign, seen)
    with _frozen(supernet):
        before = _sizes(supernet, held)
        inward = _fit(supernet, _inward_pairs, seen, held)
        outward = _fit_outward(supernet, inward, seen, held)
    out = []
    for stage in range(supernet.space.stages):
        for name in foreign:
            (p, _), (q, moments, stretch) = inward[name, stage], outward[name, stage]
            sizes = (moments.size_in(), before[name, stage], moments.size_out(q.affine))
            out.append(StageFit(stage, name, p.explained, q.explained, p.damping, q.damping, stretch, *sizes))
    return out


def check(supernet: Supernet) -> list[str]:
    """The foreign components. Raises ManticoreError if this supernet cannot be aligned."""
    if supernet.hub:
        raise ManticoreError("the hub topology has no home to align to; align needs topology=residual")
    home = supernet.components[supernet.home]
    own, used = getattr(home.backbone, home.anatomy.tokens), supernet.embeds[supernet.home].tokens
    assert isinstance(used, torch.nn.Embedding)
    if own.num_embeddings != used.num_embeddings:
        raise ManticoreError("align needs the components' own vocabulary; a fresh embedding has no streams to compare")
    foreign = [name for name in supernet.components if name != supernet.home]
    for name in foreign:
        branch = branch_of(supernet, 0, name)
        assert isinstance(branch, ForeignBranch)
        check_form(branch.inward, supernet.space.projector)
    return foreign


def _check_tokens(supernet: Supernet, foreign: list[str], text: Readings) -> None:
    """Raises ManticoreError if the text has home's tokens alone for a component that has another tokenizer."""
    first = next(iter(text()), None)
    own = supernet.components[supernet.home].tokenizer
    for name in foreign:
        other = supernet.components[name].tokenizer
        if first is None or name in first.foreign or own is None or other is None:
            continue
        if not same(own, other):
            raise ManticoreError(f"'{name}' has another tokenizer than '{supernet.home}'; its text must be paired")


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


def _foreign_branches(supernet: Supernet) -> Iterator[tuple[str, int, ForeignBranch]]:
    for stage in range(supernet.space.stages):
        for name in supernet.components:
            branch = branch_of(supernet, stage, name)
            if isinstance(branch, ForeignBranch):
                yield name, stage, branch


def _fit_outward(
    supernet: Supernet, inward: Fits, seen: Readings, held: Readings
) -> dict[Place, tuple[Choice, Moments, float]]:
    """Fit and write Q and bypass for every stretch of P, and keep for each branch the one that explains most."""
    best: dict[Place, tuple[Choice, Moments, float]] = {}
    branches = [((name, stage), branch) for name, stage, branch in _foreign_branches(supernet)]
    for stretch in STRETCHES:
        for place, branch in branches:
            write(branch.inward, inward[place][0].stretched(stretch))
        for place, (choice, moments) in _fit(supernet, _outward_pairs, seen, held).items():
            if stretch > 1 and inward[place][0].explained > 1 - WORTH:
                continue
            if place not in best or choice.explained > best[place][0].explained + WORTH:
                best[place] = (choice, moments, stretch)
    for place, branch in branches:
        choice, _, stretch = best[place]
        write(branch.inward, inward[place][0].stretched(stretch))
        write(branch.outward, choice.affine, branch.bypass)
    return best


def _fit(supernet: Supernet, pairs: Callable[[Supernet, Reading], Pairs], seen: Readings, held: Readings) -> Fits:
    """Fit and write the projectors that `pairs` has rows for; returns what was chosen, and the held-out moments."""
    measured, kept = _gather(supernet, pairs, seen), _gather(supernet, pairs, held)
    out = {}
    for name, stage, branch in _foreign_branches(supernet):
        moments, test = measured.get((name, stage)), kept.get((name, stage))
        if moments is None or test is None or min(moments.count, test.count) < 2:
            raise ManticoreError(f"the text is too short to align '{name}': it has no places to compare")
        if not (moments.yx_ED.isfinite().all() and test.yx_ED.isfinite().all()):
            raise ManticoreError(f"'{name}' cannot be aligned: at stage {stage + 1} some activations are not finite")
        projector, bypass = (branch.inward, None) if pairs is _inward_pairs else (branch.outward, branch.bypass)
        choice = choose(projector if bypass is None else bypass, moments, test)  # a bypass's rank is the larger one
        write(projector, choice.affine, bypass)
        out[name, stage] = (choice, test)
    return out


def _gather(supernet: Supernet, pairs: Callable[[Supernet, Reading], Pairs], text: Readings) -> dict[Place, Moments]:
    out: dict[Place, Moments] = {}
    for reading in text():
        for name, stage, x_ND, y_NE in pairs(supernet, reading):
            if (name, stage) not in out:
                out[name, stage] = Moments(x_ND.shape[1], y_NE.shape[1])
            out[name, stage].add(x_ND, y_NE)
    return out


def _inward_pairs(supernet: Supernet, reading: Reading) -> Pairs:
    """Home's stream before each stage, and each foreign component's own there."""
    context = context_of(supernet, reading.ids_BL, reading.mask_BL)
    home = own_streams(supernet, supernet.home, reading.ids_BL, context)
    for name in supernet.components:
        if name == supernet.home:
            continue
        other = reading.foreign.get(name)
        if other is not None:
            context_k = context_of(supernet, other.ids_BL, other.mask_BL)
            own = own_streams(supernet, name, other.ids_BL, context_k)
        else:
            context_k, own = context, own_streams(supernet, name, reading.ids_BL, context)
        for stage in range(supernet.space.stages):
            y_BLD = own[stage] - context_k.positions[name] if name in context_k.positions else own[stage]
            if other is None:
                yield name, stage, rows(home[stage], reading.mask_BL), rows(y_BLD, reading.mask_BL)
            else:
                sequence, here, there = other.places_M3.T
                yield name, stage, home[stage][sequence, here], y_BLD[sequence, there]


def _outward_pairs(supernet: Supernet, reading: Reading) -> Pairs:
    """What each foreign segment adds to what P made of home's stream, and what home's own segment adds.

    A branch with a bypass is given home's stream as well, behind the foreign update.
    """
    context = context_of(supernet, reading.ids_BL, reading.mask_BL)
    home = own_streams(supernet, supernet.home, reading.ids_BL, context)
    for name, stage, branch in _foreign_branches(supernet):
        x_BLD = branch.update(branch.inward(home[stage]), context)
        x_BLD = x_BLD if branch.bypass is None else torch.cat([x_BLD, home[stage]], dim=-1)
        y_BLD = home[stage + 1] - home[stage]
        yield name, stage, rows(x_BLD, reading.mask_BL), rows(y_BLD, reading.mask_BL)


def _sizes(supernet: Supernet, text: Readings) -> dict[Place, float]:
    """Root mean squared length of every foreign branch's update as it stands."""
    total: dict[Place, list[float]] = {}
    for reading in text():
        for name, stage, x_ND, _ in _outward_pairs(supernet, reading):
            branch = branch_of(supernet, stage, name)
            assert isinstance(branch, ForeignBranch)
            width = supernet.components[name].width
            seen = total.setdefault((name, stage), [0.0, 0.0])
            seen[0] += float(branch.added(x_ND[:, :width], x_ND[:, width:]).double().square().sum())
            seen[1] += len(x_ND)
    return {key: (squares / max(1, count)) ** 0.5 for key, (squares, count) in total.items()}
