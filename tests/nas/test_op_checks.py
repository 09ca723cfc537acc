"""Ops are tested before a search: an op that does not meet a requirement is refused in one line that names it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import manticore as mc
from manticore.errors import ManticoreError
from manticore.nas.op_checks import check_ops
from tests.helpers.ops import OPS, Conv, Mean, make_mean


class Centered(nn.Module):
    """A convolution that sees the next token, and whose update is 0 at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return out


class FarSighted(nn.Module):
    """Reads the token 20 positions ahead."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 20))[:, 20:] if x.shape[1] > 20 else torch.zeros_like(x)


class Mixing(Centered):
    """Lets sequences of a batch see each other."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


class Random(Centered):
    """Random also in evaluation."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.randn_like(x)


class InPlace(Centered):
    """Overwrites the stream."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2)


class Narrow(Centered):
    """Returns half the features."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., : x.shape[-1] // 2]


class Infinite(Centered):
    """Divides by 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x / 0


class Picky(Centered):
    """Needs more than one token."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] < 2:
            raise ValueError("too short\nby far")
        return x


class Forgetful(Conv):
    """Its cache has one input too few."""

    def init_cache(self, batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        return {"window": super().init_cache(batch, device, dtype)["window"] + 1}


class Growing(Conv):
    """Keeps the whole past."""

    def step(self, x_B1D: Tensor, cache: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        out, _ = super().step(x_B1D, {"window": cache["window"][:, -2:]})
        return out, {"window": torch.cat([cache["window"], x_B1D], dim=1)}


class Halved(nn.Module):
    """Has one of the two methods of a cache."""

    def __init__(self, width: int) -> None:
        super().__init__()

    def init_cache(self, batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def forward(self, x: Tensor) -> Tensor:
        return x


class Lost(Halved):
    """Keeps a tensor that is no buffer."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.inner = nn.Module()
        self.inner.scale = torch.ones(width)


class Unsaved(Halved):
    """Keeps a buffer that is not saved."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("scale", torch.ones(width), persistent=False)


class Measured(Halved):
    """Needs the values of a tensor to be built."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.size = int(torch.arange(width).sum())


class Plain(Halved):
    """Takes no option."""


def not_a_module(width: int) -> Any:
    """Returns a number."""
    return width


def test_ops_that_meet_all_requirements_pass_and_leave_the_random_state() -> None:
    state = torch.get_rng_state()
    check_ops(OPS, [16, 32], "lm", 40)
    check_ops([mc.Op("a", Mean, causal=False), mc.Op("b", make_mean, causal=False)], [16], "classification", 40)
    check_ops([mc.Op("a", Centered, causal=False)], [16], "tokens", 1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (Centered, "op 'own' is not causal: its output at a position depends on inputs at later positions"),
        (FarSighted, "op 'own' is not causal"),
        (Mean, "op 'own' is not causal"),
        (Mixing, "depends on the other sequences of the batch"),
        (Random, "another output each time"),
        (InPlace, "op 'own' changes its input in place, and all candidates of a stage read it"),
        (Narrow, r"op 'own' maps \(2, 1, 16\) to \(2, 1, 8\)"),
        (Infinite, "the output of op 'own' is not finite"),
        (Picky, r"op 'own' fails on an input of shape \(2, 1, 16\): too short by far"),
        (Forgetful, "step of op 'own' gives another output than forward"),
        (Growing, "the cache of op 'own' changes its shapes"),
        (Halved, "one of init_cache and step"),
        (Lost, r"a tensor that is not saved with its weights \(inner.scale\)"),
        (Unsaved, r"a tensor that is not saved with its weights \(scale\)"),
        (Measured, "cannot be built without data, on torch's meta device"),
        (not_a_module, "returns int; it must return nn.Module"),
    ],
)
@pytest.mark.parametrize("kind", ["lm", "classification"])
def test_an_op_that_does_not_meet_a_requirement_is_refused(factory: Any, message: str, kind: str) -> None:
    with pytest.raises(ManticoreError, match=message) as raised:
        check_ops([mc.Op("own", factory)], [16], kind, 40)
    assert "\n" not in str(raised.value)


def test_an_op_that_is_declared_not_causal_is_no_candidate_of_a_language_model() -> None:
    with pytest.raises(ManticoreError, match=r"op 'own' is not causal .*use it on tasks with labels"):
        check_ops([mc.Op("own", Mean, causal=False)], [16], "lm", 40)
    with pytest.raises(ManticoreError, match="has a cache and is not causal"):
        check_ops([mc.Op("own", Conv, causal=False)], [16], "tokens", 40)


def test_options_that_the_factory_does_not_take_are_refused() -> None:
    with pytest.raises(ManticoreError, match=r"op 'own' cannot be built for width 16: .*unexpected keyword"):
        check_ops([mc.Op("own", Plain, options={"kernel": 3})], [16], "lm", 40)


class Recurrent(nn.Module):
    """A GRU, which keeps its own parameters in a list beside them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.gru(x)[0]
        return out


def test_a_recurrent_module_of_torch_is_an_op() -> None:
    check_ops([mc.Op("gru", Recurrent)], [16], "lm", 32)
