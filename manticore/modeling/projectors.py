"""Projectors: trainable maps between the feature spaces of two components.

All kinds start as close to the identity as they can: features are kept, cut or zero-padded. At the start of a search no
component then has an advantage, which differentiable search would turn into a choice (failure mode 3 in
docs/design/method.md).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .registered import find_registered

PROJECTORS: dict[str, type[nn.Module]] = {}

RANK = 16
"""Default rank of low-rank maps."""

BRANCH_OPTIONS = ("kind", "bypass")
"""Options of a branch's projectors that are not passed to the projector's class."""

ProjectorClass = TypeVar("ProjectorClass", bound=type[nn.Module])


def projector(name: str) -> Callable[[ProjectorClass], ProjectorClass]:
    """Decorator that makes a class `(d_in, d_out, **options) -> nn.Module` selectable as a projector kind."""

    def register(kind: ProjectorClass) -> ProjectorClass:
        PROJECTORS[name] = kind
        return kind

    return register


def fit_width(x_BLD: Tensor, width: int) -> Tensor:
    """Keep the first `width` features, or zero-pad to `width` (T and U of arXiv 2406.00894)."""
    features = x_BLD.shape[-1]
    if features == width:
        return x_BLD
    return x_BLD[..., :width] if features > width else F.pad(x_BLD, (0, width - features))


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")
    return value


@projector("linear")
class Linear(nn.Linear):
    """`W x + b`. At the start W is the identity (cut or padded) and b is 0."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out)

    def reset_parameters(self) -> None:
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)


@projector("low-rank")
class LowRank(nn.Module):
    """`U V x + b` of rank `rank`. At the start it is the orthogonal projection on a random subspace, cut or padded."""

    def __init__(self, d_in: int, d_out: int, rank: int = RANK) -> None:
        super().__init__()
        rank = min(_at_least_one("rank", rank), d_in, d_out)
        self.down = nn.Linear(d_in, rank, bias=False)
        self.up = nn.Linear(rank, d_out)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.down.weight)
        with torch.no_grad():
            self.up.weight.copy_(fit_width(self.down.weight, self.up.out_features).T)
        nn.init.zeros_(self.up.bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        out: Tensor = self.up(self.down(x_BLD))
        return out


@projector("two-layer")
class TwoLayer(nn.Module):
    """`fit_width(x) + W2 gelu(W1 x + b1) + b2` with `hidden` units (default: d_in). At the start W2 and b2 are 0."""

    def __init__(self, d_in: int, d_out: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = d_in if hidden is None else _at_least_one("hidden", hidden)
        self.inner = nn.Linear(d_in, hidden)
        self.outer = nn.Linear(hidden, d_out)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        self.inner.reset_parameters()
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, x_BLD: Tensor) -> Tensor:
        update_BLD: Tensor = self.outer(F.gelu(self.inner(x_BLD)))
        return fit_width(x_BLD, self.outer.out_features) + update_BLD


@projector("identity")
class Identity(nn.Module):
    """No parameters: features are kept, cut or zero-padded."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__()
        self.width = d_out

    def forward(self, x_BLD: Tensor) -> Tensor:
        return fit_width(x_BLD, self.width)


def build_projector(options: dict[str, Any], d_in: int, d_out: int) -> nn.Module:
    """A projector from width `d_in` to `d_out`.

    `options` has `kind` and the options of that kind. Raises ValueError if the kind is not registered.
    """
    projector_class = find_registered("projector", options["kind"], PROJECTORS)
    return projector_class(d_in, d_out, **{key: value for key, value in options.items() if key not in BRANCH_OPTIONS})


class Bypass(nn.Linear):
    """`R h`, which a donor branch adds to the stream in parallel to its segment. At the start R is 0."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, bias=False)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)


class LowRankBypass(nn.Module):
    """`U V h` of rank `rank`. At the start U is 0."""

    def __init__(self, width: int, rank: int = RANK) -> None:
        super().__init__()
        rank = min(_at_least_one("rank", rank), width)
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.orthogonal_(self.down.weight)
        nn.init.zeros_(self.up.weight)

    def forward(self, h_BLD: Tensor) -> Tensor:
        out: Tensor = self.up(self.down(h_BLD))
        return out


def build_bypass(options: dict[str, Any], width: int) -> nn.Module | None:
    """The bypass of a donor branch if `options` ask for one, else None: low-rank if the projector is, else linear."""
    if not options.get("bypass"):
        return None
    if options["kind"] == "low-rank":
        return LowRankBypass(width, options.get("rank", RANK))
    return Bypass(width)
