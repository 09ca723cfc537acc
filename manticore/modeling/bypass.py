"""What a foreign stage adds of home's own stream, beside the foreign update. Knows nothing of stages or mixtures.

Much of home's update is linear in home's stream, and a foreign update need not carry that part. A bypass maps the
stream (B, L, D) to the stream without a bias, and is zero at the start: then it favours nobody.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from .projectors import RANK


class Bypass(nn.Linear):
    """`R h`."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, bias=False)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)


class LowRankBypass(nn.Module):
    """`U V h` of rank `rank`; U is zero at the start."""

    def __init__(self, width: int, rank: int = RANK) -> None:
        super().__init__()
        rank = min(rank, width)
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.down.weight)
        nn.init.zeros_(self.up.weight)

    def forward(self, h_BLD: Tensor) -> Tensor:
        out: Tensor = self.up(self.down(h_BLD))
        return out


def bypass(options: dict[str, Any], width: int) -> nn.Module | None:
    """The bypass that a projector's options ask for: of the same rank where its kind is low-rank, else linear."""
    if not options.get("bypass"):
        return None
    if options["kind"] == "low-rank":
        return LowRankBypass(width, options.get("rank", RANK))
    return Bypass(width)
