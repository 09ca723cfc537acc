"""Law 1: a path that stays base is the component, bit for bit, and every family can be base."""

from __future__ import annotations

import pytest
import torch

from manticore.modeling.masking import build_position_ids
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import FAMILIES, component, supernet, tokens


@pytest.mark.parametrize("pad_left", [0, 5])
@pytest.mark.parametrize("topology", ["residual", "hub"])
@pytest.mark.parametrize("family", FAMILIES)
def test_all_base_equals_hugging_face(family: str, topology: str, pad_left: int) -> None:
    net = supernet(family, "gpt2" if family != "gpt2" else "mamba", topology=topology)
    ids, mask = tokens(pad_left=pad_left)
    with torch.no_grad():
        counted = (
            {}
            if net.components["base"].layout.recurrent
            else {"position_ids": build_position_ids(mask, 0, 17, ids.device)}
        )
        want = net.components["base"].model(input_ids=ids, attention_mask=mask, **counted).logits
        assert torch.equal(net(ids, mask, path=["base"] * 3), want)
        assert torch.equal(net(ids, mask, weights=net.one_hot(["base"] * 3)), want)
        assert torch.equal(discretize(net, ["base"] * 3)(input_ids=ids, attention_mask=mask).logits, want)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_any_number_of_stages_up_to_the_depth(stages: int) -> None:
    net = supernet("mamba", "gpt_neo", stages=stages)
    ids, mask = tokens()
    with torch.no_grad():
        want = net.components["base"].model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(net(ids, mask, path=["base"] * stages), want)


def test_a_donor_stage_changes_the_output() -> None:
    net = supernet("gpt_neo", "mamba")
    ids, mask = tokens()
    with torch.no_grad():
        base, mixed = net(ids, mask, path=["base"] * 3), net(ids, mask, path=["base", "donor", "base"])
    assert not torch.allclose(base, mixed, atol=1e-4)


def test_lists_that_are_as_long_as_the_model_is_deep_are_not_cut_by_mistake() -> None:
    parts = [component("mamba2", "base", layers=2), component("gpt2", "donor", layers=2)]
    net = Supernet(parts, SearchSpace(["base", "donor"], stages=2), "base", HeadSpec()).eval()
    ids, mask = tokens()
    with torch.no_grad():  # Mamba-2 holds the limits of its time step in a list of two
        assert torch.equal(net(ids, mask, path=["base"] * 2), parts[0].model(input_ids=ids, attention_mask=mask).logits)
