"""Law 9 for files: every shipped asset loads, under each of its presets, and has a unique name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manticore.cli import main
from manticore.components import CATALOG
from manticore.components.loading import load, scratch_config
from manticore.components.spec import ComponentSpec
from manticore.components.tokenizers import fingerprint
from manticore.config.loading import load_recipe, read_yaml
from manticore.config.pretrain import pretrain_recipe
from manticore.nas.projector_checks import check_projector
from manticore.nas.space import SearchSpace
from manticore.pipelines.assets import listing
from manticore.tasks.catalog import load_task
from manticore.utils import assets
from manticore.utils.fields import field_helps

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", assets.names("models"))
def test_a_shipped_model_agrees_with_its_recipe_and_card(name: str) -> None:
    folder = assets.find("models", name)
    model, recipe = load(ComponentSpec(name)), pretrain_recipe([read_yaml(assets.find("configs", f"pretrain/{name}"))])
    assert pretrain_recipe([read_yaml(folder / "pretrain.yaml")]) == recipe
    assert (model.pretrained, model.source, model.width, model.depth) == (
        True,
        name,
        recipe.size.width,
        recipe.size.layers,
    )
    assert model.tokenizer is not None
    assert len(model.tokenizer) == model.config.vocab_size == recipe.vocabulary
    score = re.search(r"^\| all \| ([\d.]+) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert score is not None
    assert float(score[1]) < 2.0, "held-out bits per byte"


def test_the_shipped_models_share_a_tokenizer_and_are_small() -> None:
    tokenizers = [load(ComponentSpec(name)).tokenizer for name in assets.names("models")]
    assert len({fingerprint(tokenizer) for tokenizer in tokenizers if tokenizer is not None}) == 1
    files = [file for name in assets.names("models") for file in assets.find("models", name).glob("*.safetensors")]
    assert len(files) == len(tokenizers) == 2
    assert sum(file.stat().st_size for file in files) < 30e6


def test_there_are_no_other_files_beside_the_assets() -> None:
    for kind, folder in (("spaces", "search_spaces"), ("configs", "configs")):
        others = [file for file in (ROOT / folder).rglob("*") if file.is_file() and file.suffix != ".yaml"]
        assert [file.name for file in others] in ([], ["README.md"]), others
        assert len(assets.names(kind)) == len(list((ROOT / folder).rglob("*.yaml"))) > 0


def test_names_are_unique() -> None:
    kinds = {kind: assets.names(kind) for kind in assets.FOLDERS}
    all_names = [name for names in kinds.values() for name in names] + list(CATALOG) + ["recipe"]
    assert len(set(all_names)) == len(all_names)
    assert all(f"  {name}" in listing(None) for name in all_names if name != "recipe")


@pytest.mark.parametrize(
    "file", [*ROOT.glob("search_spaces/*.yaml"), *ROOT.glob("configs/**/*.yaml")], ids=lambda f: f.stem
)
def test_each_asset_is_valid_and_has_a_description(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(file)]) == 0
    assert "recipe" in capsys.readouterr().out or "search_spaces" in str(file)
    assert file.read_text().startswith("# "), "`ls` shows the first line"


@pytest.mark.parametrize("name", assets.names("spaces"))
def test_a_space_names_known_models_at_pinned_revisions(name: str) -> None:
    space = SearchSpace.load(assets.find("spaces", name))
    check_projector(space.projector, space.projector_options)
    for spec in space.components:
        assert spec.source in assets.names("models") or CATALOG[spec.source].revision == spec.revision
    assert SearchSpace.from_dict(space.to_dict()) == space


def is_shipped(spec: ComponentSpec) -> bool:
    """Whether the weights of a component are shipped. Models in other packages are tested by hand, where installed."""
    return spec.source not in CATALOG or CATALOG[spec.source].packaged is None


@pytest.mark.parametrize("preset", ["cpu", "paper"])
@pytest.mark.parametrize("name", [name for name in assets.names("configs") if name.startswith("search/")])
def test_a_recipe_can_be_built_under_each_preset(name: str, preset: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, {"task": {"preset": preset}}).recipe
    task = load_task(recipe.task)
    stages = recipe.space.stages
    for spec in recipe.space.components:
        if task.kind == "lm":
            if not is_shipped(spec):
                continue
            assert load(spec).layer_boundaries(stages)
            continue
        sizes = recipe.scratch
        from manticore.components import Scratch

        scratch = Scratch(sizes.attention, sizes.recurrent, task.vocabulary.size, task.max_length)
        config = scratch_config(spec, scratch)
        assert config.num_hidden_layers >= stages
        if preset == "cpu":
            assert load(spec, scratch).layer_boundaries(stages)
    recipe.save(tmp_path / "recipe.yaml")
    loaded = load_recipe(tmp_path / "recipe.yaml", {}).recipe
    assert loaded == recipe


def test_help_comes_from_the_strings_under_the_fields() -> None:
    from dataclasses import fields

    from manticore.components import BlockSize
    from manticore.config.recipe import Recipe
    from manticore.config.sections import RunOptions
    from manticore.nas.options import AlphaOptions
    from manticore.training.options import SearchOptions, WeightOptions

    for kind in (Recipe, RunOptions, SearchOptions, AlphaOptions, WeightOptions, BlockSize):
        helps = field_helps(kind)
        assert {field.name for field in fields(kind)} == set(helps), kind
        assert all((text.endswith(".") and text[0].isupper()) or text.startswith("auto") for text in helps.values())
