"""Every key of a recipe with values of every kind: accepted, or refused in one line that names the key."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from manticore.config.loading import from_dotted, merge, resolve
from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError
from manticore.modeling.projectors import build_projector
from manticore.pipelines.assets import validate
from manticore.utils.fields import LARGEST, alternatives, bare_type, convert, field_types

RECIPE = {"task": {"name": "lra-listops", "preset": "cpu"}, "space": {"components": ["gpt-neo", "mamba"]}}


def leaves(kind: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a recipe with its annotation, nested ones dotted."""
    for key, hint in field_types(kind).items():
        if isinstance(hint, type) and is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", hint


KEYS = dict(leaves(Recipe))
NUMERIC = [key for key, hint in KEYS.items() if {bare_type(arm) for arm in alternatives(hint)} & {int, float}]

NO_NUMBERS = [math.nan, math.inf, -math.inf, 10**400, -(10**400), 16**5000, -1, True, False, "", "many", [], {}]
OTHERS = [None, 0, 1.5, 10**30, "\u00b2", [None], [math.nan], {"a": None}, {None: 1}, b"x", datetime.date(2026, 11, 29)]


def nested(key: str, value: Any) -> dict[str, Any]:
    """A recipe with one key set."""
    for part in reversed(key.split(".")):
        value = {part: value}
    return merge(RECIPE, value)


def refused(key: str, value: Any) -> str:
    """The error of a recipe; empty if it is accepted. Anything else than a ManticoreError fails the test."""
    try:
        resolve([nested(key, value)], "cpu")
    except ManticoreError as error:
        return str(error)
    return ""


def test_the_recipe_has_numeric_keys_in_all_sections() -> None:
    assert {key.partition(".")[0] for key in NUMERIC} >= {"task", "space", "scratch", "search", "finetune", "run"}
    assert {"study.path_seeds", "search.weights.lr", "task.train"} <= set(NUMERIC)


@given(st.sampled_from(NUMERIC), st.sampled_from(NO_NUMBERS))
def test_what_is_no_number_in_range_is_refused_with_key_and_kind(key: str, value: Any) -> None:
    error = refused(key, value)
    assert key.removeprefix("space.") in error
    assert " must be a" in error
    assert "\n" not in error
    assert len(error) < 400


@given(st.sampled_from(sorted(KEYS)), st.sampled_from(NO_NUMBERS + OTHERS))
def test_a_value_of_any_kind_is_accepted_or_refused_in_words(key: str, value: Any) -> None:
    error = refused(key, value)
    assert "\n" not in error
    if error and "projector 'linear' does not take" not in error and "bypass" not in error:
        assert key.rpartition(".")[2].rstrip("s") in error


@given(st.sampled_from(NUMERIC), st.integers(-10, 10) | st.floats(-10, 10))
def test_numbers_are_stored_as_annotated_or_refused(key: str, value: float) -> None:
    if refused(key, value):
        return
    stored: Any = resolve([nested(key, value)], "cpu")
    for part in key.split("."):
        stored = getattr(stored, part)
    assert stored == value
    assert type(stored) in {bare_type(arm) for arm in alternatives(KEYS[key])}


@pytest.mark.parametrize("value", [None, False, 0, ""])
def test_nothing_of_the_wrong_kind_stands_for_an_empty_mapping(value: Any) -> None:
    for key in ("projector_options", "stage_candidates", "cuts"):
        error = refused(f"space.{key}", value)
        assert (error == "") == (value is None), key
        assert value is None or f"{key} must be a mapping, got {value!r}" in error
    with_presets = merge(RECIPE, {"presets": value})
    if value is None:
        resolve([with_presets], "cpu")
    else:
        with pytest.raises(ManticoreError, match="recipe key 'presets' maps"):
            resolve([with_presets], "cpu")


@pytest.mark.parametrize("value", [None, True, 1.5, math.nan, "4", 10**30])
def test_options_of_a_projector_are_numbers_too(value: Any) -> None:
    for kind, name in (("low-rank", "rank"), ("two-layer", "hidden")):
        space = {"projector": kind, "projector_options": {name: value}}
        if (kind, value) == ("two-layer", None):
            resolve([merge(RECIPE, {"space": space})], "cpu")
            continue
        with pytest.raises(ManticoreError, match=f"projector_options.{name} must be a whole number"):
            resolve([merge(RECIPE, {"space": space})], "cpu")
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            build_projector({"kind": kind, name: 0}, 4, 4)


def test_whole_numbers_have_64_bits() -> None:
    assert convert(LARGEST, int, "seed") == LARGEST
    with pytest.raises(ManticoreError, match=f"seed must be a whole number, at most {LARGEST}, got {LARGEST + 1}"):
        convert(LARGEST + 1, int, "seed")


def test_a_file_and_a_flag_are_checked_alike(tmp_path: Path) -> None:
    message = r"study\.path_seeds must be a whole number of at least 0, got nan"
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(nested("study.path_seeds", math.nan)))
    with pytest.raises(ManticoreError, match=message):
        validate(file)
    with pytest.raises(ManticoreError, match=message):
        resolve([RECIPE, from_dotted(["study.path_seeds=.nan"])], "cpu")
