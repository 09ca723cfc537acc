"""How many weights of a stage have moved, and the rank of their change."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from manticore.experiment.weight_changes import WeightChange, stage_changes, weight_change
from tests.helpers.text_hybrids import pico_hybrid


def test_a_change_by_hand() -> None:
    before = torch.zeros(4, 5)
    after = before.clone()
    after[[0, 1, 2], [0, 1, 2]] = torch.tensor([10.0, 1.0, 0.1])
    after[3, 4] = 5e-6  # below the tolerance
    # squared singular values 100, 1 and 0.01: the first alone has 99 % of their sum, 99.9999
    change = weight_change(before, after)
    assert (change.weights, change.moved, change.full_rank, change.main_rank) == (20, 3, 4, 1)
    after[3, 4] = 0.0
    assert weight_change(before, after) == WeightChange(20, 3, 4, 3, 1)
    after[1, 1] = 2.0  # 100 of 104.01 is less than 99 %
    assert weight_change(before, after).main_rank == 2
    assert weight_change(before, before) == WeightChange(20, 0, 4, 0, 0)
    assert weight_change(torch.zeros(7), torch.ones(7)) == WeightChange(7, 7)


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 3e-5), (torch.bfloat16, 0.3)])
def test_the_rank_is_not_that_of_rounding_errors(dtype: torch.dtype, size: float) -> None:
    torch.manual_seed(0)
    W = torch.randn(48, 64).to(dtype)
    low_rank = size * torch.randn(48, 2) @ torch.randn(2, 64)
    merged: Tensor = (W.float() + low_rank).to(dtype)
    assert torch.linalg.matrix_rank(merged.float() - W.float()) == 48
    assert weight_change(W, merged).rank == 2


def test_changes_are_those_of_the_layers_of_each_stage() -> None:
    before = pico_hybrid()
    after = deepcopy(before)
    parameters = dict(after.named_parameters())
    name = next(name for name in parameters if "stages.1.segment" in name and name.endswith("c_fc.weight"))
    with torch.no_grad():
        parameters[name][2, 3] += 1.0
        parameters[next(name for name in parameters if ".proj_in" in name)].add_(1.0)
        parameters["model.norm.weight"].add_(1.0)
    first, second = stage_changes(before, after)
    assert (first.moved, first.rank) == (0, 0)
    assert (second.moved, second.rank, second.main_rank) == (1, 1, 1)
    of_second = [weight for key, weight in parameters.items() if ".stages.1.segment." in key]
    assert second.weights == sum(weight.numel() for weight in of_second)
    assert second.full_rank == sum(min(weight.shape) for weight in of_second if weight.dim() == 2)
