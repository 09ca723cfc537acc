"""Which components have the stream of the base: a twin and its parent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from manticore.components.component import Component
from manticore.errors import BadFile, ManticoreError
from manticore.modeling.twins import PREFIX
from manticore.utils.io import read_json


def same_stream(components: Sequence[Component], base: str) -> set[str]:
    """Names of the components that run on the stream of the base as it is: its twin, or its parent.

    A model of the parent's type, width and depth with other weights, such as another fine-tuned version of it, has
    another stream than the twin. Raises ManticoreError where a twin and a base are such a pair, unless the components
    include the twin's parent or another of its twins.
    """
    base_component = next(component for component in components if component.name == base)
    donors = [component for component in components if component.name != base]
    shared = {donor.name for donor in donors if donor.shares_stream(base_component)}
    for donor in donors:
        if donor.name not in shared and _alike(donor, base_component):
            twin, model = (donor, base_component) if _is_grown(donor) else (base_component, donor)
            if _is_grown(twin) and not any(each.shares_stream(twin) for each in components if each is not twin):
                raise ManticoreError(
                    f"'{twin.name}' is a twin of {_parent_of(twin)}, and the weights of '{model.name}' are not those "
                    f"of that parent: use the parent, or grow a twin of '{model.name}' (manticore grow)"
                )
    return shared


def _is_grown(component: Component) -> bool:
    return getattr(component.config, "parent_weights", None) is not None


def _alike(component: Component, base: Component) -> bool:
    """Whether two models have the same type, a twin that of its parent, the same width and the same depth."""
    kinds = [(str(each.config.model_type).removeprefix(PREFIX), each.width, each.depth) for each in (component, base)]
    return kinds[0] == kinds[1]


def _parent_of(twin: Component) -> str:
    """The source of its parent, as `growth.json` in its folder names it."""
    try:
        record = read_json(Path(twin.source) / "growth.json")
    except BadFile:
        record = None
    parent = record.get("parent") if isinstance(record, dict) else None
    return f"'{parent}'" if isinstance(parent, str) else "another model"
