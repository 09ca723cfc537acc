"""Law 1: a path of base segments is the component, bit for bit, and every family can be the base."""

from __future__ import annotations

import pytest
import torch

from manticore.modeling.masking import build_position_ids
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.ops import CONV, op_supernet
from tests.helpers.pico import ROWS, component, supernet, tokens


@pytest.mark.parametrize("pad_left", [0, 5])
@pytest.mark.parametrize("topology", ["residual", "hub"])
@pytest.mark.parametrize("family", ROWS)
def test_all_base_equals_hugging_face(family: str, topology: str, pad_left: int) -> None:
    net = supernet(family, "gpt2" if family != "gpt2" else "mamba", topology=topology)
    ids, mask = tokens(pad_left=pad_left)
    with torch.no_grad():
        positions = (
            {"position_ids": build_position_ids(mask, 0, 17, ids.device)}
            if net.components["base"].layout.has_attention
            else {}
        )
        expected = net.components["base"].model(input_ids=ids, attention_mask=mask, **positions).logits
        assert torch.equal(net(ids, mask, path=["base"] * 3), expected)
        assert torch.equal(net(ids, mask, weights=net.one_hot(["base"] * 3)), expected)
        assert torch.equal(discretize(net, ["base"] * 3)(input_ids=ids, attention_mask=mask).logits, expected)


@pytest.mark.parametrize("stages", [1, 2, 4])
def test_the_base_is_the_component_for_any_number_of_stages(stages: int) -> None:
    net = supernet("mamba", "gpt_neo", stages=stages)
    ids, mask = tokens()
    with torch.no_grad():
        expected = net.components["base"].model(input_ids=ids, attention_mask=mask).logits
        assert torch.equal(net(ids, mask, path=["base"] * stages), expected)


def test_among_ops_and_with_cuts_of_ones_own() -> None:
    net = op_supernet(cuts={"base": [0, 1, 2, 4]}, stage_candidates={2: ["base", CONV]})
    ids, mask = tokens(pad_left=5)
    with torch.no_grad():
        positions = build_position_ids(mask, 0, 17, ids.device)
        expected = net.components["base"].model(input_ids=ids, attention_mask=mask, position_ids=positions).logits
        assert torch.equal(net(ids, mask, path=["base"] * 3), expected)
        assert torch.equal(discretize(net, ["base"] * 3)(input_ids=ids, attention_mask=mask).logits, expected)
        assert not torch.allclose(net(ids, mask, path=["base", CONV, "base"]), expected, atol=1e-2)


def test_a_donor_stage_changes_the_output() -> None:
    net = supernet("gpt_neo", "mamba")
    ids, mask = tokens()
    with torch.no_grad():
        base, mixed = net(ids, mask, path=["base"] * 3), net(ids, mask, path=["base", "donor", "base"])
    assert not torch.allclose(base, mixed, atol=1e-4)


def test_a_list_with_one_entry_per_layer_by_chance_is_not_sliced() -> None:
    components = [component("mamba2", "base", layers=2), component("gpt2", "donor", layers=2)]
    net = Supernet(components, SearchSpace(["base", "donor"], stages=2), "base", HeadSpec()).eval()
    ids, mask = tokens()
    with torch.no_grad():  # Mamba-2 has the limits of its step size in a list of two
        assert torch.equal(
            net(ids, mask, path=["base"] * 2), components[0].model(input_ids=ids, attention_mask=mask).logits
        )
