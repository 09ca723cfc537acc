"""Checks the kind and the options of a projector against the registered projector classes."""

from __future__ import annotations

from inspect import signature
from typing import Any

from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.projectors import PROJECTORS
from manticore.utils.registry import add_plugins


def check_projector(kind: str, options: dict[str, Any]) -> None:
    """Check that a kind of projector exists and takes these options.

    Args:
        kind: name of a projector class, built in, registered, or an entry point of the group `manticore.projector`.
        options: keyword arguments of the class, and `bypass`, which is an option of every kind.

    Raises:
        UnknownName: no projector class has this name.
        ManticoreError: the class does not take an option, or declares one called `bypass`.
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
    if "bypass" in options and "bypass" in parameters.parameters:
        raise ManticoreError(
            f"projector '{kind}' has an option 'bypass' of its own, which would be read as the branch's bypass; "
            "rename it"
        )
