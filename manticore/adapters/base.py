"""The interface of adapters and their registry. An adapter is the trained change of one weight matrix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from manticore.adapters.options import AdapterOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.utils.fields import from_mapping
from manticore.utils.registry import Registry


class Adapter(nn.Module):
    """The change D (m, n) of a frozen weight W (m, n): the layer computes `(W + D) x + b`. D is 0 when it is built.

    Args:
        weight: W, of which a subclass may read shape, type, device and values; it is not kept.
        options: an object of the class `Options`.

    Attributes:
        Options: frozen dataclass of what users may set.
        factored: whether `forward` costs less than a product with the dense D. Layers whose weight is read raw use the
            dense D all the same.
        default_targets: layers that it is for, by the last parts of their names; empty: all.
        needs_inputs: whether `prepare` must be called before the training, so that it is for fine-tunings alone.
        peft: for an adapter that peft supports, its `peft_type`, and peft's names of the parameters.
        rows, columns: m and n.

    `delta` reads numbers, parameters and buffers of `self`, and torch, math and F alone: its source is copied into
    adapter folders.
    """

    Options: ClassVar[type]
    factored: ClassVar[bool] = False
    default_targets: ClassVar[tuple[str, ...]] = ()
    needs_inputs: ClassVar[bool] = False
    peft: ClassVar[tuple[str, Mapping[str, str]] | None] = None

    def __init__(self, weight: Tensor, options: Any) -> None:
        super().__init__()
        self.rows, self.columns = weight.shape
        self.options = options

    @classmethod
    def check(cls, rows: int, columns: int, options: Any) -> None:
        """Raise ManticoreError if a weight (m, n) is too small for the options."""

    def delta(self) -> Tensor:
        """D, (m, n), differentiable in the parameters."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """D x for inputs (..., n): (..., m)."""
        return F.linear(x, self.delta())

    def peft_config(self) -> dict[str, Any]:
        """The entries of peft's configuration that are this adapter's own."""
        return {}

    def penalty(self) -> Tensor | None:
        """A term of the loss, in nats; None if it has none."""
        return None

    def refresh(self, progress: float) -> bool:
        """Called after every step with the share of the training that is done, for what changes during it.

        Returns whether the parameters were set back to their initial values, so that the state of the optimizer for
        them is dropped.
        """
        return False

    @classmethod
    def join(cls, layers: Sequence[Adapter], options: Any) -> None:
        """Called once with the adapters of all layers of a model, for parameters that they share."""

    def prepare(self, weight: Tensor, moment: Tensor) -> None:
        """Set initial values, with D = 0, from W (m, n) and the mean of x x^T over inputs x of the layer, (n, n)."""

    @property
    def shared(self) -> tuple[nn.Parameter, ...]:
        """Its parameters that other adapters of the model have too."""
        return ()

    @property
    def learns(self) -> bool:
        """Whether any of its entries is still trained."""
        return True

    def final(self) -> Adapter:
        """The adapter that is kept after training: itself, unless several were trained."""
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What users should know about the options on this weight, as sentences."""
        return ()

    @property
    def trained(self) -> int:
        """Number of its parameters that are trained, without shared ones."""
        shared = {id(parameter) for parameter in self.shared}
        return sum(parameter.numel() for parameter in self.parameters() if id(parameter) not in shared)


class Adapted(NamedTuple):
    """A layer with an adapter: its name in the model, the layer, and the adapter."""

    name: str
    module: nn.Module
    adapter: Adapter


def adapted_layers(net: nn.Module) -> list[Adapted]:
    """The layers of a model that have an adapter."""
    return [
        Adapted(name, module, adapter)
        for name, module in net.named_modules()
        if isinstance(adapter := module._modules.get("adapter"), Adapter)
    ]


adapters: Registry[type[Adapter]] = Registry("adapter")


def check_side(option: str, value: int, rows: int, columns: int) -> None:
    """Raise ManticoreError if an option of an adapter is above the smaller side of a weight (rows, columns)."""
    if value > min(rows, columns):
        raise ManticoreError(
            f"adapter.options.{option} {value} is above {min(rows, columns)}, the smaller side of a weight "
            f"({rows}, {columns})"
        )


def check_options(options: AdapterOptions) -> None:
    """Raise as `adapter_options` does, and ManticoreError if options or targets are set without an adapter."""
    if options.name is not None:
        adapter_options(options.name, options.options)
    elif options.options or options.targets:
        key = "options" if options.options else "targets"
        raise ManticoreError(f"adapter.{key} goes with an adapter; name one of {', '.join(adapters)} (--adapter)")


def check_needs_no_inputs(options: AdapterOptions) -> None:
    """Raise ManticoreError for an adapter that starts from what a trained hybrid computes: it is for `finetune`."""
    if options.name is not None and getattr(adapters[options.name], "needs_inputs", False):
        raise ManticoreError(
            f"adapter.name {options.name} starts from what a trained hybrid computes; use it with manticore finetune"
        )


def adapter_options(name: str, options: Mapping[str, Any]) -> Any:
    """The options of an adapter from a mapping.

    Raises UnknownName for an adapter or an option that does not exist, and ManticoreError for a value out of range.
    """
    if name not in adapters:
        raise UnknownName("adapter name", name, adapters)
    return from_mapping(adapters[name].Options, options, f"option of adapter '{name}'", "adapter.options.")
