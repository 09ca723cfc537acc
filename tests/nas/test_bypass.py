"""A bypass is a linear term of a donor branch, equal in supernet, hybrid and checkpoint; without it nothing changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from manticore.alignment.projector_set import ProjectorSet, projector_state
from manticore.config.loading import resolve
from manticore.errors import ManticoreError
from manticore.modeling.projectors import PROJECTORS, Bypass, LowRankBypass
from manticore.nas.cost import PathCosts, flops, parameters
from manticore.nas.discretize import discretize, hybrid_config
from manticore.nas.mixed_op import apply_bypasses
from manticore.nas.projector_checks import check_projector
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.studies.study import hub_recipe
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component, supernet, tokens
from tests.nas.test_mixed_op import CountProducts

ON = {"projector_options": {"bypass": True}}
PATH = ["base", "donor", "donor"]


class Scaled(nn.Module):
    """A user's projector without an option for a bypass."""

    def __init__(self, d_in: int, d_out: int, factor: float = 1.0) -> None:
        super().__init__()
        self.map, self.factor = nn.Linear(d_in, d_out), factor

    def forward(self, x_BLD: Tensor) -> Tensor:
        out: Tensor = self.factor * self.map(x_BLD)
        return out


@pytest.fixture
def scaled_projector() -> Iterator[None]:
    PROJECTORS["scaled"] = Scaled
    yield
    PROJECTORS.pop("scaled")


def test_without_a_bypass_weights_and_config_are_unchanged() -> None:
    default, off, on = (
        supernet("gpt_neo", "mamba", **more) for more in ({}, {"projector_options": {"bypass": False}}, ON)
    )
    assert off.projector == default.projector == {"kind": "linear"}
    assert all(torch.equal(value, off.state_dict()[key]) for key, value in default.state_dict().items())
    assert list(off.state_dict()) == list(default.state_dict())
    configs = [hybrid_config(net, net.architecture(PATH)).to_dict() for net in (default, off)]
    assert configs[0] == configs[1]
    assert configs[0]["projector"] == {"kind": "linear"}
    assert set(on.state_dict()) - set(default.state_dict()) == {f"stages.{s}.donor.bypass.weight" for s in range(3)}


@pytest.mark.parametrize("kind", ["linear", "low-rank", "two-layer"])
def test_a_new_bypass_is_zero(kind: str) -> None:
    parts = [component("gpt_neo", "base"), component("mamba", "donor")]
    nets = []
    for bypass in (False, True):
        torch.manual_seed(0)
        space = SearchSpace(["base", "donor"], 1, projector=kind, projector_options={"bypass": bypass})
        nets.append(Supernet(parts, space, "base", HeadSpec()).eval())
    with torch.no_grad():
        logits = [net(tokens()[0], path=["donor"]) for net in nets]
    torch.testing.assert_close(*logits, atol=0, rtol=0)


@pytest.mark.parametrize("kind", ["linear", "low-rank", "identity", "scaled"])
def test_supernet_and_hybrid_compute_a_bypass_by_its_definition(
    scaled_projector: None, kind: str, tmp_path: Path
) -> None:
    net = supernet("gpt_neo", "mamba", projector=kind, skip=True, **ON)
    net.requires_grad_(False)
    ids, mask = tokens(pad_left=4)
    h_BLD, hook = [], net.stages[0]["base"].register_forward_pre_hook(lambda _, args: h_BLD.append(args[:2]))
    weights = torch.tensor([[0.5, 0.3, 0.2]]).expand(3, 3)
    mixed = net(ids, mask, weights=weights)
    hook.remove()
    (h, context), branch = h_BLD[0], net.stages[0]["donor"]
    added = branch.proj_out(branch.segment_update(branch.proj_in(h), context)) + branch.bypass(h)
    torch.testing.assert_close(branch(h, context), h + added)
    assert branch.bypass(h).abs().max() > 0.01
    plain = h
    for row in net.stages:
        assert isinstance(row, nn.ModuleDict)
        plain = sum(w * candidate(plain, context) for w, candidate in zip(weights[0], row.values(), strict=True))
    torch.testing.assert_close(mixed, net.heads["base"](net.norms["base"](plain)), atol=2e-5, rtol=1e-5)
    hybrid = discretize(net, PATH)
    discrete = hybrid(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(net(ids, mask, path=PATH), discrete, atol=0, rtol=0)
    torch.testing.assert_close(net(ids, mask, weights=net.one_hot(PATH)), discrete, atol=1e-5, rtol=0)
    unpadded = hybrid(input_ids=ids[:1, 4:]).logits[0]
    torch.testing.assert_close(discrete[0, 4:], unpadded, atol=2e-5, rtol=0)  # padding on the left has no influence
    assert parameters(hybrid) == PathCosts(net, 17).parameters(PATH)
    assert PathCosts(net, 17).flops(PATH) == pytest.approx(flops(hybrid, 17))
    hybrid.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.projector == {"kind": kind, "bypass": True}
    assert torch.equal(loaded(input_ids=ids, attention_mask=mask).logits, discrete)


def test_all_bypasses_of_a_stage_are_one_product() -> None:
    h, shares = torch.randn(2, 5, 6), [torch.tensor(0.3), torch.tensor(0.5)]
    linear, low = [Bypass(6), Bypass(6)], LowRankBypass(6, rank=2)
    with torch.no_grad():
        for weight in (linear[0].weight, linear[1].weight, low.up.weight):
            weight.normal_()
        with CountProducts() as products:
            result = apply_bypasses(shares, linear, h)
        assert products == [1]
        torch.testing.assert_close(result, 0.3 * linear[0](h) + 0.5 * linear[1](h))
        torch.testing.assert_close(apply_bypasses(shares, [low, linear[0]], h), 0.3 * low(h) + 0.5 * linear[0](h))
    assert "bias" not in {name.split(".")[-1] for name in low.state_dict()}


def test_a_bypass_has_the_rank_of_the_projectors() -> None:
    net = supernet("gpt_neo", "mamba", projector="low-rank", projector_options={"rank": 3, "bypass": True})
    branch = net.stages[0]["donor"]
    assert branch.bypass.down.weight.shape == (3, 32)
    assert branch.bypass.up.weight.shape == (32, 3)
    assert [name for name in net.stages[0]["base"].state_dict() if "bypass" in name] == []


class ScaledWithBypass(Scaled):
    """A user's projector with its own option `bypass`."""

    def __init__(self, d_in: int, d_out: int, bypass: bool = False) -> None:
        super().__init__(d_in, d_out)


def test_every_projector_accepts_a_bypass_and_no_unknown_option(
    scaled_projector: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in PROJECTORS:
        check_projector(kind, {"bypass": True})
        with pytest.raises(ManticoreError, match=r"does not take the options \{'bypas': True\}"):
            check_projector(kind, {"bypas": True})
    with pytest.raises(ManticoreError, match=r"'linear' does not take the options \{'rank': 3\}"):
        check_projector("linear", {"rank": 3, "bypass": True})
    monkeypatch.setitem(PROJECTORS, "scaled", ScaledWithBypass)
    with pytest.raises(ManticoreError, match="has an option 'bypass' of its own"):
        check_projector("scaled", {"bypass": True})


def test_the_hub_topology_refuses_a_bypass_and_the_hub_recipe_drops_it() -> None:
    with pytest.raises(ManticoreError, match="hub topology has no bypass; drop bypass or topology=hub"):
        SearchSpace(["a", "b"], topology="hub", **ON)
    with pytest.raises(ManticoreError, match="bypass must be true or false, not 'yes'"):
        SearchSpace(["a", "b"], projector_options={"bypass": "yes"})
    space = {"components": ["gpt-neo", "mamba"], "projector": "low-rank", "projector_options": {"rank": 3}}
    without_bypass = resolve([{"space": space}], "auto")
    with_bypass = resolve([{"space": {**space, "projector_options": {"rank": 3, "bypass": True}}}], "auto")
    assert hub_recipe(with_bypass, 2) == hub_recipe(without_bypass, 2)
    assert hub_recipe(with_bypass, 2).space.topology == "hub"


def test_a_projector_set_fits_only_supernets_with_the_same_bypass(tmp_path: Path) -> None:
    without, net = (supernet("gpt_neo", "mamba", **more) for more in ({}, ON))
    folder = ProjectorSet.of(net, 100).save(tmp_path / "with", "# a card\n")
    assert set(projector_state(net)) == {key for key in net.state_dict() if is_projector_weight(key)}
    loaded = supernet("gpt_neo", "mamba", **ON)
    with torch.no_grad():
        loaded.stages[1]["donor"].bypass.weight.zero_()
        ProjectorSet.load(folder).apply_to(loaded)
    assert torch.equal(loaded.stages[1]["donor"].bypass.weight, net.stages[1]["donor"].bypass.weight)
    with pytest.raises(ManticoreError, match=r"has projector linear with a bypass, the search space linear$"):
        ProjectorSet.load(folder).apply_to(without)
    with pytest.raises(ManticoreError, match=r"has projector linear, the search space linear with a bypass$"):
        ProjectorSet.of(without, 100).apply_to(net)
