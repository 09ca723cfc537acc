"""The benchmark of kills, in its short form."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from manticore.experiment.run_dir import RunDir
from tests.helpers.pico_study import recipe

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "reliability.py"


@pytest.mark.e2e
def test_a_search_that_is_killed_at_random_moments_has_the_same_result(tmp_path: Path, own_cache: Path) -> None:
    found = runpy.run_path(str(SCRIPT))["measure"](tmp_path / "runs", kills=3)
    assert (found["kills"], found["different"]) == (3, [])


def test_partial_files_of_a_killed_run_are_removed_when_it_is_resumed(tmp_path: Path) -> None:
    part, whole = tmp_path / "checkpoints" / ".search.ckpt.abc.part", tmp_path / "checkpoints" / "search.ckpt"
    folder = tmp_path / ".hybrid.abc.part"
    folder.mkdir()
    part.parent.mkdir()
    for file in (part, whole, folder / "model.safetensors"):
        file.write_text("x")
    RunDir(tmp_path).create(recipe())
    assert (part.exists(), folder.exists(), whole.exists()) == (False, False, True)
