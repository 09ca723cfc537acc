"""Block-wise distillation: errors that are known, candidates that learn, and a base that stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from manticore.errors import ManticoreError
from manticore.modeling.branches import DonorBranch
from manticore.nas.nn import MixedOp
from manticore.nas.searchable import MixedOpModel
from manticore.nas.selection import Budget, SelectionContext, selectors
from manticore.nas.strategies import Blockwise
from manticore.nas.strategies.blockwise import base_blocks, block_errors, imitation_scores
from manticore.nas.supernet import Supernet
from tests.helpers.ops import OPS, op_supernet
from tests.helpers.search_module import batch, module, net, train


def test_a_copy_of_the_base_has_no_error_and_a_donor_without_update_is_as_skip() -> None:
    supernet = op_supernet("gpt2", "gpt2", ops=()).eval()  # a donor of the base's own kind and width
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 30, (4, 7), generator=generator)
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        for stage in range(3):
            donor, base = supernet.branch(stage, "donor"), supernet.branch(stage, "base")
            assert isinstance(donor, DonorBranch)
            donor.segment.load_state_dict(base.get_submodule("segment").state_dict())
            for projector in (donor.proj_in, donor.proj_out):
                projector.weight.copy_(torch.eye(len(projector.weight)))
                projector.bias.zero_()
        for name in list(supernet.positions):  # the donor would add its own positions once more
            supernet.positions[name].weight.zero_()
        supernet.branch(1, "donor").proj_out.weight.zero_()
        supernet.branch(2, "donor").proj_out.weight.mul_(0.5)
        errors = block_errors(supernet, rows)
    values = {key: float(error) for key, error in errors.items()}
    assert values == pytest.approx({(0, 1): 0.0, (1, 1): 1.0, (2, 1): 0.25}, abs=1e-5)
    scores = imitation_scores(supernet, values)
    mean = 1.25 / 3
    torch.testing.assert_close(scores, torch.tensor([[0, mean], [0, mean - 1], [0, mean - 0.25]]))
    supernet.set_alphas(scores)
    context: Any = SelectionContext(Budget(), lambda **_: 0.0, None)  # type: ignore[arg-type]
    assert selectors["largest-weight"](supernet, context).best(supernet, Budget()) == ["donor", "base", "donor"]


def test_blocks_are_those_of_the_base_alone() -> None:
    supernet, rows = net(skip=True), batch()
    blocks = base_blocks(supernet.eval(), rows)
    assert len(blocks) == 2
    assert torch.equal(blocks[0].out_BLD, blocks[1].h_BLD)
    assert not blocks[1].out_BLD.requires_grad


@pytest.mark.parametrize("space", [{"skip": True}, {"ops": OPS}], ids=["skip", "ops"])
def test_candidates_learn_to_imitate_and_the_base_is_not_changed(space: dict[str, Any], tmp_path: Path) -> None:
    searching = module("blockwise", net(**space))
    supernet: Supernet = searching.net
    rows = batch(3)
    start: dict[str, torch.Tensor] = {}
    losses: list[float] = []

    def note() -> None:
        with torch.no_grad():
            losses.append(float(torch.stack([*block_errors(supernet.eval(), rows).values()]).mean()))
        supernet.train()

    step = searching.strategy.update_weights

    def once(search: Any, batches: Any) -> float:
        if not start:
            start.update({name: value.clone() for name, value in supernet.state_dict().items()})
            note()
        return float(step(search, batches))

    searching.strategy.update_weights = once
    train(searching, tmp_path)
    note()
    assert losses[1] < 0.9 * losses[0]
    changed = {name for name, value in supernet.state_dict().items() if not torch.equal(value, start[name])} - {"alpha"}
    imitating = {f"stages.{stage}.{name}." for stage in (0, 1) for name in supernet.candidates if name != "attention"}
    assert changed
    assert all(name.startswith(tuple(imitating)) for name in changed)
    if "skip" in supernet.candidates:
        column = supernet.candidates.index("skip")
        expected = -(1 - 0.9**9)  # a running mean of -1 over the nine steps after the warm-up
        torch.testing.assert_close(supernet.alpha.detach()[:, column], torch.full((2,), expected))


def test_what_has_no_base_is_refused() -> None:
    for searched in (net(topology="hub"), MixedOpModel(MixedOp({"a": torch.nn.Identity(), "b": torch.nn.Tanh()}))):
        with pytest.raises(ManticoreError, match=r"imitates the stages of a base model, .* use darts"):
            Blockwise().check(searched)
    with pytest.raises(ManticoreError, match="imitates the stages of 'attention', which is no candidate of some stage"):
        Blockwise().check(net(stage_candidates={1: "recurrent"}))
