"""The operators in torch's library: registered as torch requires, and equal to the plain kernels in compiled graphs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from manticore import kernels
from manticore.kernels.library import OPERATORS, Operator
from manticore.kernels.ops import ConvArgs, ScanArgs, SsdArgs
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component, tokens

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of torch


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def calls(dtype: torch.dtype) -> list[Any]:
    """A call of each operation, with and without the last state, with all and without optional tensors."""
    torch.manual_seed(0)
    u, delta, z = normal(3, 2, 3, 7)
    A, B, C, D, bias, state = (
        -normal(3, 2).abs(),
        normal(2, 2, 7),
        normal(2, 2, 7),
        normal(3),
        normal(3),
        normal(2, 3, 2),
    )
    x, gate, heads = normal(2, 7, 4, 3), normal(2, 7, 4, 3), normal(4)
    projections = normal(2, 2, 7, 2, 2)
    whole: list[Any] = [
        ScanArgs(u, delta, A, B, C, D, z, bias, True, True, state),
        ScanArgs(u, delta.abs(), A, B, C),
        SsdArgs(
            x,
            normal(2, 7, 4),
            -heads.abs(),
            *projections,
            heads,
            gate,
            heads,
            normal(2, 4, 3, 2),
            True,
            (0.0, 5.0),
            True,
        ),
        SsdArgs(x, normal(2, 7, 4).abs(), -heads.abs(), *projections),
        ConvArgs(u, normal(3, 4), bias, normal(2, 3, 3), True, "silu"),
        ConvArgs(u, normal(3, 4)),
    ]
    return [
        args._replace(**{k: v.to(dtype) for k, v in args._asdict().items() if isinstance(v, Tensor)}) for args in whole
    ]


def operator_of(args: Any) -> Operator:
    return next(operator for operator in OPERATORS if operator.signature is type(args))


def with_gradients(args: Any) -> Any:
    return args._replace(**{k: v.clone().requires_grad_() for k, v in args._asdict().items() if isinstance(v, Tensor)})


@pytest.mark.parametrize("index", range(6))
def test_registrations(index: int) -> None:
    args = with_gradients(calls(torch.float32)[index])
    operator = operator_of(args)
    overload = getattr(torch.ops.manticore, operator.operation.__name__).default
    torch.library.opcheck(overload, tuple(operator.values(args)))


@pytest.mark.parametrize("index", range(6))
def test_a_compiled_operation_equals_the_plain_one(index: int) -> None:
    """Law 8 in one graph, in double precision."""
    args = calls(torch.float64)[index]
    operation = operator_of(args).operation

    def results(run: Callable[..., Any], fields: dict[str, Any]) -> list[Tensor]:
        out = run(**fields)
        outputs = out if isinstance(out, tuple) else (out,)
        leaves = [v for v in fields.values() if isinstance(v, Tensor)]
        return [*outputs, *torch.autograd.grad(sum(y.sin().sum() for y in outputs), leaves)]

    torch._dynamo.reset()
    compiled = torch.compile(operation, backend="aot_eager", fullgraph=True)
    actual = results(compiled, with_gradients(args)._asdict())
    expected = results(operation, with_gradients(args)._asdict() | {"backend": "plain"})
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.fixture
def installed_kernels() -> Iterator[None]:
    kernels.install()
    torch._dynamo.reset()
    yield
    kernels.uninstall()


@pytest.mark.parametrize("base", ["mamba", "mamba2"])
def test_a_supernet_is_compiled_to_at_most_three_graphs(base: str, installed_kernels: None) -> None:
    parts = [component(base, "base", layers=2), component("gpt_neo", "donor", layers=2)]
    net = Supernet(parts, SearchSpace(["base", "donor"], stages=2), "base", HeadSpec())
    ids, _ = tokens()
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    logits = torch.compile(net, backend=backend)(ids)
    gradients = torch.autograd.grad(logits.square().mean(), list(net.parameters()), allow_unused=True)
    expected = net(ids)
    expected_gradients = torch.autograd.grad(expected.square().mean(), list(net.parameters()), allow_unused=True)
    assert len(graphs) <= 3
    targets = [str(node.target) for graph in graphs for node in graph.graph.nodes if node.op == "call_function"]
    assert sum("manticore" in target for target in targets) >= 4  # two stages, each a convolution and a scan
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-4)
    for one, other in zip(gradients, expected_gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def test_a_pass_with_installed_kernels_takes_no_lock(installed_kernels: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from manticore.kernels.hf_patches import install

    class Refusing:
        def __enter__(self) -> None:
            raise AssertionError("a lock was taken")

        def __exit__(self, *_: object) -> None: ...

    parts = [component("mamba", "base", layers=2), component("gpt_neo", "donor", layers=2)]
    net = Supernet(parts, SearchSpace(["base", "donor"], stages=2), "base", HeadSpec())
    monkeypatch.setattr(install, "_lock", Refusing())
    net(tokens()[0])
    monkeypatch.undo()
