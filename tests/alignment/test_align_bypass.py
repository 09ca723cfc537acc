"""A bypass recovers the part of the base's update that is linear in the base's stream, for any donor."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from manticore.alignment import fit_projectors
from manticore.alignment.refine import refine
from manticore.alignment.streams import branch_of
from manticore.modeling.branches import DonorBranch
from manticore.modeling.segments import Context
from manticore.nas.supernet import Supernet, is_projector_weight
from tests.helpers.model_images import llama, pair, rotated, text
from tests.helpers.pico import component, supernet


class LinearSegment(nn.Module):
    """`h + A h`: an update that is linear in the stream."""

    def __init__(self, matrix_DD: Tensor) -> None:
        super().__init__()
        self.register_buffer("matrix_DD", matrix_DD)

    def forward(self, h_BLD: Tensor, context: Context, stage: int) -> Tensor:
        return h_BLD + h_BLD @ self.matrix_DD.T


class Noise(nn.Module):
    """An update that is unrelated to the stream."""

    def forward(self, u_BLD: Tensor, context: Context, stage: int) -> Tensor:
        return u_BLD + torch.sin(500 * u_BLD)


def linear_base(rank: int, **space: object) -> Supernet:
    """The base's updates are linear in its stream and have this rank; the donor's are noise."""
    net = pair(component("llama", "base"), component("gpt2", "donor"), **space)
    torch.manual_seed(6)
    for stage in range(3):
        matrix_DD = 0.1 * torch.randn(net.stream, rank) @ torch.randn(rank, net.stream)
        branch_of(net, stage, "base").segment = LinearSegment(matrix_DD)
        branch_of(net, stage, "donor").segment = Noise()
    return net


def bypass_of(net: Supernet, stage: int) -> nn.Module:
    branch = branch_of(net, stage, "donor")
    assert isinstance(branch, DonorBranch)
    assert branch.bypass is not None
    return branch.bypass


def every_path_equals_the_base(net: Supernet) -> bool:
    ids = text(2, 1)[0].ids_BL
    with torch.no_grad():
        expected = net(ids, path=["base"] * 3)
        paths = product(["base", "donor"], repeat=3)
        return all(torch.allclose(net(ids, path=list(path)), expected, atol=2e-3, rtol=1e-3) for path in paths)


@pytest.mark.parametrize(
    ("rank", "space"), [(32, {}), (3, {"projector": "low-rank", "projector_options": {"rank": 4}})]
)
def test_linear_updates_are_recovered_with_an_unrelated_donor(rank: int, space: dict[str, object]) -> None:
    without = linear_base(rank, **space)
    assert max(fit.r2_out for fit in fit_projectors(without, text(0), text(1))) < 0.5
    assert not every_path_equals_the_base(without)
    options = {**space.get("projector_options", {}), "bypass": True}  # type: ignore[dict-item]
    net = linear_base(rank, **{**space, "projector_options": options})
    for fit in fit_projectors(net, text(0), text(1)):
        assert fit.r2_out > 1 - 1e-6
        assert fit.update == pytest.approx(fit.base_update, rel=1e-3)
    assert every_path_equals_the_base(net)
    if "projector" not in space:
        expected_DD = branch_of(net, 1, "base").segment.matrix_DD
        torch.testing.assert_close(bypass_of(net, 1).weight, expected_DD, atol=2e-3, rtol=0)


def test_a_rotated_copy_is_recovered_with_a_bypass_too() -> None:
    base = llama()
    net = pair(base, rotated(base)[0], projector_options={"bypass": True})
    assert min(fit.r2_out for fit in fit_projectors(net, text(0), text(1, 2))) > 1 - 1e-6
    assert every_path_equals_the_base(net)


def test_a_bypass_explains_more() -> None:
    explained = []
    for bypass in (False, True):
        net = supernet("gpt_neo", "mamba", projector_options={"bypass": bypass})
        fits = fit_projectors(net, text(0), text(1))
        explained.append(sum(fit.r2_out for fit in fits))
    assert explained[1] > explained[0]


def test_gradient_steps_change_only_projectors_and_bypasses() -> None:
    net = supernet("gpt_neo", "mamba", projector_options={"bypass": True})
    before = {key: value.clone() for key, value in net.state_dict().items()}
    batches = text(0)[:1]
    refine(net, batches, 12)
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if is_projector_weight(key)}
    assert any(".bypass." in key for key in changed)
