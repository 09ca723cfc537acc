"""The scans and the convolution as operators of torch's library, which torch.compile keeps as one node of a graph.

Each has an operator for its gradients, `manticore::NAME_backward`, which runs the forward pass once more. Outputs are
contiguous. Outside of graphs, operations call their backend directly, without the cost of an operator.

Source of the rules for such operators: https://docs.pytorch.org/docs/stable/library.html.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from manticore.kernels import ops


@dataclass(frozen=True)
class Operator:
    """An operation as an operator.

    Attributes:
        operation: the operation with its fields as arguments.
        signature: the NamedTuple of its fields.
        tensors: names of its tensors; the others are options.
        option_types: types of the options in torch's schema language, in the order of the fields.
        last_state: the option that requests a second output.
        state_shape: shape of the second output by the tensors.
        wide_state: whether the second output is in fp32 at least; otherwise in the dtype of the first tensor.
    """

    operation: Callable[..., Any]
    signature: Any
    tensors: tuple[str, ...]
    option_types: tuple[str, ...]
    last_state: str
    state_shape: Callable[[dict[str, Tensor]], Sequence[int]]
    wide_state: bool = True

    @property
    def name(self) -> str:
        """Name in torch's library."""
        return f"manticore::{self.operation.__name__}"

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(name for name in self.signature._fields if name not in self.tensors)

    @property
    def schema(self) -> str:
        """The arguments in torch's schema language: tensors, then options."""
        defaults = self.signature._field_defaults
        tensors = [f"Tensor{'?' if name in defaults else ''} {name}" for name in self.tensors]
        pairs = zip(self.option_types, self.options, strict=True)
        return ", ".join([*tensors, *(f"{kind} {name}" for kind, name in pairs)])

    def values(self, args: Any) -> list[Any]:
        """The fields of `args` in the order of the schema."""
        return [getattr(args, name) for name in (*self.tensors, *self.options)]

    def run(self, *values: Any) -> tuple[Tensor, Tensor]:
        """The operation's outputs; the second is empty if it is not requested."""
        fields = dict(zip((*self.tensors, *self.options), values, strict=True))
        out = self.operation(**fields)
        y, last = out if fields[self.last_state] else (out, out.new_empty(0))
        return y.contiguous(), last.contiguous()

    def run_fake(self, *values: Any) -> tuple[Tensor, Tensor]:
        """Outputs without values, for torch's shape propagation."""
        fields = dict(zip((*self.tensors, *self.options), values, strict=True))
        x = fields[self.tensors[0]]
        dtype = torch.promote_types(x.dtype, torch.float32) if self.wide_state else x.dtype
        shape = self.state_shape(fields) if fields[self.last_state] else (0,)
        return x.new_empty(x.shape), x.new_empty(shape, dtype=dtype if fields[self.last_state] else x.dtype)

    def gradients(self, dy: Tensor | None, dlast: Tensor | None, needed: Sequence[bool], *values: Any) -> list[Tensor]:
        """The gradients of the tensors that are `needed`."""
        count = len(self.tensors)
        leaves = [
            x.detach().requires_grad_(is_needed) if isinstance(x, Tensor) else x
            for x, is_needed in zip(values[:count], needed, strict=True)
        ]
        inputs = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
        with _autograd():
            y, last = self.run(*leaves, *values[count:])
            pairs = [(out, grad) for out, grad in ((y, dy), (last, dlast)) if grad is not None and out.requires_grad]
            outputs, cotangents = [out for out, _ in pairs], [grad for _, grad in pairs]
            if not outputs:
                return [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in inputs]
            grads = torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True)
        zeros = (torch.zeros_like(x) if g is None else g for x, g in zip(inputs, grads, strict=True))
        return _separate([g.contiguous() for g in zeros])

    def gradients_fake(self, dy: Any, dlast: Any, needed: Sequence[bool], *values: Any) -> list[Tensor]:
        """Gradients without values, for torch's shape propagation."""
        pairs = zip(values[: len(self.tensors)], needed, strict=True)
        return [x.new_empty(x.shape) for x, is_needed in pairs if is_needed and x is not None]


def _separate(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors, none in the memory of another: outputs of an operator must not overlap."""
    seen: set[int] = set()
    out = []
    for x in tensors:
        out.append(x.clone() if x.untyped_storage().data_ptr() in seen else x)
        seen.add(out[-1].untyped_storage().data_ptr())
    return out


@contextmanager
def _autograd() -> Iterator[None]:
    """Record gradients inside an operator, where torch has switched autograd off."""
    key = torch._C.DispatchKey.AutogradFunctionality
    excluded = torch._C._dispatch_tls_is_dispatch_key_excluded(key)
    torch._C._dispatch_tls_set_dispatch_key_excluded(key, False)
    try:
        with torch.enable_grad():
            yield
    finally:
        torch._C._dispatch_tls_set_dispatch_key_excluded(key, excluded)


def _register(operator: Operator) -> Callable[[Any], Any]:
    """Define the operator and that of its gradients; returns a function of the operation's tuple that calls it."""
    define: Any = torch.library.custom_op
    forward = define(operator.name, operator.run, mutates_args=(), schema=f"({operator.schema}) -> (Tensor, Tensor)")
    forward.register_fake(operator.run_fake)
    backward = define(
        f"{operator.name}_backward",
        operator.gradients,
        mutates_args=(),
        schema=f"(Tensor? dy, Tensor? dlast, bool[] needed, {operator.schema}) -> Tensor[]",
    )
    backward.register_fake(operator.gradients_fake)
    count = len(operator.tensors)

    def save_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:count])
        ctx.options = inputs[count:]
        ctx.has_last = inputs[count + operator.options.index(operator.last_state)]

    def differentiate(ctx: Any, dy: Any, dlast: Any) -> tuple[Any, ...]:
        needed = list(ctx.needs_input_grad[:count])
        gradients = iter(backward(dy, dlast if ctx.has_last else None, needed, *ctx.saved_tensors, *ctx.options))
        return (*(next(gradients) if is_needed else None for is_needed in needed), *(None for _ in ctx.options))

    forward.register_autograd(differentiate, setup_context=save_inputs)
    has_state = operator.signature._fields.index(operator.last_state)

    def call(args: Any) -> Any:
        y, last = forward(*operator.values(args))
        return (y, last) if args[has_state] else y

    return call


OPERATORS = (
    Operator(
        ops.selective_scan,
        ops.ScanArgs,
        ops.SCAN_TENSORS,
        ("bool", "bool", "str"),
        "return_last_state",
        lambda x: (*x["u"].shape[:2], x["A"].shape[1]),
    ),
    Operator(
        ops.ssd_scan,
        ops.SsdArgs,
        ops.SSD_TENSORS,
        ("bool", "float[]", "bool", "int?", "str"),
        "return_final_states",
        lambda x: (x["x"].shape[0], *x["x"].shape[2:], x["B"].shape[-1]),
    ),
    Operator(
        ops.causal_conv1d,
        ops.ConvArgs,
        ops.CONV_TENSORS,
        ("bool", "str?", "str"),
        "return_final_states",
        lambda x: (*x["x"].shape[:2], x["weight"].shape[1] - 1),
        wide_state=False,
    ),
)


def register_operators() -> None:
    """Define all operators, which operations call while torch compiles a graph."""
    for operator in OPERATORS:
        ops.GRAPH_OPERATORS[operator.operation.__name__] = _register(operator)
