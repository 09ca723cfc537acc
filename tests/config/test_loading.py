"""Which keys of a recipe file apply to the task that the flags name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    ("task", "search", "settings", "shorter"),
    [
        ({}, {}, {"max_depth": 4}, True),
        ({}, {"strategy": "uniform"}, {"max_depth": 4}, True),
        ({}, {"strategy": "halving"}, {}, False),
        ({"name": "lra-listops@max_length=40"}, {}, {}, False),
        ({"data_dir": "listops"}, {}, {}, False),
        ({"name": "lra-listops@max_length=40"}, {"task_settings": {"max_length": 12}}, {"max_length": 12}, False),
    ],
)
def test_the_search_of_a_variant_is_that_of_the_recipe_only_for_its_own_task(
    task: dict[str, str], search: dict[str, Any], settings: dict[str, int], shorter: bool, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    loaded = load_recipe(tmp_path / "recipe.yaml", {"task": {"preset": "cpu", **task}, "search": search}).recipe.search
    assert (loaded.task_settings, loaded.shorter_sequences) == (settings, shorter)
