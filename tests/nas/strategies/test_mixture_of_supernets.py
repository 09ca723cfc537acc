"""Projectors that are generated from the path: their formula, and the ordinary projectors of the hybrid."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch

from manticore.errors import ManticoreError
from manticore.nas.cost import PathCosts, parameters
from manticore.nas.discretize import discretize
from manticore.nas.nn import MixedOp
from manticore.nas.routed_projectors import RoutedLinear, collapsed_weights
from manticore.nas.searchable import MixedOpModel
from manticore.nas.strategies import MixtureOfSupernets
from tests.helpers.search_module import batch, module, net


def routed(experts: int = 2, moved: bool = True) -> Any:
    """A supernet with generated projectors, whose matrices are moved off 0."""
    supernet = net(stages=2, skip=True).eval()
    MixtureOfSupernets(experts).prepare(supernet)
    if moved:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for part in supernet.modules():
                if isinstance(part, RoutedLinear):
                    part.routing.experts.copy_(0.3 * torch.randn(part.routing.experts.shape, generator=generator))
    return supernet


PATHS = [["attention", "recurrent"], ["recurrent", "recurrent"], ["recurrent", "skip"]]


def test_at_the_start_the_supernet_is_as_without() -> None:
    plain, supernet, rows = net(stages=2, skip=True).eval(), routed(moved=False), batch()
    inputs = (rows["input_ids"], rows["attention_mask"])
    with torch.no_grad():
        for options in ({}, *({"path": path} for path in PATHS)):
            torch.testing.assert_close(supernet(*inputs, **options), plain(*inputs, **options))
    MixtureOfSupernets(5).prepare(supernet)
    assert supernet.branch(0, "recurrent").proj_in.routing.experts.shape[0] == 2, "prepared once"


@pytest.mark.parametrize("path", PATHS, ids="-".join)
def test_a_hybrid_has_the_projectors_of_its_path(path: list[str]) -> None:
    supernet, rows = routed(), batch()
    inputs = {"input_ids": rows["input_ids"], "attention_mask": rows["attention_mask"]}
    hybrid = discretize(supernet, path)
    with torch.no_grad():
        expected = supernet(*inputs.values(), path=path)
        torch.testing.assert_close(hybrid(**inputs).logits, expected)
        weights = collapsed_weights(supernet, path)
        for stage, name in enumerate(path):
            if name == "recurrent":
                projector = supernet.branch(stage, "recurrent").proj_in
                share = (projector.routing.router @ supernet.one_hot(path).flatten()).softmax(0)
                total = projector.weight + sum(s * e for s, e in zip(share, projector.routing.experts, strict=True))
                torch.testing.assert_close(weights[f"stages.{stage}.recurrent.proj_in.weight"], total)
    assert not [key for key in hybrid.state_dict() if "routing" in key]
    costs = PathCosts(supernet, 8)
    assert costs.parameters(path) == parameters(hybrid)


def test_paths_have_projectors_of_their_own() -> None:
    supernet = routed()
    first, second = (collapsed_weights(supernet, path) for path in PATHS[:2])
    key = "stages.1.recurrent.proj_in.weight"
    assert not torch.allclose(first[key], second[key], atol=1e-3)
    copy, rows = deepcopy(supernet), batch()
    inputs = (rows["input_ids"], rows["attention_mask"])
    with torch.no_grad():
        expected = copy(*inputs, path=PATHS[0])
        supernet(*inputs, path=PATHS[1])
        assert torch.equal(copy(*inputs, path=PATHS[0]), expected), "a copy notes its own paths"
        one_hot = supernet.one_hot(PATHS[1])
        torch.testing.assert_close(supernet(*inputs, weights=one_hot), supernet(*inputs, path=PATHS[1]))


def test_all_of_it_is_trained() -> None:
    searching = module("mixture-of-supernets")
    names = [name for name, _ in searching.named_weights if ".routing." in name]
    assert len(names) == 2 * 2 * 2, "matrices and router of two projectors at two stages"
    loss = searching.loss(batch(), path=["recurrent", "recurrent"])
    loss.backward()
    parameters_by_name = dict(searching.net.named_parameters())
    for name in names:
        gradient = parameters_by_name[name].grad
        assert gradient is not None
        assert (gradient.abs().max() > 0) == name.endswith("experts"), "of matrices that are 0 the router has none"


def test_what_has_no_linear_projectors_is_refused() -> None:
    with pytest.raises(ManticoreError, match=r"needs single paths of the supernet, .*; use darts"):
        MixtureOfSupernets().check(net(topology="hub"))
    for searched in (
        MixedOpModel(MixedOp({"a": torch.nn.Identity(), "b": torch.nn.Tanh()})),
        net(projector="low-rank", projector_options={"rank": 2}),
    ):
        with pytest.raises(ManticoreError, match=r"generates linear projectors of donors, .* has none; use uniform"):
            MixtureOfSupernets().check(searched)
