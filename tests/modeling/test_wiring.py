"""Wirings: what the runtime of a hybrid builds for each topology."""

from __future__ import annotations

import pytest
from torch import nn

from manticore.modeling.branches import BaseBranch, DonorBranch, HubBranch, SkipBranch
from manticore.modeling.wiring import TOPOLOGIES, build_wiring
from manticore.nas.discretize import discretize
from tests.helpers.pico import supernet

PATH = ["base", "donor", "base"]


def test_the_residual_topology_has_one_branch_for_the_base_and_one_for_donors() -> None:
    model = discretize(supernet("gpt2", "gpt_neo", skip=True), ["base", "donor", "skip"]).model
    assert [type(branch) for branch in model.stages] == [BaseBranch, DonorBranch, SkipBranch]
    assert list(model.positions) == ["base", "donor"]
    assert not isinstance(model.norm, nn.Identity)


def test_the_hub_topology_ends_with_the_norm_of_the_last_segment() -> None:
    model = discretize(supernet("gpt2", "gpt_neo", topology="hub"), PATH).model
    assert [type(branch) for branch in model.stages] == [HubBranch] * 3
    assert list(model.positions) == ["base"]
    assert isinstance(model.norm, nn.Identity)
    norms = [not isinstance(branch.segment.backbone.ln_f, nn.Identity) for branch in model.stages]
    assert norms == [False, False, True]
    assert all(branch.proj_in is None and branch.proj_out is None for branch in model.stages)


def test_a_supernet_builds_its_branches_through_the_same_wiring() -> None:
    net = supernet("gpt2", "mamba", topology="hub")
    assert all(branch.proj_in is not None for stage in net.stages for branch in stage.values())
    net = supernet("gpt2", "mamba")
    assert [type(branch) for branch in net.stages[1].values()] == [BaseBranch, DonorBranch]


def test_an_unregistered_topology_is_named() -> None:
    assert set(TOPOLOGIES) == {"residual", "hub"}
    with pytest.raises(ValueError, match="topology 'ring' is not registered in this process"):
        build_wiring("ring")
