"""Which keys of a recipe file apply to the task that the flags name."""

from __future__ import annotations

import pytest

from manticore.config.loading import load_recipe


@pytest.mark.parametrize(
    ("task", "overrides", "settings"),
    [
        ({}, {}, {"min_length": 4, "max_length": 21}),
        ({"name": "lra-listops@max_length=40"}, {}, {}),
        ({"data_dir": "listops"}, {}, {}),
        ({"name": "lra-listops@max_length=40"}, {"max_length": 12}, {"max_length": 12}),
    ],
)
def test_the_search_of_a_variant_is_that_of_the_recipe_only_for_its_own_task(
    task: dict[str, str], overrides: dict[str, int], settings: dict[str, int]
) -> None:
    flags = {"task": {"preset": "cpu", **task}, "search": {"task_settings": overrides} if overrides else {}}
    assert load_recipe("search/lra-listops", flags).recipe.search.task_settings == settings
