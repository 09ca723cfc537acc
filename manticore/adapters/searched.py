"""MoRe whose blocks and rank are searched for each layer: a mixture of sizes, weighted by parameters of its own.

The mixing weights are trained by alpha steps on data that the factors are not trained on, with a cost of parameters, as
the alphas of a search are. At the end of the search each layer keeps the size with the largest weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapted_layers, adapters
from manticore.adapters.more import MoRe, MoReOptions, check_sizes
from manticore.adapters.options import SEARCHED
from manticore.utils.fields import Checked, NonNegativeFloat, OpenUnitInterval, PositiveFloat, PositiveInt

UNDECIDED = -1
"""Choice of a layer whose size is still searched."""


@dataclass(frozen=True)
class SearchedMoReOptions(Checked):
    """Options of MoRe with searched sizes."""

    configurations: tuple[tuple[PositiveInt, ...], ...] = ((4, 4), (1, 2), (2, 8), (8, 8))
    """Pairs of blocks N and rank r to choose from; those with more blocks than a weight has rows or columns are left
    out there. Models that are trained without a search have the first that fits."""

    cost_weight: NonNegativeFloat = 0.1
    """Coefficient of the expected number of parameters, as a share of the largest possible one, in the loss of the
    mixing weights, in nats."""

    lr: PositiveFloat = 0.05
    """Learning rate of the mixing weights (Adam, without weight decay)."""

    share: OpenUnitInterval = 0.5
    """Share of the steps of a fine-tuning after which the sizes are decided; in the first quarter of them the mixing
    weights stay uniform. A search decides at its end, and has its own warm-up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self.configurations)


@adapters.register(SEARCHED)
class SearchedMoRe(Adapter):
    """`D = sum_c softmax(beta)[c] D[c]` over MoRe changes D[c] of several sizes; after the choice, `D = D[choice]`.

    Attributes:
        beta: (C,), the parameters of the mixing weights, 0 at first.
        choice: index of the kept size, or `UNDECIDED`.
    """

    Options = SearchedMoReOptions
    factored = True

    def __init__(self, weight: Tensor, options: SearchedMoReOptions) -> None:
        super().__init__(weight, options)
        sizes = [MoReOptions(*pair) for pair in options.configurations]
        fitting = [size for size in sizes if size.blocks <= min(self.rows, self.columns)]
        self.parts = nn.ModuleList(MoRe(weight, size) for size in fitting)
        self.beta = nn.Parameter(weight.new_zeros(len(fitting)))
        self.choice: Tensor
        self.register_buffer("choice", torch.tensor(UNDECIDED, device=weight.device))

    @classmethod
    def check(cls, rows: int, columns: int, options: SearchedMoReOptions) -> None:
        fewest = min(options.configurations)
        MoRe.check(rows, columns, MoReOptions(*fewest))

    @property
    def decided(self) -> bool:
        """Whether one size is kept; False on the meta device, where no value is known."""
        return not self.choice.is_meta and int(self.choice) != UNDECIDED

    @property
    def chosen(self) -> MoRe:
        """The change of the kept size, or, before the choice, of that with the largest mixing weight."""
        part = self.parts[int(self.choice) if self.decided else int(self.beta.argmax())]
        assert isinstance(part, MoRe)
        return part

    def final(self) -> Adapter:
        return self.chosen

    def delta(self) -> Tensor:
        if self.decided:
            return self.chosen.delta()
        D_cmn = torch.stack([part.delta() for part in self._parts])
        return torch.einsum("c,cmn->mn", self.beta.softmax(0), D_cmn)

    def forward(self, x: Tensor) -> Tensor:
        if self.decided:
            out: Tensor = self.chosen(x)
            return out
        return torch.stack([w * part(x) for w, part in zip(self.beta.softmax(0), self._parts, strict=True)]).sum(0)

    @property
    def _parts(self) -> list[MoRe]:
        return [part for part in self.parts if isinstance(part, MoRe)]

    @property
    def costs(self) -> Tensor:
        """Parameters r (m + n) of each size, (C,), padding included."""
        return torch.tensor([float(part.trained) for part in self._parts], device=self.beta.device)

    @property
    def trained(self) -> int:
        return self.chosen.trained if self.decided else super().trained


def searched_layers(net: nn.Module) -> dict[str, SearchedMoRe]:
    """The adapters of a model whose sizes are searched, or were, by layer."""
    return {layer.name: layer.adapter for layer in adapted_layers(net) if isinstance(layer.adapter, SearchedMoRe)}


def size_parameters(net: nn.Module) -> list[nn.Parameter]:
    """The parameters of the mixing weights of all layers; they are no weights of the model."""
    return [adapter.beta for adapter in searched_layers(net).values()]


def size_penalty(net: nn.Module) -> Tensor:
    """The cost term, in nats: `cost_weight` times the expected parameters as a share of the largest possible number."""
    layers = list(searched_layers(net).values())
    expected = torch.stack([(adapter.beta.softmax(0) * adapter.costs).sum() for adapter in layers]).sum()
    largest = sum(float(adapter.costs.max()) for adapter in layers)
    weight: float = layers[0].options.cost_weight
    return weight * expected / largest


def decide_sizes(net: nn.Module, choices: Mapping[str, int] | None = None) -> None:
    """Let every layer keep one size: that of `choices`, or the one with the largest mixing weight."""
    for name, adapter in searched_layers(net).items():
        adapter.choice.fill_(int(adapter.beta.argmax()) if choices is None else choices[name])


def chosen_sizes(net: nn.Module) -> dict[str, Any]:
    """The choice as plain data: by layer blocks, rank, parameters and all mixing weights; and parameters together."""
    layers = {
        name: {
            "blocks": adapter.chosen.N,
            "rank": adapter.chosen.r,
            "parameters": adapter.chosen.trained,
            "weights": {f"{part.N}x{part.r}": float(w) for w, part in _weighted(adapter)},
        }
        for name, adapter in searched_layers(net).items()
    }
    return {"parameters": sum(layer["parameters"] for layer in layers.values()), "layers": layers}


def _weighted(adapter: SearchedMoRe) -> list[tuple[Tensor, MoRe]]:
    return list(zip(adapter.beta.detach().softmax(0), adapter._parts, strict=True))
