"""The paths of a space whose stages differ in their candidates or share their choice, against a plain enumeration."""

from __future__ import annotations

import random
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import manticore as mc
from manticore.errors import ManticoreError, UnknownName
from manticore.nas.choices import Choices
from tests.helpers.pico import component

NAMES = ("a", "b", "skip")


@st.composite
def spaces(draw: st.DrawFn) -> tuple[int, dict[int, list[str]], list[list[int]]]:
    """Stages, candidates of some stages, and groups of stages that share their choice."""
    stages = draw(st.integers(1, 4))
    numbers = list(range(1, stages + 1))
    own = {stage: draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)) for stage in numbers}
    restricted = {stage: own[stage] for stage in numbers if draw(st.booleans())}
    group = draw(st.lists(st.sampled_from(numbers), unique=True, max_size=stages))
    return stages, restricted, [group] if len(group) > 1 else []


@given(spaces(), st.integers(0, 5))
def test_paths_are_those_that_a_plain_enumeration_keeps(space: Any, seed: int) -> None:
    stages, restricted, groups = space
    expected = [
        path
        for path in product(NAMES, repeat=stages)
        if all(path[stage - 1] in names for stage, names in restricted.items())
        and all(len({path[stage - 1] for stage in group}) == 1 for group in groups)
    ]
    if not expected:
        with pytest.raises(ManticoreError, match="no candidate"):
            Choices.of(NAMES, stages, restricted, groups)
        return
    choices = Choices.of(NAMES, stages, restricted, groups)
    assert list(choices.paths()) == expected
    assert choices.count == len(expected)
    assert tuple(choices.random_path(random.Random(seed))) in expected
    for path in product(NAMES, repeat=stages):
        if path in expected:
            choices.check(path)
        else:
            with pytest.raises(ManticoreError, match=r"is no candidate of stage|share their choice"):
                choices.check(path)


def test_random_paths_are_uniform_and_those_of_a_plain_space_as_before() -> None:
    choices = Choices.of(NAMES, 3, {2: ["a", "b"]}, [[1, 3]])
    rng = random.Random(0)
    drawn = [tuple(choices.random_path(rng)) for _ in range(3000)]
    assert {path: drawn.count(path) for path in choices.paths()} == pytest.approx(
        dict.fromkeys(choices.paths(), 500), rel=0.2
    )
    first, second = random.Random(3), random.Random(3)
    assert Choices.free(NAMES, 5).random_path(first) == [second.choice(NAMES) for _ in range(5)]


def test_numbers_of_paths_in_words() -> None:
    assert Choices.free(NAMES, 4).summary() == "3^4 = 81 paths"
    assert Choices.of(NAMES, 4, {1: ["a"]}, []).summary() == "27 paths"
    assert Choices.of(NAMES, 2, {}, [[1, 2]]).summary() == "3 paths"
    assert Choices.of(NAMES, 1, {1: ["a"]}, []).summary() == "1 path"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"stage_candidates": {5: "a"}}, "stage_candidates names stage 5; the stages are 1 to 3"),
        ({"stage_candidates": {"one": "a"}}, "'one' is no number"),
        ({"stage_candidates": {1: []}}, "must be one or more names"),
        ({"stage_candidates": {1: "mambo"}}, "Did you mean 'mamba'"),
        ({"stage_candidates": {1: "skip"}}, "unknown candidate for a stage 'skip'"),
        ({"stage_candidates": ["a"]}, "stage_candidates must be a mapping"),
        ({"shared_stages": [[1]]}, "two or more stages"),
        ({"shared_stages": [[0, 1]]}, "shared_stages names stage 0"),
        ({"shared_stages": [[1, 2], [2, 3]]}, "shared_stages has stage 2 twice"),
        ({"shared_stages": [1, 2]}, "a group of shared_stages must be a list"),
        ({"shared_stages": [["1", 2]]}, "must be whole numbers"),
        (
            {"stage_candidates": {1: "gpt2", 2: "mamba"}, "shared_stages": [[1, 2]]},
            "stages 1, 2 have no candidate in common",
        ),
        ({"cuts": {"gpt": [0, 1, 2, 3]}}, "unknown component in cuts 'gpt'. Did you mean 'gpt2'"),
        ({"cuts": {"gpt2": [0, 1, 2]}}, "4 layer numbers that rise from 0"),
        ({"cuts": {"gpt2": [0, 2, 2, 4]}}, "4 layer numbers that rise from 0"),
        ({"cuts": {"gpt2": [1, 2, 3, 4]}}, "4 layer numbers that rise from 0"),
        ({"cuts": {"gpt2": "0,1"}}, "cuts of 'gpt2' must be a list"),
    ],
)
def test_invalid_choices_and_cuts_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        mc.SearchSpace(["gpt2", "mamba"], stages=3, **fields)


def test_cuts_of_a_target_model_of_another_depth_are_not_rescaled() -> None:
    model = component("mamba")
    space = mc.SearchSpace(["gpt2", "small"], stages=2, cuts={"small": [0, 1, 4]}).with_components(["gpt2", "mamba"])
    with pytest.raises(ManticoreError, match=r"cuts of 'mamba' end at 4; it has 5 layers\. Cuts are not rescaled"):
        space.layer_boundaries(model)


def test_stage_numbers_may_be_text_and_the_later_value_counts() -> None:
    space = mc.SearchSpace(["gpt2", "mamba"], stages=2, stage_candidates={1: ["gpt2"], "2": "mamba", "1": "mamba"})
    assert space.stage_candidates == {1: ("mamba",), 2: ("mamba",)}
    assert list(space.choices.paths()) == [("mamba", "mamba")]


def test_a_path_of_another_length_or_name_is_refused() -> None:
    choices = Choices.free(NAMES, 2)
    with pytest.raises(ManticoreError, match="the path names 1 stages; the space has 2"):
        choices.check(["a"])
    with pytest.raises(UnknownName, match="candidate for a stage 'c'"):
        choices.check(["a", "c"])
