"""Default options of projectors: those of the projector set, or else a bypass between language models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from manticore.config.commands import AlignCommand
from manticore.config.loading import load_recipe, merge
from manticore.config.sections import AlignOptions
from manticore.errors import BadFile, UnknownName
from manticore.nas.space import SearchSpace
from manticore.utils import assets

MODELS = ["gpt-neo-nano", "mamba-nano"]


def space(**keys: Any) -> SearchSpace:
    """The search space of a text recipe with some keys."""
    return load_recipe(None, merge({"task": {"name": "text"}, "space": {"components": MODELS}}, keys)).recipe.space


def projector_set(folder: Path, **projector: Any) -> str:
    """A copy of a projector set with another projector in its config."""
    shutil.copytree(assets.find("projectors", "nano-mamba-base"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "projector": projector}))
    return str(folder)


def test_search_and_align_have_the_same_default() -> None:
    options = AlignCommand(space=SearchSpace(MODELS), text=(Path(__file__),), out=Path("out")).projector_options
    assert options == space().projector_options == {"bypass": AlignOptions().bypass}


def test_only_language_models_in_the_residual_topology_have_a_bypass() -> None:
    assert space(task={"name": "lra-listops"}).projector_options == {}
    assert space(space={"topology": "hub"}).projector_options == {}


@pytest.mark.parametrize(
    "keys", [{"align": {"bypass": False}}, {"space": {"projector_options": {"bypass": False}}}], ids=["align", "space"]
)
def test_the_bypass_can_be_switched_off(keys: dict[str, Any]) -> None:
    assert space(**keys).projector_options == {"bypass": False}


def test_other_options_are_kept() -> None:
    chosen = space(space={"projector": "low-rank", "projector_options": {"rank": 3}})
    assert (chosen.projector, chosen.projector_options) == ("low-rank", {"bypass": True, "rank": 3})


def test_a_projector_set_determines_kind_and_options(tmp_path: Path) -> None:
    assert space(align={"projectors": "nano-mamba-base"}).projector_options == {"bypass": True}
    plain = projector_set(tmp_path / "plain", kind="linear")
    assert space(align={"projectors": plain}).projector_options == {"bypass": False}
    low_rank = space(align={"projectors": projector_set(tmp_path / "low", kind="low-rank", rank=5, bypass=True)})
    assert (low_rank.projector, low_rank.projector_options) == ("low-rank", {"rank": 5, "bypass": True})


def test_settings_of_the_recipe_have_priority_over_a_set() -> None:
    chosen = space(space={"projector": "low-rank"}, align={"projectors": "nano-mamba-base"})
    assert (chosen.projector, chosen.projector_options) == ("low-rank", {}), "reported by the search"
    keys = {"space": {"projector_options": {"bypass": False}}, "align": {"projectors": "nano-mamba-base"}}
    assert space(**keys).projector_options == {"bypass": False}


def test_a_missing_or_damaged_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown projector set 'nano-mamba'\. Did you mean 'nano-mamba-base'\?"):
        space(align={"projectors": "nano-mamba"})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadFile, match="not a projector set"):
        space(align={"projectors": str(tmp_path)})


def test_a_saved_recipe_has_the_resolved_options(tmp_path: Path) -> None:
    recipe = load_recipe(None, {"task": {"name": "text"}, "space": {"components": MODELS}}).recipe
    recipe.save(tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml", {}).recipe == recipe
    assert "bypass: true" in (tmp_path / "recipe.yaml").read_text()
