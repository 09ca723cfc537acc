"""Which keys of a recipe file apply to the task that the flags name."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.config.loading import load_recipe

RECIPE = """
task: {name: lra-listops}
space: {components: [gpt-neo, mamba], stages: 2}
presets:
  cpu:
    search: {shorter_sequences: true, task_settings: {max_depth: 4}}
"""


@pytest.mark.parametrize(
    ("task", "overrides", "settings", "shorter"),
    [
        ({}, {}, {"max_depth": 4}, True),
        ({"name": "lra-listops@max_length=40"}, {}, {}, True),
        ({"data_dir": "listops"}, {}, {}, False),
        ({"name": "lra-listops@max_length=40"}, {"max_length": 12}, {"max_length": 12}, True),
    ],
)
def test_the_search_of_a_variant_is_that_of_the_recipe_only_for_its_own_task(
    task: dict[str, str], overrides: dict[str, int], settings: dict[str, int], shorter: bool, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    flags = {"task": {"preset": "cpu", **task}, "search": {"task_settings": overrides} if overrides else {}}
    search = load_recipe(tmp_path / "recipe.yaml", flags).recipe.search
    assert (search.task_settings, search.shorter_sequences) == (settings, shorter)
