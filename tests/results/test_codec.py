"""Results are written and read through the same dataclasses; other data is refused with the key that is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from manticore.errors import BadFile
from manticore.results.codec import ResultFile, decode, encode
from manticore.training.metrics import BITS, Metric


@dataclass(frozen=True)
class Part:
    name: str
    value: float | None
    pair: tuple[float, int] = (0.0, 0)


@dataclass(frozen=True)
class Whole(ResultFile):
    FILE: ClassVar[str] = "whole.json"
    FORMAT: ClassVar[int] = 3

    metric: Metric
    parts: tuple[Part, ...]
    by_name: Mapping[str, Mapping[str, float]]
    facts: Mapping[str, object]
    done: bool = False

    def __post_init__(self) -> None:
        if not self.parts:
            raise ValueError("parts are empty")


WHOLE = Whole(BITS, (Part("a", 1.5, (2.0, 3)), Part("b", None)), {"x": {"y": 0.5}}, {"gpu": None, "cores": 2}, True)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    WHOLE.save(tmp_path)
    assert Whole.load(tmp_path) == WHOLE
    assert list(json.loads((tmp_path / "whole.json").read_text())) == [
        *("format", "metric", "parts", "by_name", "facts", "done")
    ]


def test_keys_are_the_fields_and_a_metric_is_its_name() -> None:
    data = encode(WHOLE)
    assert data["metric"] == "bits_per_byte"
    assert data["parts"][0] == {"name": "a", "value": 1.5, "pair": [2.0, 3]}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null(value: float) -> None:
    assert encode(Part("a", value))["value"] is None


def test_a_field_with_a_default_may_be_missing() -> None:
    assert decode(Whole, {key: item for key, item in encode(WHOLE).items() if key != "done"}, "f").done is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": 3}, "parts: expected a list, got 3"),
        ({"parts": []}, "parts are empty"),
        ({"parts": [3]}, r"parts\[0\]: expected an object, got 3"),
        ({"parts": [{"name": "a"}]}, r"parts\['a'\]: has no 'value'"),
        ({"parts": [{"name": "a", "value": True}]}, r"parts\['a'\].value: expected a number, got True"),
        ({"parts": [{"name": "a", "value": math.nan}]}, r"parts\['a'\].value: expected a finite number, got nan"),
        ({"parts": [{"name": "a", "value": 1, "pair": [1]}]}, r"parts\['a'\].pair: expected a list of 2, got \[1\]"),
        (
            {"parts": [{"name": "a", "value": 1, "pair": [1, 0.5]}]},
            r"parts\['a'\].pair\[1\]: expected a whole number, got 0.5",
        ),
        ({"parts": [{"name": 5, "value": 1}]}, r"parts\[5\].name: expected a text, got 5"),
        ({"by_name": {"x": 1}}, r"by_name\['x'\]: expected an object, got 1"),
        ({"by_name": {"x": {"y": None}}}, r"by_name\['x'\]\['y'\]: expected a number, got None"),
        ({"metric": "bits"}, "metric: unknown metric 'bits'"),
        ({"done": 1}, "done: expected true or false, got 1"),
        ({"don": True}, "unknown key 'don'. Did you mean 'done'?"),
        ({"facts": "x" * 100}, "facts: expected an object, got 'x+…$"),
    ],
)
def test_the_wrong_key_is_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadFile, match=f"^the.json: {message}") as caught:
        decode(Whole, {**encode(WHOLE), **change}, "the.json")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 2}', '{"format": 3}', "{", '{"format": null}'])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "whole.json").write_text(text)
    with pytest.raises(BadFile, match=r"whole.json"):
        Whole.load(tmp_path)


def test_the_expected_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "whole.json").write_text('{"format": 2}')
    with pytest.raises(BadFile, match=r'not a Whole \(expected an object with "format": 3\)'):
        Whole.load(tmp_path)
