"""The modules that can run a stage: the base's own segment, a donor's segment between projectors, or nothing.

Each branch maps the residual stream (B, L, D) to the stream. `weight` is the mixing weight of the branch in a supernet
and None in a discrete hybrid; only `HubBranch` uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from .projectors import build_bypass, build_projector, fit_width
from .segments import Context, Segment

PROJECTOR_NAMES = ("proj_in", "proj_out", "bypass")
"""Submodules of a branch that translate between components: P, Q and R in the formulas below."""


@dataclass(frozen=True)
class BranchSpec:
    """What a branch is built from.

    Attributes:
        name: component whose layers the branch runs.
        base: component whose residual stream the hybrid has.
        stage: index of the stage, from 0.
        segment: the component's layers of this stage.
        width: D_k, width of the component.
        stream_width: D, width of the residual stream.
        projector: kind and options of the projectors.
        same_stream: whether the component's stream is that of the base, as of a twin and its parent.
    """

    name: str
    base: str
    stage: int
    segment: Segment
    width: int
    stream_width: int
    projector: dict[str, Any]
    same_stream: bool = False


class BaseBranch(nn.Module):
    """`y = Segment(h)`: the base's own layers on its own stream, or those of a component with the same stream."""

    def __init__(self, spec: BranchSpec) -> None:
        super().__init__()
        self.segment = spec.segment
        self.stage = spec.stage

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        out: Tensor = self.segment(h_BLD, context, self.stage)
        return out


class DonorBranch(nn.Module):
    """`y = h + Q(Segment(u) - u)` with `u = P(h)`: only the update of the donor's segment is written to the stream.

    With the option `bypass`, `y = h + Q(Segment(u) - u) + R h`. Absolute positions of the donor are added to `u`.
    """

    def __init__(self, spec: BranchSpec) -> None:
        super().__init__()
        self.name = spec.name
        self.segment = spec.segment
        self.stage = spec.stage
        self.proj_in = build_projector(spec.projector, spec.stream_width, spec.width)
        self.proj_out = build_projector(spec.projector, spec.width, spec.stream_width)
        self.bypass = build_bypass(spec.projector, spec.stream_width)

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        return h_BLD + self.stream_update(self.segment_update(self.proj_in(h_BLD), context), h_BLD)

    def segment_update(self, u_BLD: Tensor, context: Context) -> Tensor:
        """`Segment(u) - u`, in the donor's features: (B, L, D_k) -> (B, L, D_k)."""
        if self.name in context.positions:
            u_BLD = u_BLD + context.positions[self.name]
        out: Tensor = self.segment(u_BLD, context, self.stage) - u_BLD
        return out

    def stream_update(self, update_BLD: Tensor, h_BLD: Tensor) -> Tensor:
        """`Q update + R h`, which the branch adds to the stream `h`: (..., D_k), (..., D) -> (..., D)."""
        out: Tensor = self.proj_out(update_BLD)
        return out if self.bypass is None else out + self.bypass(h_BLD)


class SkipBranch(nn.Module):
    """`y = h`: the stage runs no layers, which makes depth searchable."""

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        return h_BLD


class HubBranch(nn.Module):
    """The gated branch of Manticore (arXiv 2406.00894, section 3): alpha is both mixing weight and gate.

    `x = T((1 - w) Win h + w h)` and `y = U((1 - w) Wout Segment(x) + w Segment(x))`, where T cuts or pads to the
    component's width and U to the stream's. A discrete hybrid has w = 1, where both projectors vanish, so they are
    built only for a search.
    """

    def __init__(self, spec: BranchSpec, searching: bool = False) -> None:
        super().__init__()
        self.name = spec.name
        self.segment = spec.segment
        self.stage = spec.stage
        self.width = spec.width
        self.stream_width = spec.stream_width
        self.proj_in = build_projector(spec.projector, spec.stream_width, spec.width) if searching else None
        self.proj_out = build_projector(spec.projector, spec.width, spec.width) if searching else None

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        return fit_width(self.forward_unpadded(h_BLD, context, weight), self.stream_width)

    def forward_unpadded(
        self, h_BLD: Tensor, context: Context, weight: Tensor | None = None, projected_BLD: Tensor | None = None
    ) -> Tensor:
        """`forward` without U: (B, L, D) -> (B, L, D_k). `projected_BLD` is `Win h`, if the caller has it already."""
        x_BLD = fit_width(h_BLD, self.width)
        if weight is not None and self.proj_in is not None:
            projected_BLD = self.proj_in(h_BLD) if projected_BLD is None else projected_BLD
            x_BLD = (1 - weight) * projected_BLD + weight * x_BLD
        if self.stage == 0 and self.name in context.positions:
            x_BLD = x_BLD + context.positions[self.name]
        z_BLD: Tensor = self.segment(x_BLD, context, self.stage)
        if weight is not None and self.proj_out is not None:
            z_BLD = (1 - weight) * self.proj_out(z_BLD) + weight * z_BLD
        return z_BLD
