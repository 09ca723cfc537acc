"""Whether projectors can be as they are told, and which shapes a set of them has. Knows no models."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.modeling.projectors import PROJECTORS, build_bypass, build_projector

FORMAT = 2
FACTS = ("format", "base", "stages", "projector", "components", "tokens")
"""What every `config.json` of a set has."""

COMPONENT = {"weights": str, "width": int, "layer_boundaries": list}
"""What it has for each component, base among them."""


def check_projector(kind: str, options: dict[str, Any]) -> None:
    """Raises ManticoreError if there is no such kind of projector, or it does not take these options."""
    if kind not in PROJECTORS:
        for point in entry_points(group="manticore.projector"):
            PROJECTORS.setdefault(point.name, point.load())
    if kind not in PROJECTORS:
        raise UnknownName("projector", kind, PROJECTORS)
    own = {key: value for key, value in options.items() if key != "bypass"}
    takes = signature(PROJECTORS[kind])
    try:
        takes.bind(1, 1, **own)
    except TypeError as error:
        raise ManticoreError(f"projector '{kind}' does not take the options {own}: {error}") from None
    if "bypass" in options and "bypass" in takes.parameters:
        raise ManticoreError(
            f"projector '{kind}' has an option 'bypass' of its own, which goes to its branch; rename it"
        )


def check_config(file: Path, held: Any) -> None:
    """Raises BadFile unless this is the config of a projector set."""
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise BadFile(file, f"not a projector set of format {FORMAT}")
    missing = [key for key in FACTS if key not in held]
    if missing:
        raise BadFile(file, f"a projector set without '{missing[0]}'")
    for key, least in {"stages": 1, "tokens": 0}.items():
        if type(held[key]) is not int or held[key] < least:
            raise BadFile(file, f"'{key}' must be a whole number of at least {least}")
    components = held["components"]
    if not isinstance(components, dict) or not isinstance(held["base"], str) or held["base"] not in components:
        raise BadFile(file, "'components' must give weights, width and cuts of base and of every donor component")
    for name, one in components.items():
        if not isinstance(one, dict) or any(type(one.get(key)) is not kind for key, kind in COMPONENT.items()):
            raise BadFile(file, f"'components' must give weights, width and cuts of '{name}'")
        if not _cut(one["layer_boundaries"], held["stages"]):
            raise BadFile(file, f"the cuts of '{name}' must rise from 0, one more than {held['stages']} stages")


def _cut(cuts: list[Any], stages: int) -> bool:
    whole = all(type(place) is int for place in cuts) and len(cuts) == stages + 1
    return whole and cuts[0] == 0 and all(low < high for low, high in pairwise(cuts))


def shapes(file: Path, held: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a set with this config. Raises BadFile if there are no such projectors."""
    told = held["projector"]
    try:
        if not isinstance(told, Mapping) or not isinstance(told.get("kind"), str):
            raise ManticoreError("expected a mapping with its kind")
        check_projector(told["kind"], {key: value for key, value in told.items() if key != "kind"})
        return _shapes(held)
    except Exception as error:  # a projector of a user's own may raise anything
        raise BadFile(file, f"'projector' cannot be: {str(error).strip().splitlines()[0][:200]}") from None


def _shapes(held: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    told, out = dict(held["projector"]), {}
    stream = held["components"][held["base"]]["width"]
    for name, one in held["components"].items():
        if name == held["base"]:
            continue
        with torch.random.fork_rng(devices=[]):  # nothing else is to be drawn otherwise
            parts = {
                "proj_in": build_projector(told, stream, one["width"]),
                "proj_out": build_projector(told, one["width"], stream),
                "bypass": build_bypass(told, stream),
            }
        for part, module in parts.items():
            for key, value in ({} if module is None else module.state_dict()).items():
                for stage in range(held["stages"]):
                    out[f"stages.{stage}.{name}.{part}.{key}"] = tuple(value.shape)
    return out
