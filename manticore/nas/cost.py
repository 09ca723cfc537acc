"""What a path costs: parameters and floating-point operations per token, counted from the built modules.

A multiply-add counts as two operations. Matrix products and convolutions are counted by their weights; attention adds
`4 * D * reach` per layer (scores and values; reach = mean number of visible tokens), the selective scan
`9 * inner * state` per layer (discretize, update, read). A head that runs once for a sequence, or for two, is shared
among their tokens. Norms, activations and embeddings look-ups are left out. The gradients of a matrix product are two
more of its size: one for its input, one for its weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from manticore.modeling.heads import Head
from manticore.modeling.segments import Segment
from manticore.nas.baselines import Backbone
from manticore.nas.supernet import Supernet


def parameters(module: nn.Module) -> int:
    """Number of parameters, shared ones counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def model_parameters(net: nn.Module) -> int:
    """Number of parameters of a model; the alphas of a supernet are none of its own."""
    return parameters(net) - (net.alpha.numel() if isinstance(net, Supernet) else 0)


def flops(module: nn.Module, length: int) -> float:
    """Operations per token of one forward pass on sequences of `length` tokens."""
    total = 0.0
    heads = [part for part in module.modules() if isinstance(part, Head)]
    runs = {id(part): head.calls_per_token(length) for head in heads for part in head.modules()}
    for part in module.modules():
        if isinstance(part, nn.Linear | Conv1D | nn.Conv1d):
            total += 2 * part.weight.numel() * runs.get(id(part), 1)
        elif isinstance(part, Segment):
            total += _mixing_flops(part, length)
        elif isinstance(part, Backbone):
            total += part.mixing_flops(length)
    return total


def _mixing_flops(segment: Segment, length: int) -> float:
    config = segment.backbone.config
    if segment.recurrent:
        inner = getattr(config, "intermediate_size", None) or config.expand * config.hidden_size
        return 9.0 * float(inner * config.state_size * config.num_hidden_layers)
    return 4.0 * float(config.hidden_size) * sum(_reaches(config, length))


def _reaches(config: object, length: int) -> Iterable[float]:
    """Mean number of tokens a token sees, for each layer."""
    layers = getattr(config, "attention_layers", None) or ["global"] * getattr(config, "num_hidden_layers", 0)
    for kind in layers:
        window = min(length, getattr(config, "window_size", length)) if kind == "local" else length
        yield (window + 1) / 2 if window == length else window - window * (window - 1) / (2 * length)


def branch_costs(supernet: Supernet, length: int) -> tuple[list[list[float]], list[list[float]]]:
    """Parameters and operations per token of every candidate at every stage, each (S, K).

    In the hub topology a path is lent its ends by its first component and holds no projectors, so the first stage's
    candidates cost their ends too, and all of them their segments only.
    """
    stages: list[dict[str, nn.Module]] = [dict(branches.items()) for branches in supernet.stages]  # type: ignore[operator]
    held = [
        {name: nn.ModuleList(_kept(supernet, stage, name, branch)) for name, branch in row.items()}
        for stage, row in enumerate(stages)
    ]
    return (
        [[float(parameters(module)) for module in row.values()] for row in held],
        [[flops(module, length) for module in row.values()] for row in held],
    )


def _kept(supernet: Supernet, stage: int, name: str, branch: nn.Module) -> list[nn.Module]:
    """What of a branch is in the discrete hybrid."""
    if not supernet.hub:
        return [branch]
    ends = _shell_modules(supernet, name) if stage == 0 else []
    return [branch.get_submodule("segment"), *ends]


def _shell_modules(supernet: Supernet, name: str) -> list[nn.Module]:
    """What a component lends: embedding, positions, norm and head."""
    holders = (supernet.embeds, supernet.positions, supernet.norms, supernet.heads)
    return [held[name] for held in holders if name in held]


def fixed_costs(supernet: Supernet, length: int) -> tuple[float, float]:
    """Parameters and operations per token of what every path holds: base's ends; nothing in the hub topology."""
    parts = [] if supernet.hub else _shell_modules(supernet, supernet.base)
    return float(parameters(nn.ModuleList(parts))), sum(flops(part, length) for part in parts)


class FlopCounter:
    """Operations per token of a forward pass of `net` on sequences of `length` tokens, by path where it has several."""

    def __init__(self, net: nn.Module, length: int) -> None:
        self._whole = flops(net, length)
        self._supernet = net if isinstance(net, Supernet) else None
        if self._supernet is not None:
            self._stages = branch_costs(self._supernet, length)[1]
            self._fixed = fixed_costs(self._supernet, length)[1]

    def forward(self, path: Sequence[str] | None = None) -> float:
        """Of the net as it is, or of one path of a supernet."""
        if self._supernet is None or path is None:
            return self._whole
        places = [self._supernet.candidates.index(choice) for choice in path]
        return self._fixed + sum(row[place] for row, place in zip(self._stages, places, strict=True))


def path_parameters(supernet: Supernet, path: Sequence[str], length: int) -> float:
    """Parameters of the hybrid on `path`, position tables of donor components included."""
    table, _ = branch_costs(supernet, length)
    total = fixed_costs(supernet, length)[0]
    for stage, choice in enumerate(path):
        total += table[stage][supernet.candidates.index(choice)]
    donor = {choice for choice in path if choice in donor_position_tables(supernet)}
    return total + sum(parameters(supernet.positions[name]) for name in donor)


def donor_position_tables(supernet: Supernet) -> list[str]:
    """Components that bring a position table of their own, paid once however many donor stages they run."""
    return [] if supernet.hub else [name for name in supernet.positions if name != supernet.base]
