"""Hand-designed hybrids by name."""

from __future__ import annotations

from collections.abc import Callable

from manticore.errors import ManticoreError
from manticore.nas.baselines.blocks import Backbone
from manticore.nas.baselines.mambaformer import mambaformer
from manticore.nas.baselines.striped import striped
from manticore.utils.registry import Registry

Builder = Callable[[int, int, int, int], Backbone]
"""(width, layers, heads, state) to a backbone with fresh weights."""

baselines: Registry[Builder] = Registry("baseline")
baselines.register("mambaformer")(mambaformer)
baselines.register("striped")(striped)


def build(name: str, width: int, layers: int, heads: int = 8, state: int = 16) -> Backbone:
    """The baseline called `name`, with fresh weights.

    Args:
        width: D.
        layers: number of layers; see the baseline for what counts as one.
        heads: of attention.
        state: features of the recurrent state for each channel.

    Raises UnknownName for another name, ManticoreError for a size that is no positive whole number or does not fit.
    """
    builder = baselines[name]
    for option, value in {"width": width, "layers": layers, "heads": heads, "state_size": state}.items():
        if not isinstance(value, int) or value < 1:
            raise ManticoreError(f"'{option}' of a baseline must be a whole number of at least 1, got {value!r}.")
    return builder(width, layers, heads, state)
