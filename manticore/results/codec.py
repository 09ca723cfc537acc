"""Results as JSON: a dataclass is written and read according to the types of its fields.

A dataclass is an object with one key per field, a tuple is a list, a mapping is an object, a `Metric` is its name.
JSON has neither NaN nor infinity: a number that is not finite is written as null, and null is read only where a field
may be None. A field with a default may be missing; a key that is no field is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from manticore.errors import BadFile, UnknownName, shown
from manticore.training.metrics import Metric, metrics
from manticore.utils.io import read_json, write_json

R = TypeVar("R", bound="ResultFile")
T = TypeVar("T")

JSON_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    (int, float): "a number",
    float: "a number",
    str: "a text",
    dict: "an object",
    list: "a list",
}


class ResultFile:
    """The result of a command, stored as one JSON file in its folder. Subclasses are frozen dataclasses.

    Attributes:
        FILE: name of the file.
        FORMAT: version of the schema; incremented when files of the previous version can no longer be read.
    """

    FILE: ClassVar[str]
    FORMAT: ClassVar[int]

    def save(self, folder: Path | str) -> None:
        """Write the file, atomically."""
        write_json(Path(folder) / self.FILE, {"format": self.FORMAT, **encode(self)})

    @classmethod
    def load(cls: type[R], folder: Path | str) -> R:
        """Read the file. Raises BadFile, naming the key and what was expected, if it is not what `save` writes."""
        file = Path(folder) / cls.FILE
        data = read_json(file)
        if not isinstance(data, dict) or data.get("format") != cls.FORMAT:
            raise BadFile(file, f'not a {cls.__name__} (expected an object with "format": {cls.FORMAT})')
        return decode(cls, {key: value for key, value in data.items() if key != "format"}, file)


def encode(value: object) -> Any:
    """A result, or any part of one, as plain JSON data."""
    if isinstance(value, Metric):
        return value.name
    if is_dataclass(value):
        return {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode(kind: type[T], data: object, file: Path | str) -> T:
    """The inverse of `encode`: a result of type `kind`. Raises BadFile, naming `file`, for data that is not one."""
    try:
        result: T = _decode(kind, data)
    except _Invalid as error:
        raise BadFile(file, str(error)) from None
    return result


class _Invalid(Exception):
    """A value that does not fit its type. `key` is its path in the data, to which each level adds its part."""

    def __init__(self, message: str, key: str = "") -> None:
        self.message, self.key = message, key
        super().__init__(f"{key.lstrip('.')}: {message}" if key else message)

    def inside(self, key: str) -> _Invalid:
        return _Invalid(self.message, key + self.key)


def _decode(kind: Any, data: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):  # X | None is the only union of the schemas
        (inner,) = (arg for arg in args if arg is not NoneType)
        return None if data is None else _decode(inner, data)
    if kind is object:
        return data
    if kind is Metric:
        return _metric(data)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, _expect(dict, data))
    if origin is Mapping:
        return {name: _item(f"[{name!r}]", args[1], item) for name, item in _expect(dict, data).items()}
    if origin is tuple:
        items: list[Any] = _expect(list, data)
        kinds = args[:1] * len(items) if args[-1] is Ellipsis else args
        if len(kinds) != len(items):
            raise _Invalid(f"expected a list of {len(kinds)}, got {_short(data)}")
        return tuple(_item(f"[{_label(item, at)}]", kinds[at], item) for at, item in enumerate(items))
    return _scalar(kind, data)


def _item(key: str, kind: Any, data: Any) -> Any:
    """A decoded part of a value; an error gets its key."""
    try:
        return _decode(kind, data)
    except _Invalid as error:
        raise error.inside(key) from None


def _dataclass(kind: type[Any], data: dict[str, Any]) -> Any:
    hints = get_type_hints(kind)
    required = {field.name: field.default is MISSING and field.default_factory is MISSING for field in fields(kind)}
    for name in data:
        if name not in required:
            raise _Invalid(str(UnknownName("key", name, required)))
    for name in required:
        if required[name] and name not in data:
            raise _Invalid(f"has no '{name}'")
    values = {name: _item(f".{name}", hints[name], item) for name, item in data.items()}
    try:
        return kind(**values)
    except ValueError as error:  # of __post_init__
        raise _Invalid(str(error)) from None


def _scalar(kind: type[Any], data: object) -> Any:
    """A bool, int, float or str; a whole number is a float too."""
    value = _expect((int, float) if kind is float else kind, data)
    if isinstance(value, bool) and kind is not bool:
        raise _Invalid(f"expected {JSON_NAMES[kind]}, got {value}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Invalid(f"expected a finite number, got {value}")
    try:
        return kind(value)
    except OverflowError:
        raise _Invalid(f"expected a finite number, got {shown(value)}") from None


def _metric(data: object) -> Metric:
    try:
        return metrics[str(data)]
    except UnknownName as error:
        raise _Invalid(str(error)) from None


def _expect(kind: Any, data: object) -> Any:
    if not isinstance(data, kind):
        raise _Invalid(f"expected {JSON_NAMES[kind]}, got {_short(data)}")
    return data


def _label(item: object, index: int) -> str:
    """The label of a list item in error messages: its name, or its index if it has none."""
    name = next((item[key] for key in ("name", "task") if key in item), index) if isinstance(item, dict) else index
    return repr(name)


def _short(data: object) -> str:
    text = shown(data)
    return text if len(text) < 60 else f"{text[:60]}…"
