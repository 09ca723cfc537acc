"""Arguments of a supernet that do not fit it are named."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import manticore as mc
from manticore.errors import ManticoreError
from tests.helpers.ops import op_supernet

IDS = torch.tensor([[3, 4, 5]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ["base"]}, "the path names 1 stages; the supernet has 2"),
        ({"path": ["base"] * 3}, "the path names 3 stages; the supernet has 2"),
        ({"weights": torch.ones(3, 5)}, r"mixing weights have the shape \(2, 5\), or \(B, 2, 5\), not \(3, 5\)"),
        ({"path": ["base"] * 2, "weights": torch.ones(2, 5)}, "give one of them"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options: dict[str, Any], message: str) -> None:
    net = op_supernet("gpt2", "mamba", stages=2)
    with pytest.raises(ManticoreError, match=message):
        net(IDS, **options)


def test_the_weights_of_a_path_of_another_length_are_refused() -> None:
    with pytest.raises(ManticoreError, match="the path names 1 stages"):
        op_supernet("gpt2", "mamba", stages=2).one_hot(["base"])


def test_components_are_a_list() -> None:
    with pytest.raises(
        ManticoreError, match=r"components is a list, such as \['gpt-neo', 'mamba'\], not 'gpt-neo,mamba'"
    ):
        mc.SearchSpace("gpt-neo,mamba", stages=2)
