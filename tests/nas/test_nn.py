"""Mixture layers by themselves: mixtures, candidates, discretization, projectors, and the split of parameters."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import GPT2Config, MambaConfig
from transformers.models.gpt2.modeling_gpt2 import GPT2Block
from transformers.models.mamba.modeling_mamba import MambaMixer

import manticore as mc
from manticore.errors import ManticoreError
from manticore.nas.relaxations import relaxations
from tests.helpers.mixed_model import OPS, WIDTH, Attention, Convolution, classifier, mamba
from tests.helpers.pico import supernet
from tests.helpers.search_module import batch, module


def mixer(**options: Any) -> mc.nn.MixedOp:
    torch.manual_seed(0)
    op = mc.nn.MixedOp(OPS, WIDTH, **options)
    with torch.no_grad():
        assert op.alpha is not None
        op.alpha.copy_(torch.tensor([0.3, -0.2, 0.8]))
    return op


def stream() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 7, WIDTH)


def output(op: nn.Module, x_BLD: Tensor) -> Tensor:
    out = op(x_BLD)
    return out[0] if isinstance(out, tuple) else out


def test_the_mixture_is_the_weighted_sum_of_the_candidates() -> None:
    op, x_BLD = mixer(), stream()
    weights = torch.softmax(torch.tensor([0.3, -0.2, 0.8]), -1)
    expected = sum(w * output(candidate, x_BLD) for w, candidate in zip(weights, op.ops.values(), strict=True))
    torch.testing.assert_close(op(x_BLD), expected)
    torch.testing.assert_close(op.weights(), weights)
    assert op.choice == "convolution"


def test_the_alphas_have_the_gradient_of_the_mixture() -> None:
    op, x_BLD = mixer(), stream()
    op(x_BLD).square().mean().backward()
    assert op.alpha is not None
    analytic, alpha = op.alpha.grad, op.alpha.detach().clone()
    assert analytic is not None
    numeric = []
    for index in range(3):
        losses = []
        for side in (1, -1):
            with torch.no_grad():
                op.alpha.copy_(alpha + side * 1e-2 * torch.eye(3)[index])
                losses.append(op(x_BLD).square().mean())
        numeric.append((losses[0] - losses[1]) / 2e-2)
    torch.testing.assert_close(analytic, torch.stack(numeric), atol=1e-4, rtol=2e-2)
    assert analytic.abs().max() > 1e-3


def test_weights_for_each_sequence() -> None:
    op, x_BLD = mixer(), stream()
    weights_BK = torch.softmax(torch.randn(2, 3), -1)
    op.use(weights=weights_BK)
    together = op(x_BLD)
    for row in range(2):
        op.use(weights=weights_BK[row])
        torch.testing.assert_close(together[row : row + 1], op(x_BLD[row : row + 1]))


@pytest.mark.parametrize("name", list(OPS))
def test_one_hot_weights_a_choice_and_the_discretized_layer_are_the_candidate(name: str) -> None:
    op, x_BLD = mixer(), stream()
    expected = output(op.ops[name], x_BLD)
    op.use(weights=torch.tensor([float(candidate == name) for candidate in op.candidates]))
    assert torch.equal(op(x_BLD), expected)
    op.use(choice=name)
    assert torch.equal(op(x_BLD), expected)
    op.use()
    assert op.discretize(name) == name
    assert torch.equal(op(x_BLD), expected)
    assert op.alpha is None
    assert all(key.startswith(f"ops.{name}.") for key in op.state_dict())


def test_arguments_go_to_the_candidates() -> None:
    class Scaled(nn.Identity):
        def forward(self, x: Tensor, scale: float, shift: float = 0.0) -> Tensor:
            return x * scale + shift

    op = mc.nn.MixedOp([Scaled(), nn.Linear(WIDTH, WIDTH)])
    op.use(choice="Scaled")
    assert torch.equal(op(torch.ones(2, WIDTH), 3.0, shift=1.0), torch.full((2, WIDTH), 4.0))


def test_candidates_are_modules_or_made_from_the_width() -> None:
    op = mc.nn.MixedOp([Convolution, mamba, Attention(WIDTH)], WIDTH)
    assert op.candidates == ("Convolution", "mamba", "Attention")
    assert op(stream()).shape == (2, 7, WIDTH)


def test_a_candidate_is_an_object_with_a_name_a_factory_and_options() -> None:
    @dataclass
    class Declared:
        name: str
        factory: Any
        options: dict[str, Any]

    op = mc.nn.MixedOp([Declared("heads", Attention, {"dropout": 0.5}), Convolution], WIDTH)
    assert op.candidates == ("heads", "Convolution")
    assert op.get_submodule("ops.heads").dropout == 0.5


def test_a_random_relaxation_is_random_in_training_only() -> None:
    def noisy(alpha_SK: Tensor, context: Any) -> Tensor:
        noise = 0 if context.generator is None else torch.randn(alpha_SK.shape, generator=context.generator)
        return (alpha_SK + noise).softmax(-1)

    relaxations.register("noisy-layer")(noisy)
    try:
        op = mixer(relaxation="noisy-layer")
    finally:
        relaxations._items.pop("noisy-layer")
    x_BLD = stream()
    assert not torch.equal(op(x_BLD), op(x_BLD))
    op.eval()
    assert torch.equal(op(x_BLD), op(x_BLD))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mc.nn.MixedOp([]), "at least one candidate"),
        (lambda: mc.nn.MixedOp(None, 4), "are a mapping from names, or a list, not None"),
        (lambda: mc.nn.MixedOp("ab", 4), "are a mapping from names, or a list, not 'ab'"),
        (lambda: mc.nn.MixedOp(OPS, "wide"), "width must be a whole number of at least 1, got 'wide'"),
        (
            lambda: mc.nn.MixedOp({"a": lambda: nn.Identity()}, 4),
            "candidate 'a' cannot be made from the width 4: .*0 pos",
        ),
        (
            lambda: mc.nn.MixedOp({"a": nn.Flatten, "b": lambda width: nn.Linear(width, -1)}, 4),
            "candidate 'b' cannot be",
        ),
        (lambda: mc.nn.discretize(supernet("gpt_neo", "mamba")), "not an object of type Supernet; mc.discretize takes"),
        (
            lambda: mc.discretize(classifier(), ["mamba"]),
            "mc.discretize takes a Supernet, not an object of type Classif",
        ),
        (lambda: mc.discretize(supernet("gpt_neo", "mamba"), "base"), "a path is a list of a candidate for each stage"),
        (lambda: mc.nn.MixedOp([Convolution]), "candidate 'Convolution' is made from a width"),
        (lambda: mc.nn.MixedOp([nn.Identity(), nn.Identity()]), "two candidates of a MixedOp are called 'Identity'"),
        (lambda: mc.nn.MixedOp({"a": 3}, 4), "candidate 'a' must be a module"),
        (lambda: mc.nn.MixedOp({"a": lambda width: width}, 4), "candidate 'a' must return a module, not a int"),
        (lambda: mc.nn.MixedOp({"a.b": nn.Identity()}), "not the name of a candidate"),
        (lambda: mc.nn.MixedOp({1: nn.Identity()}), "not the name of a candidate: .* Got int"),
        (lambda: mc.nn.Projected(nn.Identity(), "4", 2), "d_in must be a whole number of at least 1, got '4'"),
        (lambda: mc.nn.discretize(classifier(), 3), "each of the 2 MixedOps of the model .* got 3"),
        (lambda: mc.alphas(3), "alphas and weights are those of a torch module, not of 3"),
        (lambda: mc.weights("model"), "alphas and weights are those of a torch module, not of 'model'"),
        (lambda: mc.nn.MixedOp(OPS, 16, "sofmax"), "Did you mean 'softmax'"),
        (lambda: mc.nn.Projected(nn.Identity(), 4, 2, "liner"), "Did you mean 'linear'"),
        (lambda: mc.nn.Projected(nn.Identity(), 4, 2, rank=3), "does not take the options"),
        (lambda: mc.nn.discretize(nn.Linear(2, 2)), "the model has no MixedOp"),
        (lambda: mixer().use(choice="mambo"), "Did you mean 'mamba'"),
        (lambda: mixer().discretize("mambo"), "Did you mean 'mamba'"),
    ],
)
def test_bad_input_is_one_line(make: Any, message: str) -> None:
    with pytest.raises(ManticoreError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)


def test_outputs_of_different_shapes_are_refused() -> None:
    op = mc.nn.MixedOp({"wide": nn.Linear(WIDTH, WIDTH), "narrow": nn.Linear(WIDTH, 8)})
    with pytest.raises(ManticoreError, match=r"'narrow' \(2, 7, 8\); mc.nn.Projected"):
        op(stream())


def test_candidates_of_one_wrong_width_are_refused() -> None:
    narrow = {"first": lambda width: nn.Linear(width, 8), "second": lambda width: nn.Linear(width, 8)}
    op = mc.nn.MixedOp(narrow, WIDTH)
    with pytest.raises(ManticoreError, match="candidate 'first' maps the width 16 to 8; mc"):
        op(stream())
    op.use(choice="second")
    with pytest.raises(ManticoreError, match="candidate 'second' maps the width 16 to 8"):
        op(stream())
    assert mc.nn.MixedOp(op.ops)(stream()).shape == (2, 7, 8), "modules without a width may change it"
    reduction = {"a": lambda width: nn.Conv2d(width, width, 3, stride=2, padding=1), "b": nn.AvgPool2d(2)}
    assert mc.nn.MixedOp(reduction, WIDTH)(torch.randn(2, WIDTH, WIDTH, WIDTH)).shape == (2, WIDTH, 8, 8)


def test_a_candidate_that_changes_its_input_is_refused() -> None:
    op = mc.nn.MixedOp({"copy": nn.ReLU(), "overwrite": nn.ReLU(inplace=True)})
    with pytest.raises(ManticoreError, match="candidate 'overwrite' changes its input in place, and all candidates"):
        op(stream())
    op.use(choice="overwrite")
    assert torch.equal(op(stream()), stream().relu())
    with torch.inference_mode():
        mc.nn.MixedOp([nn.ReLU(), nn.Identity()])(stream())


def test_an_output_that_is_no_tensor_is_refused() -> None:
    class Named(nn.Module):
        def forward(self, x_BLD: Tensor) -> dict[str, Tensor]:
            return {"y": x_BLD}

    op = mc.nn.MixedOp([Named(), nn.Identity()])
    with pytest.raises(ManticoreError, match="a candidate must return a tensor, or a tuple that begins with one, not"):
        op(stream())


def test_candidates_may_be_in_containers_of_torch() -> None:
    layers = {"narrow": nn.Identity(), "wide": nn.Linear(WIDTH, WIDTH)}
    assert mc.nn.MixedOp(nn.ModuleDict(layers)).candidates == ("narrow", "wide")
    assert mc.nn.MixedOp(nn.ModuleList(layers.values())).candidates == ("Identity", "Linear")


def test_a_projected_op_has_the_width_of_the_stream_and_starts_as_the_op() -> None:
    torch.manual_seed(0)
    inner = MambaMixer(MambaConfig(hidden_size=8, state_size=4), 0)
    x_BLD = stream()
    out = mc.nn.Projected(inner, WIDTH, 8)(x_BLD)
    assert out.shape == x_BLD.shape
    torch.testing.assert_close(out[..., :8], inner(x_BLD[..., :8]))
    assert not out[..., 8:].any()


@pytest.mark.parametrize(("projector", "options"), [("low-rank", {"rank": 4}), ("two-layer", {"hidden": 6})])
def test_projectors_have_a_kind_and_options(projector: str, options: dict[str, int]) -> None:
    op = mc.nn.Projected(nn.Linear(8, 8), WIDTH, 8, projector, **options)
    assert op(stream()).shape == (2, 7, WIDTH)


def test_of_a_whole_layer_the_update_alone_is_projected() -> None:
    torch.manual_seed(0)
    block = GPT2Block(GPT2Config(n_embd=8, n_head=2), layer_idx=0).eval()
    x_BLD = stream()
    update = mc.nn.Projected(block, WIDTH, 8, residual=True).eval()(x_BLD)
    expected = output(block, x_BLD[..., :8]) - x_BLD[..., :8]
    torch.testing.assert_close(update[..., :8], expected)
    assert not update[..., 8:].any()


def test_a_model_is_discretized_in_place() -> None:
    model, ids = classifier().eval(), batch()["input_ids"]
    soft = copy.deepcopy(model)
    for op, choice in zip(soft.mixers, ("mamba", "attention"), strict=True):
        op.use(choice=choice)
    expected = soft(ids)
    assert mc.nn.discretize(model, ["mamba", "attention"]) == ["mamba", "attention"]
    assert torch.equal(model(ids), expected)
    assert mc.alphas(model) == []
    rebuilt = classifier()
    mc.nn.discretize(rebuilt, ["mamba", "attention"])
    rebuilt.load_state_dict(model.state_dict())
    assert torch.equal(rebuilt.eval()(ids), expected)


def test_the_largest_weights_are_the_default_path() -> None:
    assert mc.nn.discretize(classifier()) == ["attention", "mamba"]


@pytest.mark.parametrize("path", [["mamba"], ["mamba", "convolution"], "mamba", ["mamba", "attention", "mamba"]])
def test_a_path_that_does_not_fit_changes_nothing(path: Any) -> None:
    model = classifier()
    before = model.state_dict().keys()
    with pytest.raises(ManticoreError, match=r"each of the 2 MixedOps|unknown candidate of mixers.1 'convolution'"):
        mc.nn.discretize(model, path)
    assert model.state_dict().keys() == before


def test_parameters_split_into_alphas_and_weights() -> None:
    model = classifier()
    model.mixers.append(model.mixers[0])  # a layer used twice is one choice
    alphas, weights = mc.alphas(model), mc.weights(model)
    assert [tuple(alpha.shape) for alpha in alphas] == [(3,), (2,)]
    assert {id(p) for p in [*alphas, *weights]} == {id(p) for p in model.parameters()}
    assert len(alphas) + len(weights) == len(list(model.parameters()))
    model.embedding.requires_grad_(False)
    assert len(mc.weights(model)) == len(weights) - 1


def test_a_supernet_and_a_module_split_the_same_way() -> None:
    net = supernet("gpt2", "mamba")
    assert [id(alpha) for alpha in mc.alphas(net)] == [id(net.alpha)]
    searching = module()
    assert [id(alpha) for alpha in mc.alphas(searching)] == [id(searching.net.alpha)]
    assert [id(p) for _, p in searching.named_weights] == [id(p) for p in mc.weights(searching)]


def test_a_loop_of_ones_own_with_two_optimizers() -> None:
    model, ids, labels = classifier(), batch()["input_ids"], batch()["labels"]
    alpha_optimizer = torch.optim.Adam(mc.alphas(model), lr=0.1)
    weight_optimizer = torch.optim.AdamW(mc.weights(model), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = nn.functional.cross_entropy(model(ids), labels)
        losses.append(loss.item())
        for optimizer in (alpha_optimizer, weight_optimizer):
            optimizer.zero_grad()
        loss.backward()
        for optimizer in (alpha_optimizer, weight_optimizer):
            optimizer.step()
    assert losses[-1] < losses[0] / 2
