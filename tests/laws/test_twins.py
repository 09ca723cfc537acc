"""Laws 1 to 3 of a parent and its twin: one stream without projectors, and weights in common that exist once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from manticore.components import Component, ComponentSpec, load
from manticore.errors import ManticoreError
from manticore.growth.twin import MixerSize, twin_config, untrained_twin
from manticore.modeling.branches import BaseBranch, DonorBranch
from manticore.modeling.modeling_manticore import HybridForCausalLM
from manticore.nas.cost import PathCosts, model_parameters
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component, tokens

FAMILIES = ("llama", "gpt_neox", "gpt2", "gpt_neo")


def pair(family: str, mixer: str = "mamba2") -> tuple[Component, Component]:
    """A parent and its untrained twin."""
    parent = component(family, "parent")
    torch.manual_seed(5)
    model = untrained_twin(parent, twin_config(parent, mixer, MixerSize(), range(4)))
    return parent, load(ComponentSpec(name="twin", model=model))


def supernet_of(*components: Component, base: str = "parent", **space: object) -> Supernet:
    names = [each.name for each in components]
    return Supernet(components, SearchSpace(names, stages=4, **space), base, HeadSpec()).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("base", ["parent", "twin"])
@torch.no_grad()
def test_all_stages_of_one_are_that_model_to_the_bit(family: str, base: str) -> None:
    parent, twin = pair(family)
    net = supernet_of(parent, twin, base=base)
    ids, _ = tokens()
    for each in (parent, twin):
        path = [each.name] * 4
        expected = each.model(input_ids=ids, use_cache=False).logits
        assert torch.equal(net(ids, path=path), expected)
        assert torch.equal(net(ids, weights=net.one_hot(path)), expected)
        assert torch.equal(discretize(net, path)(input_ids=ids).logits, expected)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_mixed_path_is_the_twin_with_some_attention(family: str, tmp_path: Path) -> None:
    parent, twin = pair(family, "mamba")
    net = supernet_of(parent, twin)
    path = ["parent", "twin", "twin", "parent"]
    mixed = untrained_twin(parent, twin_config(parent, "mamba", MixerSize(), [1, 2]))
    state = twin.model.state_dict()
    mixed.load_state_dict({key: state.get(key, value) for key, value in mixed.state_dict().items()})
    ids, mask = tokens(pad_left=5)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    expected = mixed(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
    got = net(ids, mask, path=path)
    torch.testing.assert_close(got[mask.bool()], expected[mask.bool()], atol=2e-5, rtol=0)
    hybrid = discretize(net, path)
    assert torch.equal(hybrid(input_ids=ids, attention_mask=mask).logits, got)
    hybrid.save_pretrained(tmp_path)
    again = HybridForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(input_ids=ids, attention_mask=mask).logits, got)
    assert set(hybrid.model.positions) <= {"parent"}


def test_common_weights_exist_once() -> None:
    parent, twin = pair("llama")
    net = supernet_of(parent, twin)
    assert isinstance(net.branch(0, "twin"), BaseBranch)
    mixers = sum(value.numel() for name, value in twin.model.named_parameters() if ".mixer." in name)
    own = sum(value.numel() for value in parent.model.parameters())
    assert model_parameters(net) == own + mixers
    costs = PathCosts(net, 8)
    assert costs.parameters(["parent"] * 4) == own
    assert costs.parameters(["twin"] * 4) == sum(value.numel() for value in twin.model.parameters())


def test_weights_that_differ_stay_apart() -> None:
    parent, twin = pair("llama")
    with torch.no_grad():
        twin.model.model.layers[1].mlp.up_proj.weight.add_(1)
    net = supernet_of(parent, twin)
    ups = [net.branch(1, name).get_submodule("segment.backbone.layers.0.mlp.up_proj") for name in ("parent", "twin")]
    downs = [
        net.branch(1, name).get_submodule("segment.backbone.layers.0.mlp.down_proj") for name in ("parent", "twin")
    ]
    assert ups[0].weight is not ups[1].weight
    assert downs[0].weight is downs[1].weight


def test_a_twin_of_another_parent_is_refused(tmp_path: Path) -> None:
    _, twin = pair("llama")
    stranger = component("llama", "stranger")
    with torch.no_grad():
        stranger.model.model.norm.weight.mul_(2)
    refusal = "'twin' is a twin of another model, and the weights of 'stranger' are not those of that parent: use the"
    for base in ("stranger", "twin"):
        with pytest.raises(ManticoreError, match=refusal):
            supernet_of(stranger, twin, base=base)
    (tmp_path / "growth.json").write_text('{"format": 1, "parent": "smollm2-instruct"}', encoding="utf-8")
    twin.source = str(tmp_path)
    with pytest.raises(ManticoreError, match=r"'twin' is a twin of 'smollm2-instruct', .* \(manticore grow\)"):
        supernet_of(stranger, twin, base="stranger")


def test_a_twin_is_a_donor_where_no_stream_is_shared() -> None:
    parent, twin = pair("llama")
    stranger, small = component("llama", "stranger"), component("mamba", "small")
    with torch.no_grad():
        stranger.model.model.norm.weight.mul_(2)
    net = supernet_of(stranger, parent, twin, base="stranger")
    assert isinstance(net.branch(0, "twin"), DonorBranch), "its parent is a donor as well"
    assert isinstance(supernet_of(small, twin, base="small").branch(0, "twin"), DonorBranch)
    assert not supernet_of(parent, twin, topology="hub").same_stream
    assert not supernet_of(stranger, twin, base="stranger", topology="hub").same_stream
