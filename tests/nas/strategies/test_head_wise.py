"""Alphas for groups of features: every group is mixed by its own weights, and the path is chosen by their mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.nn import MixedOp
from manticore.nas.searchable import MixedOpModel, alphas, named_weights
from manticore.nas.strategies import HeadWise, build_strategy
from tests.helpers.ops import CONV, EMA, OPS
from tests.helpers.search_module import batch, module, net, train

SPACES: dict[str, dict[str, Any]] = {
    "all": {"skip": True},
    "ops and choices of its own": {
        "ops": OPS,
        "skip": True,
        "stage_candidates": {1: ["attention", CONV, EMA], 2: [CONV, EMA, "recurrent"]},
        "shared_stages": [[1, 2]],
    },
}


def split(groups: int, **space: Any) -> Any:
    """A supernet with groups of features, whose alphas are random."""
    supernet = net(**space).eval()
    HeadWise(groups).prepare(supernet)
    with torch.no_grad():
        supernet.group_alpha.copy_(torch.randn(supernet.group_alpha.shape, generator=torch.Generator().manual_seed(0)))
    return supernet


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("groups", [1, 3])
def test_every_group_is_mixed_by_its_own_weights(groups: int, space: dict[str, Any]) -> None:
    supernet, rows = split(groups, **space), batch()
    inputs = (rows["input_ids"], rows["attention_mask"])
    with torch.no_grad():
        weights_GSK = supernet.group_weights()
        torch.testing.assert_close(weights_GSK.sum(-1), torch.ones(groups, 2))
        assert torch.equal(supernet.weights(), weights_GSK.mean(0))
        outputs: list[Tensor] = []
        first = supernet.stages[0]
        mix = supernet.topology.mix

        def keep(branches: Any, weights_K: Tensor, h_BLD: Tensor, context: Any) -> Tensor:
            out = mix(branches, weights_K, h_BLD, context)
            if branches[next(iter(first))] is next(iter(first.values())):
                outputs.append(out)
            return out

        supernet.topology.mix = keep
        supernet(*inputs)
        for table in weights_GSK:  # the same with the weights of one group for all features
            supernet(*inputs, weights=table)
    mixed, *of_groups = outputs
    width = mixed.shape[-1]
    for feature in range(width):
        expected = of_groups[feature * groups // width][..., feature]
        torch.testing.assert_close(mixed[..., feature], expected, rtol=1e-4, atol=1e-5)


def test_one_group_is_darts(tmp_path: Path) -> None:
    results = []
    for strategy in ("darts", HeadWise):
        searching: Any = module(strategy) if strategy == "darts" else None
        if searching is None:
            supernet = net()
            HeadWise(1).prepare(supernet)
            searching = module(HeadWise, supernet)
        torch.manual_seed(0)
        train(searching, tmp_path / str(strategy))
        results.append(searching.net.weights().detach())
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)
    assert (results[0] - 0.5).abs().min() > 0.01


def test_groups_are_trained_as_alphas_and_differ(tmp_path: Path) -> None:
    searching = module("head-wise")
    supernet = searching.net
    assert supernet.group_alpha.shape == (4, 2, 2)
    trained = {id(parameter) for _, parameter in named_weights(supernet)}
    assert not trained & {id(table) for table in alphas(supernet)}
    assert supernet.alphas == [supernet.group_alpha]
    train(searching, tmp_path)
    assert supernet.group_alpha.std(0).min() > 0
    assert supernet.alpha.abs().max() == 0
    torch.testing.assert_close(supernet.alpha_table, supernet.group_alpha.detach().mean(0))
    path = searching.path
    assert path == [supernet.candidates[index] for index in supernet.group_weights().mean(0).argmax(-1).tolist()]
    hybrid = discretize(supernet.eval(), path)
    rows = batch()
    with torch.no_grad():
        out = hybrid(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits
        torch.testing.assert_close(out, supernet(rows["input_ids"], rows["attention_mask"], path=path))


def test_what_has_no_groups_is_refused() -> None:
    with pytest.raises(ManticoreError, match="only a supernet of a topology with a base has; use darts"):
        HeadWise().check(net(topology="hub"))
    with pytest.raises(ManticoreError, match="use darts"):
        HeadWise().check(MixedOpModel(MixedOp({"a": torch.nn.Identity(), "b": torch.nn.Tanh()})))
    with pytest.raises(ManticoreError, match="a stream of 16 features cannot have 17 groups"):
        net().split_alphas(17)
    assert build_strategy("head-wise", {"groups": 8}) == HeadWise(8)
