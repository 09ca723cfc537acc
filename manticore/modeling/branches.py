"""What may run a stage: base's own segment, a donor segment between two translators, or nothing.

Each branch maps the stream (B, L, D) to the stream. `weight` is the mixing weight of the branch while searching and
None in a discrete hybrid; only the hub topology looks at it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .projectors import build_bypass, build_projector, fit_width
from .segments import Context, Segment

PROJECTOR_NAMES = ("proj_in", "proj_out", "bypass")
"""What of a branch is not its component's: P, Q and R, by their names in it."""


class BaseBranch(nn.Module):
    """`y = Segment(h)`: the stream is base's own."""

    def __init__(self, segment: Segment, stage: int) -> None:
        super().__init__()
        self.segment = segment
        self.stage = stage

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        out: Tensor = self.segment(h_BLD, context, self.stage)
        return out


class DonorBranch(nn.Module):
    """`y = h + Q(Segment(u) - u)` with `u = P(h)`: only the donor segment's update is written to the stream.

    With the option `bypass` it is `y = h + Q(Segment(u) - u) + R h`. A component with absolute positions gets them
    added after P.
    """

    def __init__(self, name: str, segment: Segment, stage: int, width: int, stream: int, projector: dict[str, Any]):
        super().__init__()
        self.name = name
        self.segment = segment
        self.stage = stage
        self.proj_in = build_projector(projector, stream, width)
        self.proj_out = build_projector(projector, width, stream)
        self.bypass = build_bypass(projector, stream)

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        return h_BLD + self.added(self.update(self.proj_in(h_BLD), context), h_BLD)

    def update(self, u_BLD: Tensor, context: Context) -> Tensor:
        """What the segment adds to `u`, in its own features: (B, L, D_k) -> (B, L, D_k)."""
        if self.name in context.positions:
            u_BLD = u_BLD + context.positions[self.name]
        out: Tensor = self.segment(u_BLD, context, self.stage) - u_BLD
        return out

    def added(self, update_BLD: Tensor, h_BLD: Tensor) -> Tensor:
        """What the branch writes to the stream `h` (..., D), of a segment's update (..., D_k): (..., D)."""
        out: Tensor = self.proj_out(update_BLD)
        return out if self.bypass is None else out + self.bypass(h_BLD)


class SkipBranch(nn.Module):
    """`y = h`: makes depth searchable."""

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        return h_BLD


class HubBranch(nn.Module):
    """The paper's gated wiring (arXiv 2406.00894): alpha is mixing weight and gate at once.

    `x = T((1 - w) Win h + w h)`, `y = (1 - w) U Wout Segment(x) + w U Segment(x)`. In a discrete hybrid w is 1, so the
    projectors are gone: `searching` is False and they are not built.
    """

    def __init__(
        self,
        name: str,
        segment: Segment,
        stage: int,
        width: int,
        stream: int,
        projector: dict[str, Any],
        searching: bool = False,
    ) -> None:
        super().__init__()
        self.name = name
        self.segment = segment
        self.stage = stage
        self.width = width
        self.stream = stream
        self.proj_in = build_projector(projector, stream, width) if searching else None
        self.proj_out = build_projector(projector, width, width) if searching else None

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        return fit_width(self.narrow(h_BLD, context, weight), self.stream)

    def narrow(
        self, h_BLD: Tensor, context: Context, weight: Tensor | None = None, entered_BLD: Tensor | None = None
    ) -> Tensor:
        """`forward` in the component's own width; `entered_BLD` is `Win h` where it is known already."""
        x_BLD = fit_width(h_BLD, self.width)
        if weight is not None and self.proj_in is not None:
            entered_BLD = self.proj_in(h_BLD) if entered_BLD is None else entered_BLD
            x_BLD = (1 - weight) * entered_BLD + weight * x_BLD
        if self.stage == 0 and self.name in context.positions:
            x_BLD = x_BLD + context.positions[self.name]
        z_BLD: Tensor = self.segment(x_BLD, context, self.stage)
        if weight is not None and self.proj_out is not None:
            z_BLD = (1 - weight) * self.proj_out(z_BLD) + weight * z_BLD
        return z_BLD
