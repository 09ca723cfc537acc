"""The check that every adapter is trained: it has a gradient in the first step that reaches it, or the run stops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from manticore.adapters.base import Adapted, adapted_layers
from manticore.errors import ManticoreError
from manticore.modeling.segments import Segment


class GradientCheck:
    """Watches the adapters of a model until each has had a gradient.

    An adapter must have a gradient as soon as the output of its segment has one in a step that trains it: in a search a
    segment may have none where another path was trained, and steps of the alphas train no adapter. Outside of segments
    an adapter must have one after the first step. One that trains none of its entries any more, as in a resumed
    training, needs none.

    Args:
        net: the model; without adapters nothing is checked.
    """

    def __init__(self, net: nn.Module) -> None:
        layers = [layer for layer in adapted_layers(net) if any(p.requires_grad for p in layer.adapter.parameters())]
        self._pending = {layer.name: layer for layer in layers}
        self._reached: set[str] = set()
        self._handles: list[Any] = []
        self._segments = {name: part for name, part in net.named_modules() if isinstance(part, Segment)}

    def start(self) -> None:
        """Watch the outputs of segments. A second call has no effect."""
        if self._pending and not self._handles:
            self._handles = [part.register_forward_hook(self._watch(name)) for name, part in self._segments.items()]

    def stop(self) -> None:
        """Stop watching."""
        while self._handles:
            self._handles.pop().remove()

    def _watch(self, name: str) -> Any:
        parameters = [
            parameter
            for layer in self._pending.values()
            if layer.name.startswith(f"{name}.")
            for parameter in layer.adapter.parameters()
        ]

        def reach(gradient: Tensor) -> None:
            if name not in self._reached and bool(gradient.any()):
                self._reached.add(name)

        def watch(module: nn.Module, args: object, output: Tensor) -> None:
            if output.requires_grad and any(parameter.requires_grad for parameter in parameters):
                output.register_hook(reach)

        return watch

    def check(self) -> None:
        """Check the adapters that this step has reached; call it between the gradients of the weights and their step.

        Raises ManticoreError if an adapter has no gradient, or a gradient of 0, where its segment has one.
        """
        alive = {name for name, layer in self._pending.items() if _has_gradient(layer)}
        if dead := [name for name in self._due() if name not in alive]:
            raise ManticoreError(
                f"{len(dead)} of {len(self._pending)} adapters have no gradient after the first step, {dead[0]} first: "
                "its layer's result does not depend on the adapter, so it would never be trained; leave it out of "
                "adapter.targets"
            )
        self._reached.clear()
        self._pending = {name: layer for name, layer in self._pending.items() if name not in alive}
        if not self._pending:
            self.stop()

    def _due(self) -> Iterator[str]:
        """Names of the pending adapters that must have a gradient now."""
        for name in self._pending:
            segment = next((own for own in self._segments if name.startswith(f"{own}.")), None)
            if (segment is None or segment in self._reached) and self._pending[name].adapter.learns:
                yield name


def _has_gradient(layer: Adapted) -> bool:
    shared = {id(parameter) for parameter in layer.adapter.shared}  # theirs may be of other layers
    own = [parameter for parameter in layer.adapter.parameters() if id(parameter) not in shared]
    return any(p.grad is not None and bool(p.grad.any()) for p in own)
