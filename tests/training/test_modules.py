"""What one step moves, what it leaves alone, and by which gradient."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import lightning
import pytest
import torch
import torch.nn.functional as F

from manticore.errors import NonFiniteLoss
from manticore.training.modules import TrainModule
from manticore.training.options import AlphaOptions, WeightOptions
from tests.helpers.search_module import STEPS, ByHand, batch, module, net, train


def by_hand(strategy: str = "darts") -> ByHand:
    made: ByHand = module(strategy, kind=ByHand)
    made.done = made.warmup_steps
    with torch.no_grad():
        made.net.alpha.copy_(torch.tensor([[0.3, -0.2], [0.1, 0.4]]))
    return made


def weights(searching: ByHand) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in searching.net.named_parameters() if name != "alpha"}


def test_the_first_order_alpha_gradient_is_that_of_the_alpha_loss() -> None:
    searching = by_hand()
    held = deepcopy(searching.net).double()
    searching.net.temperature = held.temperature = 0.7
    given = batch()

    def loss(weights_SK: torch.Tensor) -> torch.Tensor:
        logits = held(given["input_ids"], given["attention_mask"], weights=weights_SK)
        return F.cross_entropy(logits, given["labels"])

    alpha = held.alpha.detach()
    slopes = torch.zeros_like(alpha)
    for place in range(alpha.numel()):
        nudge = torch.zeros_like(alpha).flatten()
        nudge[place] = 1e-5
        nudge = nudge.view_as(alpha)
        with torch.no_grad():
            up, down = (loss(torch.softmax((alpha + side * nudge) / 0.7, -1)) for side in (1, -1))
        slopes.view(-1)[place] = (up - down) / 2e-5
    searching.alpha_options = AlphaOptions(max_grad_norm=1e9)
    searching.alpha_step(given)
    assert searching.net.alpha.grad is not None
    torch.testing.assert_close(searching.net.alpha.grad.double(), slopes, atol=1e-5, rtol=1e-3)
    assert slopes.abs().max() > 1e-3


def test_an_alpha_step_leaves_weights_alone_to_the_bit() -> None:
    searching = by_hand()
    before, alpha = weights(searching), searching.net.alpha.detach().clone()
    searching.alpha_step(batch())
    assert all(torch.equal(before[name], now) for name, now in weights(searching).items())
    assert not torch.equal(alpha, searching.net.alpha)
    assert all(p.grad is None for name, p in searching.net.named_parameters() if name != "alpha")


def test_a_weight_step_leaves_alphas_alone_to_the_bit() -> None:
    searching = by_hand()
    before, alpha = weights(searching), searching.net.alpha.detach().clone()
    searching.weight_step(batch())
    assert torch.equal(alpha, searching.net.alpha)
    assert searching.net.alpha.grad is None
    still = [name for name, now in weights(searching).items() if torch.equal(before[name], now)]
    assert all("positions" in name or "wte" in name for name in still), still


def test_a_joint_step_moves_both_by_one_gradient() -> None:
    joint, alone = by_hand("simultaneous"), by_hand()
    before, alpha = weights(joint), joint.net.alpha.detach().clone()
    assert joint.joint_step(batch()) == alone.alpha_step(batch())
    assert torch.equal(joint.net.alpha, alone.net.alpha)
    assert not torch.equal(alpha, joint.net.alpha)
    assert any(not torch.equal(before[name], now) for name, now in weights(joint).items())


def test_alphas_do_not_decay() -> None:
    searching = by_hand()
    alpha = searching.net.alpha.detach().clone()
    searching.net.alpha.grad = torch.zeros_like(alpha)
    searching.alpha_optimizer.step()
    assert torch.equal(alpha, searching.net.alpha)
    decayed = [p for group in searching.weight_optimizer.param_groups for p in group["params"]]
    assert all(p is not searching.net.alpha for p in decayed)


def test_weights_and_alphas_are_clipped_apart() -> None:
    free, bound = by_hand("simultaneous"), by_hand("simultaneous")
    free.options, free.alpha_options = WeightOptions(max_grad_norm=1e9), AlphaOptions(max_grad_norm=1e9)
    bound.options, bound.alpha_options = WeightOptions(max_grad_norm=1e9), AlphaOptions(max_grad_norm=1e-4)

    def norms(searching: ByHand) -> tuple[float, float]:
        searching.joint_step(batch())
        assert searching.net.alpha.grad is not None
        own = torch.stack([p.grad.norm() for p in searching.weight_parameters if p.grad is not None]).norm()
        return float(own), float(searching.net.alpha.grad.norm())

    weight_norm, alpha_norm = norms(free)
    assert alpha_norm > 1e-4
    assert norms(bound) == (pytest.approx(weight_norm), pytest.approx(1e-4, rel=1e-2))


def test_micro_batches_add_up_to_the_gradient_of_the_whole() -> None:
    whole, parts = by_hand("simultaneous"), by_hand("simultaneous")
    parts.micro_batch_size = 4  # of 6: 4 and 2
    assert whole.joint_step(batch()) == pytest.approx(parts.joint_step(batch()), rel=1e-5)
    torch.testing.assert_close(whole.net.alpha.grad, parts.net.alpha.grad, atol=1e-6, rtol=1e-4)
    assert whole.tokens == parts.tokens == int(batch()["attention_mask"].sum())


def test_indecision_costs_nothing_at_first_and_its_whole_weight_at_the_end() -> None:
    searching = by_hand()
    stages = searching.net.space.stages
    torch.nn.init.zeros_(searching.net.alpha)
    searching.done = searching.warmup_steps
    assert searching.entropy_penalty().item() == 0
    searching.done = searching.steps
    assert searching.entropy_penalty().item() == pytest.approx(searching.entropy * stages)  # uniform: the most there is


def test_the_penalty_moves_alphas_away_from_the_middle_and_is_not_in_the_loss() -> None:
    searching, free = by_hand(), by_hand()
    for held in (searching, free):
        held.done = held.steps
        with torch.no_grad():
            held.net.alpha.copy_(torch.tensor([[0.4, -0.4]] * held.net.space.stages))
    free.entropy = 0.0
    searching.entropy = 1e3
    assert searching.alpha_step(batch()) == pytest.approx(free.alpha_step(batch()))
    assert (searching.net.alpha[:, 0] > 0.4).all()
    assert (searching.net.alpha[:, 1] < -0.4).all()


def test_a_sampled_weight_step_moves_one_path_and_the_ends_and_nothing_else() -> None:
    searching = by_hand()
    searching.sampled = True
    torch.manual_seed(3)
    path = searching.net.sample()
    torch.manual_seed(3)
    before = weights(searching)
    searching.weight_step(batch())
    moved = {name for name, held in weights(searching).items() if not torch.equal(held, before[name])}
    stages = {tuple(name.split(".")[1:3]) for name in moved if name.startswith("stages.")}
    assert stages == {(str(stage), choice) for stage, choice in enumerate(path)}
    assert any(name.startswith("embeds.") for name in moved)


def test_paths_are_drawn_by_the_mixing_weights() -> None:
    held = by_hand().net
    torch.manual_seed(0)
    drawn = [held.sample() for _ in range(600)]
    for stage, row in enumerate(held.weights().tolist()):
        for choice, weight in zip(held.candidates, row, strict=True):
            assert sum(path[stage] == choice for path in drawn) / 600 == pytest.approx(weight, abs=0.08)


class Poison(lightning.Callback):
    """Spoils a weight after some step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: object, searching: TrainModule, *_: object) -> None:
        if searching.done == self.step:
            next(p for p in searching.weight_parameters if p.ndim > 1).data.fill_(float("nan"))


def test_a_loss_that_is_no_number_stops_and_the_last_state_is_kept(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="the loss became nan at step 7; the last saved state is kept"):
        train(module(), tmp_path / "checkpoints", [Poison(6)])
    state = torch.load(tmp_path / "checkpoints" / "search.ckpt", weights_only=True)
    assert state["manticore"]["done"] == 4
    assert all(torch.isfinite(held).all() for held in state["state_dict"].values())
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["search.ckpt"]
    assert train(module(), tmp_path / "checkpoints").done == STEPS


def test_an_infinite_loss_is_no_number_either() -> None:
    searching = module(held=net(), kind=ByHand)
    with torch.no_grad():
        searching.net.heads["attention"].weight.fill_(1e38)
    with pytest.raises(NonFiniteLoss, match="lower learning rate"):
        searching.weight_step(batch())


def test_front_to_back_charges_the_first_stage_first() -> None:
    searching = by_hand()
    searching.decide, searching.entropy = "stagewise", 1.0
    searching.done = searching.warmup_steps + (searching.steps - searching.warmup_steps) // 4  # half of the first stage
    searching.entropy_penalty().backward()
    first, second = searching.net.alpha.grad
    assert first.abs().sum() > 0
    assert second.abs().sum() == 0
