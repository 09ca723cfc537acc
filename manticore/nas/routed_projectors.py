"""Projectors that a supernet generates from the path that runs. In a discrete hybrid they are ordinary projectors.

The weight of a projector is its own plus a mixture of E further ones, routed by the path (Mixture-of-Supernets, arXiv
2306.04845):

    W(z) = W + sum_e r_e(z) W_e,   r(z) = softmax(R code(z)),

where `code(z)` is the path as one-hot choices, or the mixing weights of a mixture. The W_e are 0 at the start. For a
fixed path W(z) is a single matrix, so the discrete hybrid has no mixture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.modeling.branches import DonorBranch
from manticore.modeling.projectors import Linear

ROUTING = "routing"
"""Name of the submodule of a generated projector that holds its `Routing`."""


class PathCode:
    """The path or the mixing weights of the current forward pass, one number for each stage and candidate, (S * K,)."""

    def __init__(self) -> None:
        self.value: Tensor | None = None


class Routing(nn.Module):
    """The matrices W_e and the router R of one projector.

    Args:
        shape: of the projector's weight.
        experts: E.
        features: S * K.
        code: of the supernet.
        seed: of R, which has standard normal entries.
    """

    def __init__(self, shape: Sequence[int], experts: int, features: int, code: PathCode, seed: int) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.experts = nn.Parameter(torch.zeros(experts, *shape))
        self.router = nn.Parameter(torch.randn(experts, features, generator=source, device="cpu"))
        self.code = code

    def forward(self, weight: Tensor, code: Tensor | None = None) -> Tensor:
        code = self.code.value if code is None else code
        if code is None:  # outside of a pass of the supernet
            return weight
        share_E = (self.router @ code.to(self.router)).softmax(0)
        return weight + torch.einsum("e,eoi->oi", share_E, self.experts)


class RoutedLinear(Linear):
    """`W(z) x + b`. `weight` and `bias` are those of the linear projector that it replaces."""

    def __init__(self, linear: Linear, routing: Routing) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.routing = routing

    def forward(self, x_BLD: Tensor) -> Tensor:
        return F.linear(x_BLD, self.routing(self.weight), self.bias)


def donor_projectors(net: nn.Module) -> list[tuple[DonorBranch, str]]:
    """Every donor branch of a supernet with the name of each of its projectors."""
    branches = [part for part in net.modules() if isinstance(part, DonorBranch)]
    return [(branch, name) for branch in branches for name in ("proj_in", "proj_out")]


def route_projectors(net: Any, experts: int) -> None:
    """Replace the linear projectors of a supernet by generated ones; a second call has no effect."""
    code = PathCode()
    for seed, (branch, name) in enumerate(donor_projectors(net)):
        linear = getattr(branch, name)
        if type(linear) is Linear:
            routing = Routing(linear.weight.shape, experts, net.alpha.numel(), code, seed).to(linear.weight.device)
            setattr(branch, name, RoutedLinear(linear, routing))
            net.path_code = code
    if getattr(net, "path_code", None) is code:
        net.register_forward_pre_hook(_note_path, with_kwargs=True)


def _note_path(net: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    """Set the code of the pass that begins, from the options of the forward pass."""
    if options.get("path") is not None:
        weights = net.one_hot(options["path"])
    elif options.get("weights") is not None:
        weights = options["weights"]
    else:
        weights = net.weights()
    weights = weights.detach()
    net.path_code.value = (weights.mean(0) if weights.dim() == 3 else weights).flatten()


@torch.no_grad()
def collapsed_weights(net: Any, path: Sequence[str]) -> dict[str, Tensor]:
    """The weights of the generated projectors on a path, by their names in the supernet; empty if it has none."""
    code = net.one_hot(path).flatten()
    parts = ((name, part) for name, part in net.named_modules() if isinstance(part, RoutedLinear))
    return {f"{name}.weight": part.routing(part.weight, code) for name, part in parts}
