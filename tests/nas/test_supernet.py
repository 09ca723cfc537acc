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
        ({"path": ["base"]}, "the path names 1 stages; the space has 2"),
        ({"path": ["base"] * 3}, "the path names 3 stages; the space has 2"),
        ({"path": "ba"}, "a path is a list of a candidate for each stage, not 'ba'"),
        ({"path": ["base", "bas"]}, "unknown candidate for a stage 'bas'. Did you mean 'base'"),
        ({"weights": torch.ones(3, 5)}, r"mixing weights have the shape \(2, 5\), or \(B, 2, 5\), not \(3, 5\)"),
        ({"weights": "uniform"}, "mixing weights are a tensor, an array or lists, not 'uniform'"),
        ({"path": ["base"] * 2, "weights": torch.ones(2, 5)}, "path and weights exclude each other"),
    ],
)
def test_arguments_that_do_not_fit_are_named(options: dict[str, Any], message: str) -> None:
    net = op_supernet("gpt2", "mamba", stages=2)
    with pytest.raises(ManticoreError, match=message):
        net(IDS, **options)


def test_the_weights_of_a_path_that_is_none_are_refused() -> None:
    net = op_supernet("gpt2", "mamba", stages=2)
    with pytest.raises(ManticoreError, match="the path names 1 stages"):
        net.one_hot(["base"])
    with pytest.raises(ManticoreError, match="Did you mean 'base'"):
        net.log_probability(["base", "bas"])


def test_mixing_weights_may_be_an_array_or_lists() -> None:
    net = op_supernet("gpt2", "mamba", stages=2)
    weights = torch.softmax(torch.randn(net.alpha.shape), -1)
    expected = net(IDS, weights=weights)
    assert torch.equal(net(IDS, weights=weights.double().numpy()), expected)
    assert torch.equal(net(IDS, weights=weights.tolist()), expected)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        ([[3, 4, 5]], None, r"input_ids is a tensor \(B, L\) of token ids, not \[\[3, 4, 5\]\]"),
        (IDS[0], None, r"token ids, not torch.int64 of shape \(3,\)"),
        (IDS.float(), None, r"token ids, not torch.float32 of shape \(1, 3\)"),
        (
            IDS,
            torch.ones(1, 2),
            r"attention_mask has the shape of the ids, \(1, 3\), not torch.float32 of",
        ),
    ],
)
def test_inputs_are_a_batch_of_ids(ids: Any, mask: Any, message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        op_supernet("gpt2", "mamba", stages=2)(ids, mask)


def test_components_are_a_list() -> None:
    assert mc.SearchSpace(name for name in ("gpt-neo", "mamba")).names == ("gpt-neo", "mamba")
    with pytest.raises(
        ManticoreError, match=r"components is a list, such as \['gpt-neo', 'mamba'\], not 'gpt-neo,mamba'"
    ):
        mc.SearchSpace("gpt-neo,mamba", stages=2)
