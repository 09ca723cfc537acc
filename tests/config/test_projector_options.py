"""Options of projectors that a recipe leaves open: those of its projector set, or a bypass between language models."""

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
    """A projector set's description, with other projectors."""
    shutil.copytree(assets.find("projectors", "nano-mamba-base"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "projector": projector}))
    return str(folder)


def test_search_and_align_have_the_same_default() -> None:
    options = AlignCommand(space=SearchSpace(MODELS), text=(Path("a.txt"),), out=Path("out")).projector_options
    assert options == space().projector_options == {"bypass": AlignOptions().bypass}


def test_only_language_models_get_it_and_only_where_there_is_one() -> None:
    assert space(task={"name": "lra-listops"}).projector_options == {}
    assert space(space={"topology": "hub"}).projector_options == {}


@pytest.mark.parametrize(
    "keys", [{"align": {"bypass": False}}, {"space": {"projector_options": {"bypass": False}}}], ids=["align", "space"]
)
def test_it_can_be_left_out(keys: dict[str, Any]) -> None:
    assert space(**keys).projector_options == {"bypass": False}


def test_other_options_stay() -> None:
    chosen = space(space={"projector": "low-rank", "projector_options": {"rank": 3}})
    assert (chosen.projector, chosen.projector_options) == ("low-rank", {"bypass": True, "rank": 3})


def test_a_projector_set_brings_its_kind_and_options(tmp_path: Path) -> None:
    assert space(align={"projectors": "nano-mamba-base"}).projector_options == {"bypass": True}
    plain = projector_set(tmp_path / "plain", kind="linear")
    assert space(align={"projectors": plain}).projector_options == {"bypass": False}
    low_rank = space(align={"projectors": projector_set(tmp_path / "low", kind="low-rank", rank=5, bypass=True)})
    assert (low_rank.projector, low_rank.projector_options) == ("low-rank", {"rank": 5, "bypass": True})


def test_what_the_recipe_says_stays_beside_a_set() -> None:
    chosen = space(space={"projector": "low-rank"}, align={"projectors": "nano-mamba-base"})
    assert (chosen.projector, chosen.projector_options) == ("low-rank", {}), "reported by the search"
    wanted = {"space": {"projector_options": {"bypass": False}}, "align": {"projectors": "nano-mamba-base"}}
    assert space(**wanted).projector_options == {"bypass": False}


def test_a_set_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown projector set 'nano-mamba'\. Did you mean 'nano-mamba-base'\?"):
        space(align={"projectors": "nano-mamba"})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadFile, match="not a projector set"):
        space(align={"projectors": str(tmp_path)})


def test_a_recipe_says_what_was_chosen(tmp_path: Path) -> None:
    recipe = load_recipe(None, {"task": {"name": "text"}, "space": {"components": MODELS}}).recipe
    recipe.save(tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml", {}).recipe == recipe
    assert "bypass: true" in (tmp_path / "recipe.yaml").read_text()
