"""Field types with bounds, and the check of a dataclass's values against its annotations.

The annotation of a field is the only definition of the values that it may have:

    @dataclass(frozen=True)
    class Options(Checked):
        steps: PositiveInt = 400
        optimizer: Literal["adamw", "muon"] = "adamw"

`Options(steps=0)` raises. A recipe or a flag with the same value raises as well.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from manticore.errors import ManticoreError, UnknownName, shown

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Bounds of a number; NaN and the infinities are outside of every range.

    Attributes:
        least, most: closed bounds.
        above, below: open bounds.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return _is_finite(value) and self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        bounds = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if math.isfinite(bound))


def _is_finite(value: float) -> bool:
    """Whether a number is finite as a float; a whole number can have too many digits for that."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


PositiveInt = Annotated[int, Range(least=1)]
NonNegativeInt = Annotated[int, Range(least=0)]
PositiveFloat = Annotated[float, Range(above=0)]
NonNegativeFloat = Annotated[float, Range(least=0)]
ClosedUnitInterval = Annotated[float, Range(least=0, most=1)]
OpenUnitInterval = Annotated[float, Range(above=0, below=1)]
DecayRate = Annotated[float, Range(least=0, below=1)]


@dataclass(frozen=True)
class KeysOf:
    """Marks a field that is a nested mapping with some keys of a dataclass, not checked before they are all there.

    `section` is the part of a recipe that the dataclass is, in the names of its keys; empty for a whole recipe.
    """

    kind: type
    section: str = ""


@dataclass(frozen=True)
class Repeated:
    """Marks a field whose items are typed one at a time, by a flag that may be repeated; `metavar` names an item."""

    metavar: str


LARGEST = 2**63 - 1
"""Largest whole number of an option: that of 64 bits, which torch and numpy count with."""

_NOUNS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "a path",
}


class Checked:
    """Base of option dataclasses: checks every field against its annotation when an object is made.

    A subclass with a check across fields calls `super().__post_init__()` first.

    Raises:
        UnknownName: a value that is none of a field's choices, with the nearest.
        ManticoreError: a value of another type, or out of range.
    """

    def __post_init__(self) -> None:
        for key, hint in field_types(type(self)).items():
            object.__setattr__(self, key, convert(getattr(self, key), hint, key))


def field_types(kind: type) -> dict[str, Any]:
    """The annotations of a dataclass's fields, bounds included."""
    return _field_types(kind)


@cache
def _field_types(kind: Hashable) -> dict[str, Any]:
    assert isinstance(kind, type)
    assert is_dataclass(kind)
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


def from_mapping(
    kind: type[T], values: Mapping[str, Any], noun: str = "key", prefix: str = "", default: T | None = None
) -> T:
    """A dataclass from nested mappings, as YAML has them. A dataclass with a `from_dict` of its own is read by that.

    Args:
        kind: the dataclass.
        values: by field; a field that is left out keeps its default.
        noun: word for a key in messages.
        prefix: text before the name of a key in messages, such as `search.`.
        default: an object whose values replace the defaults of the class.

    Raises as `Checked` does, UnknownName for a key that is no field, and ManticoreError for one that is missing.
    """
    hints = field_types(kind)
    for key in values:
        if key not in hints:
            raise UnknownName(noun, f"{prefix}{key}", [f"{prefix}{name}" for name in hints])
    defaults = field_defaults(kind, default)
    for key in hints:
        if key not in values and key not in defaults:
            raise ManticoreError(f"{noun} '{prefix}{key}' is missing")
    read = {key: convert(values[key], hints[key], f"{prefix}{key}", noun, defaults.get(key)) for key in values}
    return kind(**{**defaults, **read})


def field_defaults(kind: type, default: Any = None) -> dict[str, Any]:
    """The values of `default` by field, or else the defaults of the class, where a field without one is left out."""
    if default is not None:
        return {field.name: getattr(default, field.name) for field in fields(kind)}
    out = {field.name: field.default for field in fields(kind) if field.default is not MISSING}
    return out | {field.name: field.default_factory() for field in fields(kind) if field.default_factory is not MISSING}


def field_helps(kind: type) -> dict[str, str]:
    """The help of a dataclass's fields: the string under a field, or its entry under `Attributes` in the docstring."""
    from docstring_parser import (  # here, so that options without help do not import it
        DocstringStyle,
        parse_from_object,
    )

    helps = {}
    for base in filter(is_dataclass, reversed(kind.__mro__)):
        for field in parse_from_object(base, DocstringStyle.GOOGLE).params:
            helps[field.arg_name] = " ".join((field.description or "").split())
    return helps


def convert(value: Any, hint: Any, key: str, noun: str = "key", default: Any = None) -> Any:
    """The value in the type of the annotation `hint`: a whole number as a float, a list as a tuple, text as a path.

    Raises as `Checked` does; messages call the value `key`.
    """
    if value is None and NoneType in get_args(hint):
        return None
    if len(alternatives(hint)) > 1:
        return _first_fit(value, hint, key)
    bare, bounds = bare_type(hint), note_of(hint, Range)
    if is_dataclass(bare) and isinstance(bare, type):
        return _nested(value, bare, key, noun, default)
    if get_origin(bare) is Literal:
        if value not in get_args(bare):
            raise UnknownName(key, value, get_args(bare))
        return value
    if get_origin(bare) is tuple and isinstance(value, list | tuple):
        return tuple(convert(item, get_args(bare)[0], key, noun) for item in value)
    fits = _FITS.get(get_origin(bare) or bare)
    if (
        fits is None
        or not isinstance(value, fits)
        or (isinstance(value, bool) and bare in (int, float))
        or (bare in (int, float) and value not in (bounds or Range()))
        or (bare is Path and not str(value))
    ):
        raise ManticoreError(f"{key} must be {describe_values(hint)}, got {shown(value)}")
    if bare is int and abs(value) > LARGEST:
        raise ManticoreError(f"{key} must be {describe_values(hint)}, at most {LARGEST}, got {shown(value)}")
    return bare(value) if bare in (int, float, Path) else value


def _first_fit(value: Any, hint: Any, key: str) -> Any:
    """The value in the type of the first alternative of a union that allows it."""
    for arm in alternatives(hint):
        try:
            return convert(value, arm, key)
        except ManticoreError:
            continue
    raise ManticoreError(f"{key} must be {describe_values(hint)}, got {shown(value)}")


_FITS: dict[Any, Any] = {
    bool: bool,
    int: Integral,  # also of numpy
    float: Real,
    str: str,
    Path: str | Path,
    dict: Mapping,
    Any: object,
}


def _nested(value: Any, kind: type, key: str, noun: str, default: Any) -> Any:
    """A field that is a dataclass itself, from an object or a mapping."""
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise ManticoreError(f"{noun} '{key}' has keys of its own, it cannot be {shown(value)}")
    own = getattr(kind, "from_dict", None)
    return from_mapping(kind, value, noun, f"{key}.", default) if own is None else own(dict(value))


def alternatives(hint: Any) -> list[Any]:
    """The types that an annotation allows besides None, bounds included."""
    arms = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [arm for arm in arms if arm is not NoneType]


def bare_type(hint: Any) -> Any:
    """The first type of an annotation besides None, without its bounds."""
    first = alternatives(hint)[0]
    return get_args(first)[0] if get_origin(first) is Annotated else first


def note_of(hint: Any, kind: type[T]) -> T | None:
    """The object of class `kind` that annotates the first type, such as its `Range`."""
    first = alternatives(hint)[0]
    notes = get_args(first)[1:] if get_origin(first) is Annotated else ()
    return next((note for note in notes if isinstance(note, kind)), None)


def bounds_note(hint: Any) -> str:
    """Bounds of a number for a help text, such as `(at least 1)`; empty for none and for counts from 0."""
    bounds = note_of(hint, Range)
    return "" if bounds in (None, Range(least=0)) else f"({bounds})"


def describe_values(hint: Any) -> str:
    """A description of the values that an annotation allows, such as `a whole number of at least 1`."""
    if len(alternatives(hint)) > 1:
        return ", or ".join(map(describe_values, alternatives(hint)))
    bare, bounds = bare_type(hint), note_of(hint, Range)
    if get_origin(bare) is Literal:
        return ", ".join(map(str, get_args(bare)))
    if get_origin(bare) is tuple:
        return f"a list, each item {describe_values(get_args(bare)[0])}"
    if get_origin(bare) is dict or bare is dict:
        return "a mapping"
    if bounds is None:
        return _NOUNS.get(bare, "a value")
    return f"{_NOUNS[bare]}{' of' if str(bounds).startswith('at') else ''} {bounds}"
