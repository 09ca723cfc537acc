"""The annotation of a field says which values it may have, in Python, YAML and flags alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from manticore.errors import ManticoreError, UnknownName
from manticore.utils.fields import (
    Checked,
    ClosedUnitInterval,
    DecayRate,
    NonNegativeInt,
    OpenUnitInterval,
    PositiveFloat,
    PositiveInt,
    Range,
    describe_values,
    field_helps,
    field_types,
    from_mapping,
)


@dataclass(frozen=True)
class Inner(Checked):
    """A section.

    Attributes:
        width: features.
    """

    width: PositiveInt = 3
    depth: NonNegativeInt = 1
    """Number of layers."""


@dataclass(frozen=True)
class Outer(Checked):
    """Options of every type."""

    rate: PositiveFloat = 1.0
    """Rate
    of change."""
    share: ClosedUnitInterval = 0.5
    split: OpenUnitInterval = 0.5
    decay: DecayRate = 0.9
    kind: Literal["linear", "low-rank"] = "linear"
    budget: PositiveFloat | Literal["largest"] | None = None
    rates: tuple[PositiveFloat, ...] = (0.1,)
    names: tuple[Literal["a", "b"], ...] = ("a",)
    seed: Annotated[int, Range(least=0, most=7)] = 0
    flag: bool = False
    text: str = ""
    file: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    inner: Inner = Inner(width=5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, "rate must be a number above 0, got 0"),
        ({"rate": math.nan}, "rate must be a number above 0, got nan"),
        ({"rate": math.inf}, "rate must be a number above 0, got inf"),
        ({"rate": "1"}, "rate must be a number above 0, got '1'"),
        ({"rate": True}, "rate must be a number above 0, got True"),
        ({"rate": None}, "rate must be a number above 0, got None"),
        ({"share": 1.5}, "share must be a number of at least 0 and at most 1, got 1.5"),
        ({"split": 1.0}, "split must be a number above 0 and below 1, got 1.0"),
        ({"decay": 1}, "decay must be a number of at least 0 and below 1, got 1"),
        ({"kind": "liner"}, "unknown kind 'liner'. Did you mean 'linear'? Known: linear, low-rank."),
        ({"kind": 3}, "unknown kind '3'"),
        ({"budget": -1}, "budget must be a number above 0, or largest, got -1"),
        ({"budget": "larges"}, "budget must be a number above 0, or largest, got 'larges'"),
        ({"rates": [0.1, 0]}, "rates must be a number above 0, got 0"),
        ({"rates": 0.1}, "rates must be a list, each item a number above 0, got 0.1"),
        ({"names": ["c"]}, "unknown names 'c'"),
        ({"seed": 8}, "seed must be a whole number of at least 0 and at most 7, got 8"),
        ({"seed": 1.0}, "seed must be a whole number of at least 0 and at most 7, got 1.0"),
        ({"flag": 1}, "flag must be true or false, got 1"),
        ({"text": 1}, "text must be text, got 1"),
        ({"file": 1}, "file must be a path, got 1"),
        ({"file": ""}, "file must be a path, got ''"),
        ({"seed": np.int64(8)}, "seed must be a whole number of at least 0 and at most 7, got np.int64(8)"),
        ({"options": []}, "options must be a mapping, got []"),
        ({"inner": 3}, "key 'inner' has keys of its own, it cannot be 3"),
        ({"inner": {"width": 0}}, "inner.width must be a whole number of at least 1, got 0"),
        ({"inner": {"widht": 4}}, "unknown key 'inner.widht'. Did you mean 'inner.width'?"),
    ],
)
def test_an_invalid_value_is_refused_in_python_in_a_copy_and_in_a_file(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError) as in_python:
        Outer(**values)
    with pytest.raises(ManticoreError) as in_a_copy:
        replace(Outer(), **values)
    with pytest.raises(ManticoreError) as in_a_file:
        from_mapping(Outer, values)
    for raised in (in_python, in_a_copy, in_a_file):
        assert message in str(raised.value)


def test_values_are_stored_as_annotated() -> None:
    options = Outer(rate=2, rates=[1, 2], file="a/b", budget=3)  # type: ignore[arg-type]
    assert (options.rate, options.rates, options.file, options.budget) == (2.0, (1.0, 2.0), Path("a/b"), 3.0)
    assert [type(value) for value in (options.rate, *options.rates, options.budget)] == [float] * 4
    assert Outer(budget="largest").budget == "largest"
    of_numpy = Outer(rate=np.float32(0.5), seed=np.int64(3))  # type: ignore[arg-type]
    assert (type(of_numpy.rate), type(of_numpy.seed), of_numpy.seed) == (float, int, 3)


def test_a_nested_mapping_changes_the_default_of_its_field() -> None:
    options = from_mapping(Outer, {"inner": {"depth": 2}})
    assert options.inner == Inner(width=5, depth=2)


@dataclass(frozen=True)
class Required(Checked):
    """One field without a default."""

    size: int


def test_unknown_and_missing_keys_are_named() -> None:
    with pytest.raises(UnknownName, match=r"unknown recipe key 'x\.rat'. Did you mean 'x\.rate'?"):
        from_mapping(Outer, {"rat": 1}, "recipe key", "x.")
    with pytest.raises(ManticoreError, match=r"recipe key 'x\.size' is missing"):
        from_mapping(Required, {}, "recipe key", "x.")


def test_help_is_under_the_field_or_in_the_docstring() -> None:
    assert field_helps(Outer) == {"rate": "Rate of change."}
    assert field_helps(Inner) == {"width": "features.", "depth": "Number of layers."}


def test_annotations_are_described_in_plain_text() -> None:
    described = {key: describe_values(hint) for key, hint in field_types(Outer).items()}
    assert described["seed"] == "a whole number of at least 0 and at most 7"
    assert described["kind"] == "linear, low-rank"
    assert described["budget"] == "a number above 0, or largest"
