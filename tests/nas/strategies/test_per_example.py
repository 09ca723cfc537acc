"""A path for each example: its output and its gradient are those of the example alone with its path."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manticore.bench.strategy_steps import ManualSearch
from manticore.errors import ManticoreError
from manticore.nas.nn import MixedOp
from manticore.nas.searchable import MixedOpModel
from manticore.nas.strategies import PerExample
from manticore.nas.supernet import Supernet
from manticore.training.options import LoopOptions
from tests.helpers.ops import op_supernet
from tests.helpers.search_module import batch as classification_batch
from tests.helpers.search_module import module
from tests.helpers.search_module import net as classification_net

PATHS = torch.tensor([[0, 0, 0], [0, 1, 5], [1, 2, 0], [1, 1, 1], [5, 3, 4], [4, 0, 3]])


def language() -> tuple[Supernet, dict[str, torch.Tensor]]:
    """A language model of two components, three ops and skip, and sequences of unlike lengths."""
    net = op_supernet("gpt_neo", "mamba", skip=True)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 30, (6, 9), generator=generator)
    mask = torch.ones_like(ids)
    for row, length in enumerate([9, 4, 7, 9, 5, 8]):
        mask[row, length:] = 0
    labels = ids.roll(-1, 1).masked_fill(mask.roll(-1, 1) == 0, -100)
    labels[:, -1] = -100
    return net, {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def classification() -> tuple[Supernet, dict[str, torch.Tensor]]:
    return classification_net(stages=2, skip=True), classification_batch()


@pytest.mark.parametrize("kind", ["language", "classification"])
def test_outputs_are_those_of_each_example_alone(kind: str) -> None:
    net, batch = language() if kind == "language" else classification()
    net.eval()
    stages, count = net.space.stages, len(net.candidates)
    paths = PATHS[:, :stages] % count
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        together = net(ids, mask, paths=paths)
        for row, path in enumerate(paths.tolist()):
            length = int(mask[row].sum())
            names = [net.candidates[index] for index in path]
            alone = net(ids[row : row + 1, :length], None, path=names)
            own = together[row : row + 1, :length] if kind == "language" else together[row : row + 1]
            torch.testing.assert_close(own, alone, rtol=1e-4, atol=1e-5)
        same = net(ids, mask, paths=paths[:1].expand(len(ids), -1))
        torch.testing.assert_close(same, net(ids, mask, path=[net.candidates[i] for i in paths[0].tolist()]))


@pytest.mark.parametrize("micro", [0, 4])
def test_the_gradient_is_the_mean_over_the_examples(micro: int) -> None:
    net, batch = classification()
    paths = PATHS[:, :2] % 3
    searching: Any = module("per-example", net.eval(), ManualSearch, LoopOptions(micro_batch_size=micro))
    gradients: dict[str, torch.Tensor] = {}

    take_steps, start = searching._take_steps, {name: value.clone() for name, value in net.state_dict().items()}

    def keep(updates: Any, *_: Any) -> None:
        gradients.update({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
        take_steps(updates)

    searching._take_steps = keep
    loss = searching.example_step(batch, paths)
    net.load_state_dict(start)
    expected: dict[str, torch.Tensor] = {}
    losses = []
    for row, path in enumerate(paths.tolist()):
        single = {key: value[row : row + 1] for key, value in batch.items()}
        net.zero_grad()
        value = searching.loss(single, path=[net.candidates[index] for index in path])
        value.backward()
        losses.append(value.item())
        for name, parameter in net.named_parameters():
            if parameter.grad is not None and name != "alpha":
                expected[name] = expected.get(name, torch.zeros_like(parameter)) + parameter.grad / len(paths)
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert set(gradients) >= set(expected)
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, expected.get(name, torch.zeros_like(gradient)), rtol=1e-4, atol=1e-6)


def test_a_step_costs_as_much_as_one_path() -> None:
    net, batch = classification()
    searching: Any = module("per-example", net, ManualSearch)
    searching.example_step(batch, torch.tensor([[0, 0]] * 3 + [[1, 1]] * 3))
    costs = [searching.flop_counter.forward([name] * 2) for name in net.candidates[:2]]
    tokens = int(batch["attention_mask"].sum())
    assert searching.flops == pytest.approx(3 * tokens * sum(costs) / 2)
    assert searching.tokens == tokens


def test_an_example_with_two_sequences_has_one_path() -> None:
    net, batch = classification()
    paths = torch.tensor([[0, 1], [1, 0], [0, 0]])
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with torch.no_grad():
        twice = net.eval()(ids, mask, paths=paths)
        torch.testing.assert_close(twice, net(ids, mask, paths=paths.repeat(2, 1)))


def test_what_cannot_run_is_said() -> None:
    net, batch = classification()
    ids = batch["input_ids"]
    with pytest.raises(ManticoreError, match="paths, path and weights exclude each other"):
        net(ids, paths=PATHS[:, :2] % 2, path=["attention"] * 2)
    with pytest.raises(ManticoreError, match=r"paths have the shape \(B, 2\)"):
        net(ids, paths=PATHS)
    with pytest.raises(ManticoreError, match="a candidate that stage 1 does not have"):
        net(ids, paths=torch.full((6, 2), 3))
    hub = classification_net(topology="hub")
    with pytest.raises(ManticoreError, match="in the hub topology a path does not run alone"):
        hub(ids, paths=PATHS[:, :2] % 2)
    with pytest.raises(ManticoreError, match=r"'per-example' needs single paths of the supernet, .*; use darts"):
        PerExample().check(hub)


def test_layers_of_any_model_are_grouped() -> None:
    class Scale(nn.Module):
        """Scales by one factor for each sequence, which is an argument."""

        def forward(self, x: Tensor, factor: Tensor, power: float) -> Tensor:
            return x * factor[:, None] ** power

    class Shift(nn.Module):
        def forward(self, x: Tensor, factor: Tensor, power: float) -> Tensor:
            return x + factor[:, None]

    layers = nn.ModuleList([MixedOp({"scale": Scale(), "shift": Shift()}), MixedOp({"shift": Shift()})])
    layers.append(MixedOp({"shift": Shift(), "scale": Scale()}))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor, factor: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x, factor, power=2.0)
            return x

    net = MixedOpModel(Model())
    generator = torch.Generator().manual_seed(0)
    x, factor = torch.randn(5, 3, generator=generator), torch.rand(5, generator=generator)
    paths = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 1], [0, 1, 0], [1, 1, 0]])
    out = net(x, factor, paths=paths)
    for row, path in enumerate(paths.tolist()):
        alone = net(x[row : row + 1], factor[row : row + 1], path=[net.candidates[index] for index in path])
        torch.testing.assert_close(out[row : row + 1], alone)
    assert net.candidates == ("scale", "shift")
