"""Strategies in whole searches: three components with skip, unlike tokenizers, both topologies, and a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import manticore as mc
from manticore.errors import ManticoreError
from tests.helpers.toy_task import NAME, QUICK

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("toy_task")]

NEW = ["blockwise", "complexity-bins", "head-wise", "mixture-of-supernets", "per-example", "sdarts-adversarial"]
BASELINES = {"components": False, "uniform": False, "random": False}


def search(space: mc.SearchSpace, strategy: str, out: Path, resume: bool = False) -> mc.Result:
    sections: dict[str, Any] = {**QUICK, "search": {**QUICK["search"], "strategy": strategy}}
    return mc.search(space, NAME, out=out, resume=resume, quiet=True, baselines=BASELINES, **sections)


@pytest.mark.parametrize("strategy", NEW)
def test_three_components_and_skip(strategy: str, tmp_path: Path) -> None:
    space = mc.SearchSpace(["gpt-neo", "mamba", "mamba2"], stages=2, base="mamba", skip=True)
    result = search(space, strategy, tmp_path / "run")
    space.choices.check(result.path)
    assert set(result.path) != {"skip"}
    (result.folder / "metrics.json").unlink()
    again = search(space, strategy, tmp_path / "run", resume=True)
    assert again.path == result.path
    assert again.metrics.rows == result.metrics.rows
    supernet = again.supernet()
    assert torch.equal(supernet.weights(), result.supernet().weights())


@pytest.mark.parametrize("strategy", NEW)
def test_the_hub_is_searched_or_refused_in_one_line(strategy: str, tmp_path: Path) -> None:
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, topology="hub")
    if strategy == "sdarts-adversarial":
        space.choices.check(search(space, strategy, tmp_path / "run").path)
        return
    with pytest.raises(ManticoreError, match="use darts") as error:
        search(space, strategy, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()
