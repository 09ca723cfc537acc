"""Each step of a search updates only its parameters, with the right gradient."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import torch.nn.functional as F

from manticore.bench.strategy_steps import ManualSearch
from manticore.errors import NonFiniteLoss
from manticore.nas.options import AlphaOptions
from manticore.training.modules import TrainModule
from manticore.training.options import LoopOptions, WeightOptions
from tests.helpers.search_module import STEPS, batch, module, train


def manual_search(strategy: str = "darts", **options: Any) -> ManualSearch:
    searching: ManualSearch = module(strategy, kind=ManualSearch, **options)
    searching.step_count = searching.options.warmup_steps
    with torch.no_grad():
        searching.net.alpha.copy_(torch.tensor([[0.3, -0.2], [0.1, 0.4]]))
    return searching


def weights(searching: ManualSearch) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in searching.net.named_parameters() if name != "alpha"}


def test_the_first_order_alpha_gradient_is_that_of_the_alpha_loss() -> None:
    searching = manual_search(alphas=AlphaOptions(max_grad_norm=1e9))
    reference = deepcopy(searching.net).double()
    searching.net.temperature = reference.temperature = 0.7
    examples = batch()

    def loss(weights_SK: torch.Tensor) -> torch.Tensor:
        logits = reference(examples["input_ids"], examples["attention_mask"], weights=weights_SK)
        return F.cross_entropy(logits, examples["labels"])

    alpha = reference.alpha.detach()
    gradient = torch.zeros_like(alpha)
    for index in range(alpha.numel()):
        nudge = torch.zeros_like(alpha).flatten()
        nudge[index] = 1e-5
        nudge = nudge.view_as(alpha)
        with torch.no_grad():
            up, down = (loss(torch.softmax((alpha + side * nudge) / 0.7, -1)) for side in (1, -1))
        gradient.view(-1)[index] = (up - down) / 2e-5
    searching.alpha_step(examples)
    assert searching.net.alpha.grad is not None
    torch.testing.assert_close(searching.net.alpha.grad.double(), gradient, atol=1e-5, rtol=1e-3)
    assert gradient.abs().max() > 1e-3


def test_an_alpha_step_does_not_change_weights() -> None:
    searching = manual_search()
    before, alpha = weights(searching), searching.net.alpha.detach().clone()
    searching.alpha_step(batch())
    assert all(torch.equal(before[name], value) for name, value in weights(searching).items())
    assert not torch.equal(alpha, searching.net.alpha)
    assert all(p.grad is None for name, p in searching.net.named_parameters() if name != "alpha")


def test_a_weight_step_does_not_change_alphas() -> None:
    searching = manual_search()
    before, alpha = weights(searching), searching.net.alpha.detach().clone()
    searching.weight_step(batch())
    assert torch.equal(alpha, searching.net.alpha)
    assert searching.net.alpha.grad is None
    unchanged = [name for name, value in weights(searching).items() if torch.equal(before[name], value)]
    assert all("positions" in name or "wte" in name for name in unchanged), unchanged


def test_a_joint_step_updates_weights_and_alphas_from_one_gradient() -> None:
    joint, separate = manual_search("simultaneous"), manual_search()
    before, alpha = weights(joint), joint.net.alpha.detach().clone()
    assert joint.joint_step(batch()) == separate.alpha_step(batch())
    assert torch.equal(joint.net.alpha, separate.net.alpha)
    assert not torch.equal(alpha, joint.net.alpha)
    assert any(not torch.equal(before[name], value) for name, value in weights(joint).items())


def test_alphas_have_no_weight_decay() -> None:
    searching = manual_search()
    alpha = searching.net.alpha.detach().clone()
    searching.net.alpha.grad = torch.zeros_like(alpha)
    searching.alpha_optimizer.step()
    assert torch.equal(alpha, searching.net.alpha)
    decayed = [p for group in searching.weight_optimizer.param_groups for p in group["params"]]
    assert all(p is not searching.net.alpha for p in decayed)


def test_weights_and_alphas_are_clipped_separately() -> None:
    free, bound = (
        manual_search("simultaneous", weights=WeightOptions(max_grad_norm=1e9), alphas=AlphaOptions(max_grad_norm=norm))
        for norm in (1e9, 1e-4)
    )

    def norms(searching: ManualSearch) -> tuple[float, float]:
        searching.joint_step(batch())
        assert searching.net.alpha.grad is not None
        own = torch.stack([p.grad.norm() for _, p in searching.named_weights if p.grad is not None]).norm()
        return float(own), float(searching.net.alpha.grad.norm())

    weight_norm, alpha_norm = norms(free)
    assert alpha_norm > 1e-4
    assert norms(bound) == (pytest.approx(weight_norm), pytest.approx(1e-4, rel=1e-2))


def test_micro_batches_add_up_to_the_gradient_of_the_whole() -> None:
    whole, parts = (
        manual_search("simultaneous"),
        manual_search("simultaneous", loop=LoopOptions(micro_batch_size=4)),
    )  # 4 and 2
    assert float(whole.joint_step(batch())) == pytest.approx(float(parts.joint_step(batch())), rel=1e-5)
    torch.testing.assert_close(whole.net.alpha.grad, parts.net.alpha.grad, atol=1e-6, rtol=1e-4)
    assert whole.tokens == parts.tokens == int(batch()["attention_mask"].sum())


def test_the_entropy_penalty_rises_from_zero_to_its_full_weight() -> None:
    searching = manual_search(entropy_weight=0.7)
    stages = searching.net.space.stages
    torch.nn.init.zeros_(searching.net.alpha)
    assert searching.penalty().item() == 0
    searching.step_count = searching.steps
    assert searching.penalty().item() == pytest.approx(0.7 * stages)  # uniform weights have the largest entropy


def test_the_penalty_sharpens_alphas_and_is_not_in_the_loss() -> None:
    searching, free = manual_search(entropy_weight=1e3), manual_search(entropy_weight=0.0)
    for search in (searching, free):
        search.step_count = search.steps
        with torch.no_grad():
            search.net.alpha.copy_(torch.tensor([[0.4, -0.4]] * search.net.space.stages))
    assert float(searching.alpha_step(batch())) == pytest.approx(float(free.alpha_step(batch())))
    assert (searching.net.alpha[:, 0] > 0.4).all()
    assert (searching.net.alpha[:, 1] < -0.4).all()


def test_a_sampled_weight_step_updates_the_stages_of_one_path_and_embeddings() -> None:
    searching = manual_search(sample_paths=True)
    torch.manual_seed(3)
    path = searching.net.sample()
    torch.manual_seed(3)
    before = weights(searching)
    searching.weight_step(batch())
    changed = {name for name, value in weights(searching).items() if not torch.equal(value, before[name])}
    stages = {tuple(name.split(".")[1:3]) for name in changed if name.startswith("stages.")}
    assert stages == {(str(stage), choice) for stage, choice in enumerate(path)}
    assert any(name.startswith("embeds.") for name in changed)


def test_a_policy_step_raises_the_alphas_of_the_path_with_the_smaller_loss() -> None:
    searching = manual_search(entropy_weight=0.0)
    paths = [["attention", "attention"], ["recurrent", "recurrent"]]
    before = weights(searching)
    with torch.no_grad():
        losses = torch.stack([searching.loss(batch(), path=path) for path in paths])
    better = int(losses.argmin())
    alpha = searching.net.alpha.detach().clone()
    mean = searching.policy_step(batch(), paths, lambda losses_N: losses_N - losses_N.mean())
    assert mean == pytest.approx(float(losses.mean()))
    change = searching.net.alpha.detach() - alpha
    assert (change[:, better] > 0).all()
    assert (change[:, 1 - better] < 0).all()
    assert all(torch.equal(before[name], value) for name, value in weights(searching).items())


def test_alphas_are_updated_by_the_gradient_that_a_strategy_sets() -> None:
    searching, reference = manual_search(entropy_weight=0.0), manual_search(entropy_weight=0.0)
    reference.alpha_step(batch())
    before, alpha = weights(searching), searching.net.alpha
    (alpha.grad,) = torch.autograd.grad(searching.loss(batch()), [alpha])
    searching.update_alphas(batch())
    assert torch.equal(alpha, reference.net.alpha)  # clipped and updated by Adam, as in `alpha_step`
    assert all(torch.equal(before[name], value) for name, value in weights(searching).items())
    assert (searching.tokens, searching.flops) == (reference.tokens, reference.flops)
    assert searching.alpha_schedule.last_epoch == 1


def test_paths_are_drawn_by_the_mixing_weights() -> None:
    net = manual_search().net
    torch.manual_seed(0)
    drawn = [net.sample() for _ in range(600)]
    for stage, row in enumerate(net.weights().tolist()):
        for choice, weight in zip(net.candidates, row, strict=True):
            assert sum(path[stage] == choice for path in drawn) / 600 == pytest.approx(weight, abs=0.08)


class Poison(lightning.Callback):
    """Sets a weight to NaN after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: object, searching: TrainModule, *_: object) -> None:
        if searching.step_count == self.step:
            next(p for _, p in searching.named_weights if p.ndim > 1).data.fill_(float("nan"))


def test_a_nan_loss_ends_the_training_and_keeps_the_last_state(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="the loss became nan at step 7; the last saved state is kept"):
        train(module(), tmp_path / "checkpoints", [Poison(6)])
    state = torch.load(tmp_path / "checkpoints" / "search.ckpt", weights_only=True)
    assert state["manticore"]["step_count"] == 4
    assert all(torch.isfinite(value).all() for value in state["state_dict"].values())
    assert [file.name for file in (tmp_path / "checkpoints").iterdir()] == ["search.ckpt"]
    assert train(module(), tmp_path / "checkpoints").step_count == STEPS


def test_an_infinite_loss_is_refused() -> None:
    searching = module(kind=ManualSearch)
    with torch.no_grad():
        searching.net.heads["attention"].weight.fill_(1e38)
    before, alpha = weights(searching), searching.net.alpha.detach().clone()
    searching.weight_step(batch())
    searching.alpha_step(batch())
    assert all(torch.equal(before[name], value) for name, value in weights(searching).items())
    assert torch.equal(alpha, searching.net.alpha)
    with pytest.raises(NonFiniteLoss, match="lower learning rate"):
        searching.check_finite()


def test_the_stagewise_schedule_penalizes_the_first_stage_first() -> None:
    searching = manual_search(entropy_schedule="stagewise")
    warmup = searching.options.warmup_steps
    searching.step_count = warmup + (searching.steps - warmup) // 4  # half of the first stage
    searching.penalty().backward()
    first, second = searching.net.alpha.grad
    assert first.abs().sum() > 0
    assert second.abs().sum() == 0
