"""A model of MixedOps has the interface of a supernet: one table of mixing weights, paths, and costs of paths."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import manticore as mc
from manticore.errors import ManticoreError
from manticore.nas.cost import FlopCounter, flops, model_parameters, parameters
from manticore.nas.relaxations import RelaxationContext, relaxations
from manticore.nas.searchable import (
    MixedOpModel,
    Searchable,
    as_searchable,
    assign_alphas,
    callable_with,
    likeliest_path,
)
from tests.helpers.mixed_model import Classifier, classifier
from tests.helpers.search_module import batch, net

IDS = batch()["input_ids"]
PATHS = [["mamba", "attention"], ["convolution", "mamba"]]


@pytest.fixture
def model() -> MixedOpModel:
    return MixedOpModel(classifier()).eval()


def test_a_supernet_and_a_model_of_mixed_ops_are_searchable(model: MixedOpModel) -> None:
    supernet = net()
    assert isinstance(model, Searchable)
    assert as_searchable(supernet) is supernet
    assert isinstance(as_searchable(classifier()), MixedOpModel)


def test_a_candidate_that_a_stage_does_not_have_weighs_nothing(model: MixedOpModel) -> None:
    assert model.candidates == ("attention", "mamba", "convolution")
    first, second = model.mixed_ops
    weights = model.weights().detach()
    torch.testing.assert_close(weights[0], first.weights().detach())
    torch.testing.assert_close(weights[1], torch.stack([*second.weights().detach().flip(0), torch.zeros(())]))
    torch.testing.assert_close(model.alpha_table[1], torch.tensor([-0.3, 0.4, 0.0]))
    torch.manual_seed(0)
    drawn = [model.sample() for _ in range(300)]
    assert {second for _, second in drawn} == {"mamba", "attention"}
    share = sum(first == "convolution" for first, _ in drawn) / 300
    assert share == pytest.approx(float(weights[0, 2]), abs=0.08)
    assert likeliest_path(model) == ["attention", "mamba"]


@pytest.mark.parametrize("path", PATHS)
def test_one_hot_weights_a_path_and_the_discrete_model_agree(model: MixedOpModel, path: list[str]) -> None:
    alone, one_hot = model(IDS, path=path), model(IDS, weights=model.one_hot(path))
    assert torch.equal(alone, one_hot)
    with callable_with(model, path=path) as bound:
        assert torch.equal(bound(IDS), alone)
    assert not torch.equal(model(IDS), alone)
    mc.nn.discretize(model.model, path)
    assert torch.equal(model.model(IDS), alone)


def test_the_model_reads_the_alphas_again_after_an_error(model: MixedOpModel) -> None:
    mixture = model(IDS)
    with pytest.raises(IndexError):
        model(torch.full((1, 2), 10_000), path=PATHS[0])
    assert torch.equal(model.model(IDS), mixture)


def test_gradients_reach_every_alpha_through_one_table(model: MixedOpModel) -> None:
    weights = model.weights()
    (model(IDS, weights=weights).square().sum() + weights.square().sum()).backward()
    assert all(alpha.grad is not None and alpha.grad.abs().sum() > 0 for alpha in model.alphas)


@pytest.fixture
def random_relaxation() -> Iterator[str]:
    @relaxations.register("gumbel-of-test")
    def gumbel(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
        if context.generator is None:
            return alpha_SK.softmax(-1)
        noise_SK = -torch.empty_like(alpha_SK).exponential_(generator=context.generator).log()
        return ((alpha_SK + noise_SK) / context.temperature).softmax(-1)

    yield "gumbel-of-test"
    relaxations._items.pop("gumbel-of-test")


def test_uses_of_one_layer_have_the_same_random_weights(random_relaxation: str) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mixer = mc.nn.MixedOp({"one": nn.Identity(), "two": nn.Identity()}, relaxation=random_relaxation)

        def forward(self, x: Tensor) -> Tensor:
            seen.append(self.mixer._weights)
            self.mixer(x)
            seen.append(self.mixer._weights)
            return self.mixer(x)

    seen: list[Tensor | None] = []
    model = MixedOpModel(Twice())
    for _ in range(2):
        model(torch.ones(1, 2))
    first, second, third, fourth = (value for value in seen if value is not None)
    assert torch.equal(first, second)
    assert torch.equal(third, fourth)
    assert not torch.equal(first, third)


def test_temperature_progress_and_relaxation_reach_every_layer(model: MixedOpModel, random_relaxation: str) -> None:
    model.temperature, model.progress, model.relax = 0.5, 0.25, relaxations[random_relaxation]
    assert [(op.temperature, op.progress) for op in model.mixed_ops] == [(0.5, 0.25)] * 2
    assert (model.temperature, model.progress) == (0.5, 0.25)
    assert not torch.equal(*(model.weights(torch.default_generator) for _ in range(2)))


def test_alphas_are_set_from_a_table(model: MixedOpModel) -> None:
    assign_alphas(model, torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert [alpha.tolist() for alpha in model.alphas] == [[1.0, 2.0, 3.0], [5.0, 4.0]]
    supernet = net()
    assign_alphas(supernet, torch.ones(2, 2))
    assert supernet.alpha.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ManticoreError, match=r"expected alphas of shape \(2, 2\), got \(2, 3\)"):
        assign_alphas(supernet, torch.ones(2, 3))


def test_a_path_costs_its_candidates(model: MixedOpModel) -> None:
    whole = flops(model, 9)
    counter = FlopCounter(model, 9)
    assert counter.forward() == whole
    path = PATHS[0]
    mc.nn.discretize(model.model, path)
    assert counter.forward(path) == flops(model.model, 9)
    assert 0 < counter.forward(path) < whole


def test_alphas_do_not_count_as_parameters_of_the_model(model: MixedOpModel) -> None:
    assert model_parameters(model) == parameters(model) - 5


@pytest.mark.parametrize("layers", [[], [("mamba",)]])
def test_a_model_without_a_choice_is_refused(layers: list[tuple[str, ...]]) -> None:
    with pytest.raises(ManticoreError, match=r"Classifier has no mc.nn.MixedOp with two candidates"):
        as_searchable(Classifier(layers))
