"""Law 1: a path that stays home is the component, bit for bit, and every family can be home."""

from __future__ import annotations

import pytest
import torch

from manticore.discretization import discretize
from manticore.modeling.padding import places
from manticore.space import SearchSpace
from manticore.supernet import Readout, Supernet
from tests.pico import FAMILIES, component, supernet, tokens


@pytest.mark.parametrize("pad_left", [0, 5])
@pytest.mark.parametrize("topology", ["residual", "hub"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_home_equals_hugging_face(family: str, topology: str, pad_left: int) -> None:
    net = supernet(family, "gpt2" if family != "gpt2" else "mamba", topology=topology)
    ids, mask = tokens(pad_left=pad_left)
    with torch.no_grad():
        counted = {} if net.components["home"].anatomy.recurrent else {"position_ids": places(mask, 0, 17, ids.device)}
        want = net.components["home"].model(input_ids=ids, attention_mask=mask, **counted).logits
        assert torch.equal(net(ids, mask, path=["home"] * 3), want)
        assert torch.equal(net(ids, mask, weights_SK=net.one_hot(["home"] * 3)), want)
        assert torch.equal(discretize(net, ["home"] * 3)(input_ids=ids, attention_mask=mask).logits, want)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_any_number_of_stages_up_to_the_depth(stages: int) -> None:
    net = supernet("mamba", "gpt_neo", stages=stages)
    ids, mask = tokens()
    with torch.no_grad():
        want = net.components["home"].model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(net(ids, mask, path=["home"] * stages), want)


def test_a_foreign_stage_changes_the_output() -> None:
    net = supernet("gpt_neo", "mamba")
    ids, mask = tokens()
    with torch.no_grad():
        home, mixed = net(ids, mask, path=["home"] * 3), net(ids, mask, path=["home", "foreign", "home"])
    assert not torch.allclose(home, mixed, atol=1e-4)


def test_lists_that_are_as_long_as_the_model_is_deep_are_not_cut_by_mistake() -> None:
    parts = [component("mamba2", "home", layers=2), component("gpt2", "foreign", layers=2)]
    net = Supernet(parts, SearchSpace(["home", "foreign"], stages=2), "home", Readout()).eval()
    ids, mask = tokens()
    with torch.no_grad():  # Mamba-2 holds the limits of its time step in a list of two
        assert torch.equal(net(ids, mask, path=["home"] * 2), parts[0].model(input_ids=ids, attention_mask=mask).logits)
