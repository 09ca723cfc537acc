"""MoRe, Monarch rectangular fine-tuning (Tan et al. 2024): the change of a weight has two block-diagonal factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters, check_side
from manticore.errors import ManticoreError, shown
from manticore.utils.fields import Checked, PositiveInt


@dataclass(frozen=True)
class MoReOptions(Checked):
    """Options of MoRe."""

    blocks: PositiveInt = 4
    """N, the number of blocks of each factor."""

    rank: PositiveInt = 4
    """r, the inner width of a block. A weight (m, n) gets r (m + n) parameters, for every N."""


def check_sizes(configurations: Sequence[Sequence[int]]) -> None:
    """Raises ManticoreError unless there is a pair of blocks and rank, and nothing else."""
    if not configurations or any(len(pair) != 2 for pair in configurations):
        raise ManticoreError(
            "adapter.options.configurations must be pairs of blocks and rank, such as [[4, 4], [4, 8]], got "
            f"{shown([list(pair) for pair in configurations])}"
        )


@adapters.register("more")
class MoRe(Adapter):
    """`D = P1 L P2 R` with block-diagonal R (N r, n) and L (m, N r), and two fixed permutations.

    For blocks k and l of the factors, inner index q of R and a of L, row i and column c of a block:

        u[k r + q] = sum_c B1[k, q, c] x[k p + c]
        y[i N + l] = sum_a B2[l, i, a] u[a N + l]

    so D has at most the rank min(N r, m, n), N times that of LoRA with as many parameters. Sizes that N does not divide
    are padded: p = ceil(n / N), s = ceil(p m / n).

    Args:
        weight: W (m, n), for shape, type and device.
        options: N and r.

    Attributes:
        B1: (N, r, p), uniform in +-1 / sqrt(p).
        B2: (N, s, r), 0 when it is built, so that D is 0.
    """

    Options = MoReOptions
    factored = True

    def __init__(self, weight: Tensor, options: MoReOptions) -> None:
        super().__init__(weight, options)
        self.N, self.r = options.blocks, options.rank
        self.p = math.ceil(self.columns / self.N)
        self.s = math.ceil(self.p * self.rows / self.columns)
        self.B1 = nn.Parameter(weight.new_empty(self.N, self.r, self.p).uniform_(-(self.p**-0.5), self.p**-0.5))
        self.B2 = nn.Parameter(weight.new_zeros(self.N, self.s, self.r))

    @classmethod
    def check(cls, rows: int, columns: int, options: MoReOptions) -> None:
        check_side("blocks", options.blocks, rows, columns)

    def forward(self, x: Tensor) -> Tensor:
        missing = self.N * self.p - self.columns
        padded = F.pad(x, (0, missing)) if missing else x  # a pad of 0 is a copy, which would be kept for the gradient
        x_kp = padded.unflatten(-1, (self.N, self.p))
        u = torch.einsum("...kp,kqp->...kq", x_kp, self.B1)
        v_al = u.flatten(-2).unflatten(-1, (self.r, self.N))
        y: Tensor = torch.einsum("...al,lia->...il", v_al, self.B2).flatten(-2)[..., : self.rows]
        return y

    def delta(self) -> Tensor:
        """D, (m, n): m n r / N multiply-adds where N divides r, and m n r elsewhere."""
        if self.r % self.N == 0:
            B1_ktlc = self.B1.unflatten(1, (self.r // self.N, self.N))
            B2_likt = self.B2.unflatten(2, (self.N, self.r // self.N))
            D = torch.einsum("likt,ktlc->ilkc", B2_likt, B1_ktlc)
        else:
            R_alx = torch.block_diag(*self.B1).unflatten(0, (self.r, self.N))
            D = torch.einsum("lia,alx->ilx", self.B2, R_alx)
        return D.reshape(self.s * self.N, self.N * self.p)[: self.rows, : self.columns]

    @property
    def notes(self) -> tuple[str, ...]:
        if self.r >= self.N:
            return ()
        share = 1 - self.r / self.N
        return (
            f"note: adapter.options.rank {self.r} is below adapter.options.blocks {self.N}, so {share:.0%} of the "
            "blocks of a change stay 0; a rank that is a multiple of blocks reaches all of them",
        )

    @torch.no_grad()
    def approximate_(self, target: Tensor) -> None:
        """Set the factors so that D is the nearest matrix of its kind to `target` (m, n), in the Frobenius norm.

        Each of the N x N blocks (the rows l, l + N, ..., and the p columns from k p on) is an independent matrix of
        rank r / N, whose nearest one is its truncated SVD. Raises ManticoreError unless N divides r.
        """
        if self.r % self.N:
            raise ManticoreError(f"the nearest change is known where blocks divide rank, not for {self.N} and {self.r}")
        size = self.r // self.N
        padded = F.pad(target, (0, self.N * self.p - self.columns, 0, self.N * self.s - self.rows))
        blocks_lkic = padded.reshape(self.s, self.N, self.N, self.p).permute(1, 2, 0, 3)
        U, S, V = torch.linalg.svd(blocks_lkic, full_matrices=False)
        size = min(size, S.shape[-1])
        left, right = U[..., :size] * S[..., None, :size], V[..., :size, :]  # (l, k, i, t), (l, k, t, c)
        B2 = self.B2.zero_().unflatten(2, (self.N, self.r // self.N))
        B1 = self.B1.zero_().unflatten(1, (self.r // self.N, self.N))
        B2[..., :size] = left.permute(0, 2, 1, 3)
        B1[:, :size] = right.permute(1, 2, 0, 3)
