"""Checks the kind and the options of a projector against the registered projector classes."""

from __future__ import annotations

from inspect import signature
from typing import Any, get_type_hints

from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.projectors import PROJECTORS
from manticore.utils.fields import alternatives, convert
from manticore.utils.registry import add_plugins

PLAIN = (bool, int, float, str)
"""Annotations of options that are checked."""


def check_projector(kind: str, options: dict[str, Any]) -> None:
    """Check that a kind of projector exists and takes these options.

    Args:
        kind: name of a projector class, built in, registered, or an entry point of the group `manticore.projector`.
        options: keyword arguments of the class, and `bypass`, which is an option of every kind.

    Raises:
        UnknownName: no projector class has this name.
        ManticoreError: the class does not take an option or its value, by the annotation of the argument, or declares
            one called `bypass`.
    """
    if kind not in PROJECTORS:
        add_plugins("projector", PROJECTORS)
    if kind not in PROJECTORS:
        raise UnknownName("projector", kind, PROJECTORS)
    own_options = {key: value for key, value in options.items() if key != "bypass"}
    parameters = signature(PROJECTORS[kind])
    try:
        parameters.bind(1, 1, **own_options)
    except TypeError as error:
        raise ManticoreError(f"projector '{kind}' does not take the options {own_options}: {error}") from None
    for name, hint in plain_hints(PROJECTORS[kind]).items():
        if name in own_options:
            convert(own_options[name], hint, f"projector_options.{name}")
    if "bypass" in options and "bypass" in parameters.parameters:
        raise ManticoreError(
            f"projector '{kind}' has an option 'bypass' of its own, which would be read as the branch's bypass; "
            "rename it"
        )


def plain_hints(projector_class: type) -> dict[str, Any]:
    """Annotations of a class's arguments that are numbers, booleans or text; a class from outside may have none."""
    try:
        hints = get_type_hints(vars(projector_class)["__init__"])
    except (NameError, TypeError, KeyError):
        return {}
    return {name: hint for name, hint in hints.items() if all(arm in PLAIN for arm in alternatives(hint))}
