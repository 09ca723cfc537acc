"""How the branches of a hybrid are connected: one class for each topology.

A hybrid embeds token ids, passes the residual stream through one branch for each stage, and applies the final norm and
the head. A wiring defines which branch runs a stage, which module adds absolute positions, and where the final norm is.
Supernets and exported hybrids build their branches through the same wiring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .branches import BaseBranch, BranchSpec, DonorBranch, HubBranch, SkipBranch
from .projectors import build_bypass, build_projector, fit_width
from .registered import find_registered
from .segments import Context, Segment

__all__ = [  # besides the definitions of this file, the names that the source of a user's own topology may use
    "TOPOLOGIES",
    "Any",
    "BaseBranch",
    "BranchSpec",
    "Context",
    "DonorBranch",
    "F",
    "HubBranch",
    "Segment",
    "Sequence",
    "SkipBranch",
    "Tensor",
    "Wiring",
    "build_bypass",
    "build_projector",
    "build_wiring",
    "fit_width",
    "nn",
    "topology",
    "torch",
]


class Wiring:
    """The runtime of one topology.

    Attributes:
        positions_in_embedding: the embedding adds the base's absolute positions. Otherwise the branches add them.
        norm_in_last_segment: the last segment contains its component's final norm, and the model has no other.
        joins_streams: a component whose stream is the base's runs without projectors and without positions of its own.
    """

    positions_in_embedding: bool = True
    norm_in_last_segment: bool = False
    joins_streams: bool = False

    def branch(self, spec: BranchSpec, searching: bool = False) -> nn.Module:
        """The module that runs a component at a stage: (h_BLD, context, weight) -> h_BLD.

        `searching` is True in a supernet, where the branch gets its mixing weight, and False in a discrete hybrid.
        """
        raise NotImplementedError

    def position_tables(self, base: str, path: Sequence[str]) -> list[str]:
        """Components whose absolute positions the hybrid on `path` reads, each at most once."""
        return list(dict.fromkeys([base, *path]))


TOPOLOGIES: dict[str, type[Wiring]] = {}

WiringClass = TypeVar("WiringClass", bound=type[Wiring])


def topology(name: str) -> Callable[[WiringClass], WiringClass]:
    """Decorator that makes a `Wiring` selectable as a topology."""

    def register(wiring: WiringClass) -> WiringClass:
        TOPOLOGIES[name] = wiring
        return wiring

    return register


@topology("residual")
class ResidualWiring(Wiring):
    """The stream is the base's: a donor stage adds its translated update to it."""

    joins_streams = True

    def branch(self, spec: BranchSpec, searching: bool = False) -> nn.Module:
        return BaseBranch(spec) if spec.name == spec.base or spec.same_stream else DonorBranch(spec)


@topology("hub")
class HubWiring(Wiring):
    """The wiring of Manticore (arXiv 2406.00894): features are cut or zero-padded from component to component.

    The component of the first stage is the base: it embeds, and its branch adds its positions. The last segment ends
    with its own norm.
    """

    positions_in_embedding = False
    norm_in_last_segment = True

    def branch(self, spec: BranchSpec, searching: bool = False) -> nn.Module:
        return HubBranch(spec, searching)

    def position_tables(self, base: str, path: Sequence[str]) -> list[str]:
        return [base]


def build_wiring(name: str) -> Wiring:
    """The wiring of the topology `name`. Raises ValueError if it is not registered."""
    return find_registered("topology", name, TOPOLOGIES)()
