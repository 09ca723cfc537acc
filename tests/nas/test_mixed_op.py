"""A stage equals its definition also where it merges products, and stores no tensor that it does not need."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manticore.components import Component
from manticore.kernels import installed
from manticore.modeling.projectors import Linear, LowRank
from manticore.modeling.segments import Context, Segment
from manticore.nas.mixed_op import pad_logits, project_in, project_out, weighted_sum
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from manticore.utils.module_state import trainable_only
from tests.helpers.pico import component, supernet, tokens


def three(projector: str = "linear", topology: str = "residual", **space: object) -> Supernet:
    parts: list[Component] = [component(f, f) for f in ("mamba", "gpt_neo", "llama")]
    options = {"stages": 2, "projector": projector, "topology": topology, **space}
    torch.manual_seed(3)
    net = Supernet(parts, SearchSpace([p.name for p in parts], **options), "mamba", HeadSpec()).eval()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "proj_" in name:
                parameter.add_(0.1 * torch.randn_like(parameter))
        net.alpha.copy_(torch.randn_like(net.alpha))
    return net


@pytest.mark.parametrize("projector", ["linear", "low-rank", "two-layer", "identity"])
@pytest.mark.parametrize("topology", ["residual", "hub"])
def test_a_stage_is_the_weighted_sum_of_its_branches(topology: str, projector: str) -> None:
    net = three(projector, topology)
    ids, mask = tokens()
    with torch.no_grad(), installed():
        h, context = stream_of(net, ids, mask)
        weights = net.weights()[0]
        result = net.topology.mix(dict(net.stages[0].items()), weights, h, context)
        expected = sum(w * branch(h, context, w) for w, branch in zip(weights, net.stages[0].values(), strict=True))
    torch.testing.assert_close(result, expected, atol=2e-5, rtol=1e-5)


def stream_of(net: Supernet, ids: Tensor, mask: Tensor) -> tuple[Tensor, Context]:
    """The input of the first stage: the stream (B, L, D) and the context."""
    caught: list[tuple[Tensor, Context]] = []
    mix = net.topology.mix

    def catch(branches: Any, weights: Tensor, h: Tensor, context: Context) -> Tensor:
        caught.append((h, context))
        return mix(branches, weights, h, context)

    net.topology.mix = catch  # type: ignore[method-assign]
    net(ids, mask)
    net.topology.mix = mix  # type: ignore[method-assign]
    return caught[0]


def test_boundary_projections_of_a_stage_are_one_product_each_way() -> None:
    h = torch.randn(2, 5, 6)
    proj_in = [Linear(6, 4), Linear(6, 3)]
    with torch.no_grad():
        for p in proj_in:
            p.weight.add_(torch.randn_like(p.weight))
    with CountProducts() as products:
        parts = project_in(proj_in, h)
    assert products == [1]
    for part, p in zip(parts, proj_in, strict=True):
        torch.testing.assert_close(part, p(h))
    proj_out, shares = [Linear(4, 6), Linear(3, 6)], [torch.tensor(0.3), torch.tensor(0.5)]
    with CountProducts() as products:
        total = project_out(shares, proj_out, parts)
    assert products == [1]
    torch.testing.assert_close(total, 0.3 * proj_out[0](parts[0]) + 0.5 * proj_out[1](parts[1]))
    low = LowRank(6, 4, rank=2)
    torch.testing.assert_close(project_in([proj_in[0], low], h)[1], low(h))


class CountProducts(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts matrix products."""

    def __enter__(self) -> list[int]:  # type: ignore[override]
        self.products = [0]
        super().__enter__()
        return self.products

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.products[0] += any(name in str(func) for name in ("mm.", "addmm", "linear"))
        return func(*args, **(kwargs or {}))


def test_narrow_values_are_added_to_the_first_features() -> None:
    wide, narrow, w = torch.randn(2, 3, 5), torch.randn(2, 3, 2), torch.tensor([0.3, 0.7], requires_grad=True)
    padded = torch.nn.functional.pad(narrow, (0, 3))
    result, expected = weighted_sum([(w[0], narrow), (w[1], wide)]), w[0] * padded + w[1] * wide
    torch.testing.assert_close(result, expected)
    gradients = [torch.autograd.grad(x.square().sum(), w)[0] for x in (result, expected)]
    torch.testing.assert_close(*gradients)


def test_a_single_value_is_returned_unchanged() -> None:
    x = torch.randn(3)
    assert weighted_sum([(None, x)]) is x
    assert pad_logits([(None, x)]) == [(None, x)]


def test_a_missing_id_has_the_lowest_logit_of_its_table() -> None:
    """A logit of 0 would be too likely where all other logits are far below 0."""
    narrow, wide = torch.randn(2, 3, 5) - 30, torch.randn(2, 3, 8) - 30
    weights = torch.tensor([0.5, 0.5])
    mixed = weighted_sum(pad_logits([(weights[0], narrow), (weights[1], wide)]))
    torch.testing.assert_close(mixed[..., :5], 0.5 * narrow + 0.5 * wide[..., :5])
    torch.testing.assert_close(mixed[..., 5:], 0.5 * narrow.amin(-1, keepdim=True) + 0.5 * wide[..., 5:])


def test_frozen_parameters_and_unused_branches_get_no_gradient() -> None:
    net = supernet("gpt_neo", "mamba", HeadSpec("classification", 61, 4)).train()
    ids, mask = tokens()
    with trainable_only(net, [net.alpha]):
        net(ids, mask).sum().backward()
    assert net.alpha.grad is not None
    assert [name for name, p in net.named_parameters() if p.grad is not None] == ["alpha"]
    assert all(p.requires_grad for p in net.parameters())
    with trainable_only(net, [p for name, p in net.named_parameters() if name != "alpha"]):
        net(ids, mask, path=["base", "donor", "base"]).sum().backward()
    idle = [p for name, p in net.named_parameters() if ".1.base." in name or ".0.donor." in name]
    assert idle
    assert all(p.grad is None for p in idle)


@pytest.mark.parametrize("families", [("gpt_neo", "mamba"), ("mamba2", "llama")])
def test_gradient_checkpointing_saves_memory_and_keeps_gradients(families: tuple[str, str]) -> None:
    net = supernet(*families).train()
    ids, mask = tokens(pad_left=3)
    gradients, sizes = [], []
    for recompute in (False, True):
        for part in net.modules():
            if isinstance(part, Segment):
                part.gradient_checkpointing = recompute
        net.zero_grad(set_to_none=True)
        stored = 0

        def pack(x: Tensor) -> Tensor:
            nonlocal stored
            stored += x.numel()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            loss = net(ids, mask).square().mean()
            sizes.append(stored)
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
    assert sizes[1] < sizes[0] / 2
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_a_projector_class_of_a_user_is_supported() -> None:
    class UserProjector(nn.Linear):
        pass

    h = torch.randn(2, 6)
    projectors = [UserProjector(6, 4), UserProjector(6, 3)]
    assert [x.shape[-1] for x in project_in(projectors, h)] == [4, 3]


@pytest.mark.parametrize("projector", ["linear", "low-rank"])
@pytest.mark.parametrize("topology", ["residual", "hub"])
def test_each_sequence_may_have_its_own_mixing_weights(topology: str, projector: str) -> None:
    net = three(projector, topology, **({"projector_options": {"bypass": True}} if topology == "residual" else {}))
    ids, mask = tokens()
    weights_BSK = torch.rand(len(ids), 2, 3).softmax(-1)
    with torch.no_grad():
        batched = net(ids, mask, weights=weights_BSK)
        separate = [net(ids, mask, weights=weights_SK)[row] for row, weights_SK in enumerate(weights_BSK)]
    torch.testing.assert_close(batched, torch.stack(separate), atol=2e-5, rtol=1e-5)
