"""Results as JSON: a dataclass is written and read by the types of its fields. Knows no particular result.

A dataclass is an object with one key per field, a tuple is a list, a mapping is an object, a `Metric` is its name.
JSON has neither NaN nor infinity: a number that is not finite is written as null, and null is read only where a field
may be None. A field with a default may be missing; a key that is no field is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from manticore.errors import BadFile, UnknownName
from manticore.training.metrics import Metric, metrics
from manticore.utils.io import read_json, write_json

R = TypeVar("R", bound="Result")

JSON_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class Result:
    """What a command leaves behind, as one JSON file in its folder. Subclasses are frozen dataclasses.

    Attributes:
        FILE: name of the file.
        FORMAT: number of the schema; raised when a file of the previous schema can no longer be read.
    """

    FILE: ClassVar[str]
    FORMAT: ClassVar[int]

    def save(self, folder: Path | str) -> None:
        """Write the file, whole or not at all."""
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


def decode(kind: type[R], data: object, file: Path | str) -> R:
    """The result of type `kind` that `encode` made `data` from. Raises BadFile for anything else."""
    result: R = _decode(kind, data, file, "")
    return result


def _decode(kind: Any, data: Any, file: Path | str, key: str) -> Any:
    """The value of type `kind`; `key` says where in `file` it stands."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):  # X | None is the only union of the schemas
        (inner,) = (arg for arg in args if arg is not NoneType)
        return None if data is None else _decode(inner, data, file, key)
    if kind is object:
        return data
    if kind is Metric:
        return _metric(data, file, key)
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, data, file, key)
    if origin is Mapping:
        return {
            name: _decode(args[1], item, file, f"{key}[{name!r}]") for name, item in _object(data, file, key).items()
        }
    if origin is tuple:
        if not isinstance(data, list):
            raise _wrong(file, key, "a list", data)
        kinds: Sequence[Any] = args[:1] * len(data) if args[-1] is Ellipsis else args
        if len(kinds) != len(data):
            raise _wrong(file, key, f"a list of {len(kinds)}", data)
        items = enumerate(zip(kinds, data, strict=True))
        return tuple(_decode(item_kind, item, file, f"{key}[{_label(item, at)}]") for at, (item_kind, item) in items)
    return _scalar(kind, data, file, key)


def _dataclass(kind: type[Any], data: object, file: Path | str, key: str) -> Any:
    held, hints = _object(data, file, key), get_type_hints(kind)
    names = {field.name: field.default is MISSING and field.default_factory is MISSING for field in fields(kind)}
    for name in held:
        if name not in names:
            raise BadFile(file, _at(key, str(UnknownName("key", name, names))))
    for name, required in names.items():
        if required and name not in held:
            raise BadFile(file, _at(key, f"has no '{name}'"))
    values = {name: _decode(hints[name], item, file, f"{key}.{name}".lstrip(".")) for name, item in held.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise BadFile(file, _at(key, str(error))) from None


def _scalar(kind: type[Any], data: object, file: Path | str, key: str) -> Any:
    """A bool, int, float or str; a whole number is a float too."""
    allowed = (int, float) if kind is float else kind
    if not isinstance(data, allowed) or (isinstance(data, bool) and kind is not bool):
        raise _wrong(file, key, JSON_NAMES[kind], data)
    if isinstance(data, float) and not math.isfinite(data):
        raise _wrong(file, key, "a finite number", data)
    return kind(data)


def _metric(data: object, file: Path | str, key: str) -> Metric:
    try:
        return metrics[str(data)]
    except UnknownName as error:
        raise BadFile(file, _at(key, str(error))) from None


def _object(data: object, file: Path | str, key: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise _wrong(file, key, "an object", data)
    return data


def _label(item: object, index: int) -> str:
    """An item of a list by its name, if it has one."""
    name = next((item[key] for key in ("name", "task") if key in item), index) if isinstance(item, dict) else index
    return repr(name)


def _wrong(file: Path | str, key: str, expected: str, data: object) -> BadFile:
    text = repr(data)
    return BadFile(file, _at(key, f"expected {expected}, got {text if len(text) < 60 else f'{text[:60]}…'}"))


def _at(key: str, message: str) -> str:
    return f"{key}: {message}" if key else message
