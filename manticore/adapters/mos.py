"""MoS, mixture of shards (arXiv 2410.00938): low-rank factors that are put together from shards of shared pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters, check_side
from manticore.adapters.lora import LoRA, LoRAOptions
from manticore.errors import ManticoreError
from manticore.utils.fields import Checked, PositiveInt


@dataclass(frozen=True)
class MoSOptions(Checked):
    """Options of MoS."""

    rank: PositiveInt = 8
    """Rank of the change."""

    budget: PositiveInt = 3
    """Rank of the LoRA with as many parameters."""

    private: PositiveInt = 1
    """Part of the budget that a layer has for itself (shard privatization)."""

    shard: PositiveInt = 32
    """Features of a shard. Layers of all sizes, and of all families, share the pools."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.private < self.budget <= self.rank:
            raise ManticoreError(
                "adapter.options of mos must have private < budget <= rank, got "
                f"{self.private}, {self.budget} and {self.rank}"
            )


@adapters.register("mos")
class MoS(Adapter):
    """`D = B A`, whose rows of A and columns of B are private, or consist of shards of two pools of all layers.

    Which shards of a pool a layer reads is drawn at random, for A and for B by itself (in the paper: pair dissociation,
    vector sharding). With the budget e, p private rows and the shard size s, the pool of A has (e - p) ceil(n / s)
    shards of each layer, and that of B (e - p) ceil(m / s).

    Attributes:
        A, B: (p, n), drawn as a linear layer's weight, and (p, m), at first 0: the private rows.
        pool_A, pool_B: (shards, s), uniform in +-1 / sqrt(mean n), and at first 0.
        index_A, index_B: (r - p, ceil(n / s)) and (r - p, ceil(m / s)), positions in the pools.
    """

    Options = MoSOptions
    factored = True

    def __init__(self, weight: Tensor, options: MoSOptions) -> None:
        super().__init__(weight, options)
        self.A = nn.Parameter(weight.new_empty(options.private, self.columns))
        self.B = nn.Parameter(weight.new_zeros(options.private, self.rows))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.pool_A: nn.Parameter
        self.pool_B: nn.Parameter
        self.index_A: Tensor
        self.index_B: Tensor

    @classmethod
    def check(cls, rows: int, columns: int, options: MoSOptions) -> None:
        check_side("rank", options.rank, rows, columns)

    @classmethod
    def join(cls, layers: Sequence[Adapter], options: MoSOptions) -> None:
        own = [layer for layer in layers if isinstance(layer, MoS)]
        mean_inputs = sum(layer.columns for layer in own) / len(own)
        pools = {}
        for name, side in (("A", "columns"), ("B", "rows")):
            shards = [math.ceil(getattr(layer, side) / options.shard) for layer in own]
            size = (options.budget - options.private) * sum(shards)
            pools[name] = nn.Parameter(own[0].A.detach().new_zeros(size, options.shard))
            for layer, count in zip(own, shards, strict=True):
                setattr(layer, f"pool_{name}", pools[name])
                index = _draw(size, options.rank - options.private, count)
                layer.register_buffer(f"index_{name}", index.clone().to(layer.A.device))  # of its own storage
        nn.init.uniform_(pools["A"], -(mean_inputs**-0.5), mean_inputs**-0.5)

    def factors(self) -> tuple[Tensor, Tensor]:
        """A (r, n) and B (m, r)."""
        A = self.pool_A[self.index_A].flatten(1)[:, : self.columns]
        B = self.pool_B[self.index_B].flatten(1)[:, : self.rows]
        return torch.cat([self.A, A]), torch.cat([self.B, B]).T

    def forward(self, x: Tensor) -> Tensor:
        A, B = self.factors()
        return F.linear(F.linear(x, A), B)

    def delta(self) -> Tensor:
        A, B = self.factors()
        return B @ A

    @property
    def shared(self) -> tuple[nn.Parameter, ...]:
        return self.pool_A, self.pool_B

    def final(self) -> Adapter:
        """LoRA with the factors of this layer, in which nothing is shared."""
        A, B = self.factors()
        change = LoRA(self.A, LoRAOptions(self.options.rank))
        change.rows, change.columns = self.rows, self.columns
        change.A, change.B = nn.Parameter(A.detach().clone()), nn.Parameter(B.detach().clone())
        return change


def _draw(size: int, rows: int, count: int) -> Tensor:
    """Positions (rows, count) in a pool, all different if the pool is large enough."""
    if size < rows * count:
        return torch.randint(size, (rows, count))
    return torch.randperm(size)[: rows * count].reshape(rows, count)
