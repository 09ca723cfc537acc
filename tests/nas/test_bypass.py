"""A bypass is one more linear term of a donor branch, everywhere the same; switched off, it never was."""

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
from manticore.nas.cost import branch_costs, fixed_costs, flops, parameters, path_parameters
from manticore.nas.discretize import discretize, hybrid_config
from manticore.nas.mixed_op import apply_bypasses
from manticore.nas.projectors import check_projector
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.studies.study import hub_recipe
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component, supernet, tokens
from tests.nas.test_mixed_op import counting

ON = {"projector_options": {"bypass": True}}
PATH = ["base", "donor", "donor"]


class Scaled(nn.Module):
    """A user's own kind, which knows nothing of bypasses."""

    def __init__(self, d_in: int, d_out: int, by: float = 1.0) -> None:
        super().__init__()
        self.map, self.by = nn.Linear(d_in, d_out), by

    def forward(self, x_BLD: Tensor) -> Tensor:
        out: Tensor = self.by * self.map(x_BLD)
        return out


@pytest.fixture
def own() -> Iterator[None]:
    PROJECTORS["scaled"] = Scaled
    yield
    PROJECTORS.pop("scaled")


def test_off_it_leaves_no_trace() -> None:
    never, off, on = (
        supernet("gpt_neo", "mamba", **more) for more in ({}, {"projector_options": {"bypass": False}}, ON)
    )
    assert off.projector == never.projector == {"kind": "linear"}
    assert all(torch.equal(value, off.state_dict()[key]) for key, value in never.state_dict().items())
    assert list(off.state_dict()) == list(never.state_dict())
    configs = [hybrid_config(net, net.architecture(PATH)).to_dict() for net in (never, off)]
    assert configs[0] == configs[1]
    assert configs[0]["projector"] == {"kind": "linear"}
    assert set(on.state_dict()) - set(never.state_dict()) == {f"stages.{s}.donor.bypass.weight" for s in range(3)}


@pytest.mark.parametrize("kind", ["linear", "low-rank", "two-layer"])
def test_it_is_zero_at_the_start(kind: str) -> None:
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
def test_mixed_and_discrete_it_is_its_definition(own: None, kind: str, tmp_path: Path) -> None:
    net = supernet("gpt_neo", "mamba", projector=kind, skip=True, **ON)
    net.requires_grad_(False)
    ids, mask = tokens(pad_left=4)
    h_BLD, heard = [], net.stages[0]["base"].register_forward_pre_hook(lambda _, given: h_BLD.append(given[:2]))
    weights = torch.tensor([[0.5, 0.3, 0.2]]).expand(3, 3)
    mixed = net(ids, mask, weights=weights)
    heard.remove()
    (h, context), branch = h_BLD[0], net.stages[0]["donor"]
    added = branch.proj_out(branch.segment_update(branch.proj_in(h), context)) + branch.bypass(h)
    torch.testing.assert_close(branch(h, context), h + added)
    assert branch.bypass(h).abs().max() > 0.01
    plain = h
    for row in net.stages:
        assert isinstance(row, nn.ModuleDict)
        plain = sum(w * held(plain, context) for w, held in zip(weights[0], row.values(), strict=True))
    torch.testing.assert_close(mixed, net.heads["base"](net.norms["base"](plain)), atol=2e-5, rtol=1e-5)
    hybrid = discretize(net, PATH)
    discrete = hybrid(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(net(ids, mask, path=PATH), discrete, atol=0, rtol=0)
    torch.testing.assert_close(net(ids, mask, weights=net.one_hot(PATH)), discrete, atol=1e-5, rtol=0)
    alone = hybrid(input_ids=ids[:1, 4:]).logits[0]
    torch.testing.assert_close(discrete[0, 4:], alone, atol=2e-5, rtol=0)  # padding on the left adds nothing
    assert parameters(hybrid) == path_parameters(net, PATH, 17)
    stages = sum(row[net.candidates.index(name)] for row, name in zip(branch_costs(net, 17)[1], PATH, strict=True))
    assert fixed_costs(net, 17)[1] + stages == pytest.approx(flops(hybrid, 17))
    hybrid.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.projector == {"kind": kind, "bypass": True}
    assert torch.equal(again(input_ids=ids, attention_mask=mask).logits, discrete)


def test_all_bypasses_of_a_stage_are_one_product() -> None:
    h, shares = torch.randn(2, 5, 6), [torch.tensor(0.3), torch.tensor(0.5)]
    linear, low = [Bypass(6), Bypass(6)], LowRankBypass(6, rank=2)
    with torch.no_grad():
        for weight in (linear[0].weight, linear[1].weight, low.up.weight):
            weight.normal_()
        with counting() as products:
            got = apply_bypasses(shares, linear, h)
        assert products == [1]
        torch.testing.assert_close(got, 0.3 * linear[0](h) + 0.5 * linear[1](h))
        torch.testing.assert_close(apply_bypasses(shares, [low, linear[0]], h), 0.3 * low(h) + 0.5 * linear[0](h))
    assert "bias" not in {name.split(".")[-1] for name in low.state_dict()}


def test_rank_is_that_of_the_projectors() -> None:
    net = supernet("gpt_neo", "mamba", projector="low-rank", projector_options={"rank": 3, "bypass": True})
    branch = net.stages[0]["donor"]
    assert branch.bypass.down.weight.shape == (3, 32)
    assert branch.bypass.up.weight.shape == (32, 3)
    assert [name for name in net.stages[0]["base"].state_dict() if "bypass" in name] == []


class Stubborn(Scaled):
    """Has an option of that name itself."""

    def __init__(self, d_in: int, d_out: int, bypass: bool = False) -> None:
        super().__init__(d_in, d_out)


def test_every_kind_takes_it_and_nothing_unknown(own: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in PROJECTORS:
        check_projector(kind, {"bypass": True})
        with pytest.raises(ManticoreError, match=r"does not take the options \{'bypas': True\}"):
            check_projector(kind, {"bypas": True})
    with pytest.raises(ManticoreError, match=r"'linear' does not take the options \{'rank': 3\}"):
        check_projector("linear", {"rank": 3, "bypass": True})
    monkeypatch.setitem(PROJECTORS, "scaled", Stubborn)
    with pytest.raises(ManticoreError, match="has an option 'bypass' of its own"):
        check_projector("scaled", {"bypass": True})


def test_where_it_cannot_be_it_is_refused_and_the_hub_goes_without() -> None:
    with pytest.raises(ManticoreError, match="hub topology has no bypass; drop bypass or topology=hub"):
        SearchSpace(["a", "b"], topology="hub", **ON)
    with pytest.raises(ManticoreError, match="bypass must be true or false, not 'yes'"):
        SearchSpace(["a", "b"], projector_options={"bypass": "yes"})
    space = {"components": ["gpt-neo", "mamba"], "projector": "low-rank", "projector_options": {"rank": 3}}
    plain = resolve([{"space": space}], "auto")
    passed = resolve([{"space": {**space, "projector_options": {"rank": 3, "bypass": True}}}], "auto")
    assert hub_recipe(passed, 2) == hub_recipe(plain, 2)
    assert hub_recipe(passed, 2).space.topology == "hub"


def test_a_set_has_it_or_has_it_not(tmp_path: Path) -> None:
    without, net = (supernet("gpt_neo", "mamba", **more) for more in ({}, ON))
    made = ProjectorSet.of(net, 100).save(tmp_path / "with", "# a card\n")
    assert set(projector_state(net)) == {key for key in net.state_dict() if is_projector_weight(key)}
    again = supernet("gpt_neo", "mamba", **ON)
    with torch.no_grad():
        again.stages[1]["donor"].bypass.weight.zero_()
        ProjectorSet.load(made).apply_to(again)
    assert torch.equal(again.stages[1]["donor"].bypass.weight, net.stages[1]["donor"].bypass.weight)
    with pytest.raises(ManticoreError, match=r"has projector linear with a bypass, the search space linear$"):
        ProjectorSet.load(made).apply_to(without)
    with pytest.raises(ManticoreError, match=r"has projector linear, the search space linear with a bypass$"):
        ProjectorSet.of(without, 100).apply_to(net)
