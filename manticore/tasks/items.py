"""From objects in memory to plain examples: lists, tables, datasets of Hugging Face and of torch.

An item is a text, a pair (text, label), a pair (tokens, label), or a record with such fields. Tokens are whole numbers
or words. A label is a whole number or a name, or a list of them, one for each token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from manticore.errors import ManticoreError
from manticore.tasks.dataset import IGNORE
from manticore.tasks.language.documents import FIELDS, invalid_character

EXPECTED = "an item is a text, (text, label) or (tokens, label), or a record with such fields"

TOKEN_FIELDS = ("tokens", "input_ids")
LABEL_FIELDS = ("label", "labels", "tags")
"""Fields of a record that may hold its tokens and its label; the first one that exists is read."""


CONTENT_FIELDS = (*FIELDS, *TOKEN_FIELDS)
"""Fields of a record that may hold its text or its tokens."""

COLUMNS = (*CONTENT_FIELDS, *LABEL_FIELDS)
"""Fields that records may have."""


@dataclass(frozen=True)
class Columns:
    """Names of the fields of records that hold the text or the tokens, and the label; None: the usual names."""

    text: str | None = None
    label: str | None = None


def read_items(source: Any, split: str, columns: Columns = Columns()) -> list[dict[str, Any]]:
    """The items of one split as plain records: `text` or `tokens`, and `label`, or `labels` for one a token.

    Args:
        source: a list or another iterable of items, a `datasets.Dataset`, a torch `Dataset`, or a table of pandas,
            polars or Arrow, whose rows are records.
        split: its name, for messages.
        columns: names of fields.

    Raises ManticoreError if an item is something else, with its index.
    """
    if isinstance(source, str | bytes) or (not hasattr(source, "__iter__") and not hasattr(source, "__getitem__")):
        kind = "one text" if isinstance(source, str | bytes) else describe_type(source)
        raise ManticoreError(
            f"{split} must be a list of texts or of (tokens or text, label), a DataFrame, a datasets.Dataset or a "
            f'torch Dataset, not {kind}; text in files is a task of its own: {{"name": "text", "data_dir": "path"}}'
        )
    records = [_record(item, f"{split}[{index}]", columns) for index, item in enumerate(_iterate(source))]
    if not records:
        raise ManticoreError(f"{split} is empty")
    kinds = {tuple(record) for record in records}
    if len(kinds) > 1:
        first, second = sorted(" and ".join(kind) for kind in kinds)[:2]
        raise ManticoreError(f"{split} has items of unlike kinds: some with {first}, some with {second}")
    return records


def label_names(source: Any, columns: Columns = Columns()) -> tuple[str, ...]:
    """The names of the labels in the features of a `datasets.Dataset`; empty for other objects."""
    features = getattr(source, "features", None)
    if not isinstance(features, Mapping):
        return ()
    field = columns.label or next((name for name in LABEL_FIELDS if name in features), "")
    feature = features.get(field)
    feature = getattr(feature, "feature", feature)  # of a list of labels
    return tuple(getattr(feature, "names", None) or ())


def describe_type(value: Any) -> str:
    """The type of a value in a message, with the shape of an array."""
    shape = getattr(value, "shape", None)
    suffix = "" if shape is None else f" of shape {tuple(shape)} and type {getattr(value, 'dtype', 'unknown')}"
    if isinstance(value, tuple | list) and len(value) <= 3:
        suffix = f" of {', '.join(type(item).__name__ for item in value) or 'nothing'}"
    return f"a {type(value).__name__}{suffix}"


def _iterate(source: Any) -> Iterable[Any]:
    """The items: rows of a table, which iterates over its columns; by index where there is a length and no iterator."""
    items: Iterable[Any]
    if hasattr(source, "iter_rows"):  # polars
        items = source.iter_rows(named=True)
    elif hasattr(source, "iterrows") and hasattr(source, "to_dict"):  # pandas
        items = source.to_dict("records")
    elif hasattr(source, "to_pylist"):  # Arrow
        items = source.to_pylist()
    elif hasattr(source, "columns") and hasattr(source, "__arrow_c_stream__"):  # other tables
        import pyarrow  # comes with datasets

        items = pyarrow.table(source).to_pylist()
    elif not hasattr(source, "__iter__") and hasattr(source, "__len__"):
        items = (source[index] for index in range(len(source)))
    else:
        items = list(source)
        if items and all(isinstance(item, str) for item in items) and items == list(getattr(source, "columns", ())):
            kind = describe_type(source)
            raise ManticoreError(f"{kind} is a table that gives no rows; pass a list of them, as records")
    return items


def _record(item: Any, item_name: str, columns: Columns) -> dict[str, Any]:
    """One item as a plain record. Raises ManticoreError."""
    if isinstance(item, str):
        return {"text": _text(item, item_name)}
    if isinstance(item, Mapping):
        content, label = _fields(item, item_name, columns)
    elif isinstance(item, tuple | list) and len(item) == 2 and not isinstance(item[0], int):
        content, label = item
    else:
        raise ManticoreError(f"{item_name} is {describe_type(item)}; {EXPECTED}")
    if content is None or isinstance(content, float):  # a missing value of a table
        raise ManticoreError(f"{item_name} has no text or tokens, but {content}")
    if isinstance(content, str):
        record: dict[str, Any] = {"text": _text(content, item_name)}
    else:
        record = {"tokens": _tokens(content, item_name)}
    if label is _NO_LABEL:
        if "tokens" in record:
            raise ManticoreError(f"{item_name} has tokens and no label; {EXPECTED}")
        return record
    return {**record, **_label(label, record, item_name)}


_NO_LABEL = object()


def _fields(item: Mapping[str, Any], item_name: str, columns: Columns) -> tuple[Any, Any]:
    """Text or tokens, and label, of a record."""
    known = CONTENT_FIELDS if columns.text is None else (columns.text,)
    field = next((name for name in known if name in item), None)
    if field is None:
        raise ManticoreError(
            f"{item_name} has no field {' or '.join(known)}; it has {', '.join(map(str, item)) or 'none'}"
        )
    if columns.label is not None and columns.label not in item:
        raise ManticoreError(f"{item_name} has no field {columns.label}; it has {', '.join(map(str, item))}")
    label = columns.label or next((name for name in LABEL_FIELDS if name in item), None)
    return item[field], _NO_LABEL if label is None else item[label]


def _text(text: str, item_name: str) -> str:
    if problem := invalid_character(text):
        raise ManticoreError(f"{item_name} {problem}")
    return text


def _tokens(content: Any, item_name: str) -> list[int] | list[str]:
    """Tokens as whole numbers, or all as words."""
    values = _plain(content, item_name, "tokens")
    if not isinstance(values, list) or not values:
        raise ManticoreError(
            f"{item_name} has {describe_type(content)} as tokens; expected a list of whole numbers or of words"
        )
    if all(isinstance(value, str) and value and not any(map(str.isspace, value)) for value in values):
        return values
    if all(type(value) is int and 0 <= value < 1 << 16 for value in values):
        return values
    raise ManticoreError(
        f"{item_name} has tokens of another kind; all are whole numbers of 0 to 65,535, or all are words without blanks"
    )


def _label(label: Any, record: Mapping[str, Any], item_name: str) -> dict[str, Any]:
    """The label of a record, or one for each token."""
    value = _plain(label, item_name, "a label")
    if not isinstance(value, list):
        if type(value) is not str and (type(value) is not int or value < 0):
            raise ManticoreError(
                f"{item_name} has {describe_type(label)} as label; expected a whole number from 0, or a name"
            )
        return {"label": value}
    if "text" in record:
        raise ManticoreError(f"{item_name} is a text with a list of labels; labels of tokens need a list of tokens")
    if len(value) != len(record["tokens"]):
        raise ManticoreError(f"{item_name} has {len(record['tokens'])} tokens and {len(value)} labels")
    plain = [IGNORE if item is None else item for item in value]
    if not all(type(item) is str or (type(item) is int and (item >= 0 or item == IGNORE)) for item in plain):
        raise ManticoreError(f"{item_name} has labels of another kind; expected whole numbers from 0, names, or None")
    return {"labels": plain}


def _plain(value: Any, item_name: str, noun: str) -> Any:
    """Numbers, names and lists of them, from arrays and tensors too. Raises ManticoreError for other shapes."""
    if hasattr(value, "tolist") and hasattr(value, "ndim"):
        if value.ndim > 1 or str(value.dtype).rpartition(".")[2].rstrip("0123456789") not in ("int", "uint", "bool"):
            raise ManticoreError(
                f"{item_name} has {describe_type(value)} as {noun}; expected whole numbers in at most one row"
            )
        value = value.tolist()
    if isinstance(value, bool):
        return int(value)
    if not isinstance(value, list | tuple):
        return value
    return [int(item) if isinstance(item, bool) else item for item in value]
