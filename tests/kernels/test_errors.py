"""An error of a scan names the argument, its value and what is allowed, in one line."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from manticore.errors import ManticoreError, UnknownName
from manticore.kernels import selective_scan


def valid_arguments() -> dict[str, Any]:
    b, w, length, n = 2, 3, 5, 4
    shapes = {"u": (b, w, length), "delta": (b, w, length), "A": (w, n), "B": (b, n, length), "C": (b, n, length)}
    return {name: torch.zeros(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": torch.zeros(3, 5)}, "'u' has shape (3, 5); allowed: (batch, width, length)"),
        ({"u": torch.zeros(2, 3, 0)}, "'u' has shape (2, 3, 0)"),
        ({"A": torch.zeros(4, 3)}, "'A' has shape (4, 3); allowed: (width, state) with width 3"),
        ({"A": torch.tensor(1.0)}, "'A' has shape ()"),
        ({"B": torch.zeros(2, 5, 4)}, "'B' has shape (2, 5, 4); allowed with these 'u', 'A': (2, 4, 5)"),
        ({"D": torch.zeros(4)}, "'D' has shape (4,); allowed with these 'u', 'A': (3,)"),
        ({"initial_state": torch.zeros(3, 4)}, "'initial_state' has shape (3, 4)"),
        ({"delta": torch.zeros(2, 3, 5, dtype=torch.long)}, "'delta' is torch.int64; allowed: a real floating-point"),
        ({"C": torch.zeros(2, 4, 5, device="meta")}, "'C' is on meta; allowed: cpu, where 'u' is"),
        ({"C": None}, "'C' is NoneType; allowed: a torch.Tensor"),
        ({"z": 1.0}, "'z' is float; allowed: a torch.Tensor"),
        (
            {"backend": "cpu", "u": torch.zeros(2, 3, 5).double()},
            "backend 'cpu' cannot run this selective_scan: 'u'",
        ),
    ],
)
def test_the_argument_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError, match="^.*" + re.escape(message)) as caught:
        selective_scan(**(valid_arguments() | change))
    assert "\n" not in str(caught.value)


def test_the_nearest_backend_is_named() -> None:
    with pytest.raises(UnknownName, match=r"unknown backend 'plane'\. Did you mean 'plain'\? Known: auto, batched,"):
        selective_scan(**valid_arguments(), backend="plane")
