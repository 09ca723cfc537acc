"""Model cards: the front matter parses, the code compiles, and every source is named."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from manticore.alignment import StageFit
from manticore.alignment.projector_set import ProjectorSet, SetComponent
from manticore.components.licenses import License
from manticore.config.pretrain import PretrainRecipe
from manticore.report.model_card import (
    component_card,
    finetuned_card,
    manual_card,
    pretrain_card,
    projector_card,
    search_card,
)
from manticore.report.rendering import fenced
from manticore.report.run.reading import add_logs, read_run
from manticore.report.run.tables import comparison_table
from manticore.results.search import SearchResult
from manticore.training.metrics import BITS
from manticore.training.scoring import Score
from tests.report.conftest import RECIPE


def front_matter(card: str) -> dict[str, Any]:
    _, matter, _ = card.split("---\n", 2)
    data: dict[str, Any] = yaml.safe_load(matter)
    return data


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n```$", card, flags=re.DOTALL | re.MULTILINE)


def test_front_matter_has_the_fields_of_the_hub(run_folder: Path) -> None:
    data = front_matter(search_card(read_run(run_folder)))
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "text-classification"
    assert {"manticore", "hybrid", "mamba", "gpt-neo"} <= set(data["tags"])
    assert data["metrics"] == ["accuracy"]
    assert data["base_model"] == ["state-spaces/mamba-130m-hf"]
    assert data["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.63}]


def test_card_has_path_table_and_recipe(run_folder: Path) -> None:
    card = search_card(read_run(run_folder))
    assert comparison_table(SearchResult.load(run_folder)).markdown() in card
    assert (run_folder / "recipe.yaml").read_text(encoding="utf-8").rstrip() in blocks(card, "yaml")
    assert "| 1 | mamba | layer 1, carries the stream |" in card
    assert "| 2 | gpt-neo | layers 2–3, reads the stream through P, adds its update through Q |" in card
    assert "| 3 | skip | no layers, leaves the stream unchanged |" in card
    for text in ("gpt-neo (from scratch)", "`1e76775f", "The base model is **mamba**", "2406.00894", "One seed (0)"):
        assert text in card, text
    assert "a search selected one candidate for each stage, and the hybrid on this path was fine-tuned." in card


def test_loading_code_is_python(run_folder: Path) -> None:
    (code,) = blocks(search_card(read_run(run_folder)), "python")
    ast.parse(code)
    assert "AutoModelForSequenceClassification.from_pretrained" in code
    assert "trust_remote_code=True" in code


def test_the_licence_is_that_of_the_pretrained_components(run_folder: Path, result: SearchResult) -> None:
    """Components from scratch have none; a result that does not name one of a pretrained component is unknown."""
    run = read_run(run_folder)
    assert front_matter(card := search_card(run))["license"] == "unknown"
    assert "- **mamba**: unknown" in card
    components = {**result.components, "mamba": replace(result.components["mamba"], license=License(("apache-2.0",)))}
    run = replace(run, result=replace(result, components=components))
    assert front_matter(card := search_card(run))["license"] == "apache-2.0"
    assert "- **mamba**: `apache-2.0`\n\nThis model has the licence of the weights that it was made from." in card
    scratch = component_card(replace(run, result=replace(run.result, best_model="gpt-neo")))
    assert "license" not in front_matter(scratch)
    assert "Licence" not in scratch


def test_card_can_be_written_before_the_metrics_are(run_folder: Path) -> None:
    run = read_run(run_folder)
    (run_folder / "metrics.json").unlink()
    assert search_card(add_logs(run_folder, run.result, run.architecture)) == search_card(run)


def test_card_of_a_component_that_is_better_than_the_hybrid(run_folder: Path, result: SearchResult) -> None:
    data = front_matter(
        card := component_card(replace(read_run(run_folder), result=replace(result, best_model="gpt-neo")))
    )
    assert "base_model" not in data
    assert data["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(0.5322)
    assert "The model is gpt-neo from its first to its last layer." in card
    assert "The model is gpt-neo by itself, trained on lra-listops@short in a search for hybrids." in card
    assert "The hybrid that the search found has an accuracy of 63.0 ± 1.5 %: better than gpt-neo alone (53.2" in card
    assert "Exported beside the hybrid (validation accuracy" in card
    assert "gpt-neo was trained by itself on as many sequences as the hybrid" in card
    path = read_run(run_folder).architecture.summary()
    assert path not in card.partition("## Training")[0], "no path that is not in the folder"


def test_a_component_that_is_its_own_source_is_named_once(run_folder: Path, result: SearchResult) -> None:
    nano = replace(result.components["mamba"], source="mamba", revision=None)
    run = replace(read_run(run_folder), result=replace(result, components={**result.components, "mamba": nano}))
    assert "- **mamba**: 4 layers of width 64" in search_card(run)


def test_card_of_a_language_model_generates_text(run_folder: Path, result: SearchResult) -> None:
    card = search_card(replace(read_run(run_folder), result=replace(result, kind="lm", metric=BITS)))
    assert front_matter(card)["pipeline_tag"] == "text-generation"
    (code,) = blocks(card, "python")
    ast.parse(code)
    assert "AutoModelForCausalLM" in code


def test_names_do_not_break_the_front_matter(make_run: Callable[..., Path]) -> None:
    data = front_matter(search_card(read_run(make_run(task="odd: task\n---"))))
    assert data["model-index"][0]["results"][0]["dataset"]["name"] == "odd: task\n---"


def test_a_path_through_one_component_is_not_called_a_hybrid(make_run: Callable[..., Path]) -> None:
    card = search_card(read_run(make_run(path=["mamba"] * 3)))
    assert "# mamba, trained on lra-listops@short in a search for hybrids" in card
    assert "# A hybrid of gpt-neo and mamba, trained on" in search_card(read_run(make_run()))


def test_the_hub_reads_the_front_matter_of_every_card(run_folder: Path) -> None:
    components = [
        SimpleNamespace(name="one", source="org/one", revision="abc", pretrained=True, license=License(("mit",))),
        SimpleNamespace(name="two", source="two", revision=None, pretrained=True, license=None),
    ]
    recipe = PretrainRecipe(family="mamba")
    cards = [
        search_card(read_run(run_folder)),
        manual_card(components, ["one"], "stage 1 one", "one", "tokens", "Not trained."),  # type: ignore[arg-type]
        pretrain_card(recipe, 1000, 2000, {"a.txt": 2.0, "all": 1.9}),
    ]
    for card, pipeline in zip(cards, ("text-classification", "token-classification", "text-generation"), strict=True):
        data = ModelCard(card).data
        assert data.library_name == "transformers"
        assert data.pipeline_tag == pipeline
    assert (ModelCard(cards[1]).data.license, ModelCard(cards[1]).data.base_model) == ("mit", ["org/one"])
    assert "- **one**: org/one, revision `abc`\n- **two**: two\n" in cards[1]
    assert "| a.txt | 2.000 |\n| all | 1.900 |" in cards[2]
    assert ModelCard(cards[0]).data.eval_results[0].metric_value == 0.63


def test_markdown_has_no_run_of_blank_lines(run_folder: Path) -> None:
    assert "\n\n\n" not in search_card(read_run(run_folder)).replace(RECIPE, "")


def test_finetuning_adds_a_section() -> None:
    scores = (Score(1.1, 0.5, 100), Score(0.9, 0.625, 100))
    card = finetuned_card("# A card\n", "lra-listops", 10, 4, 1234, 0.001, *scores)
    assert card.startswith("# A card\n\n## Fine-tuned further\n\n10 steps of 4 sequences (1,234 tokens) on lra-listops")
    assert card.endswith("on the validation split 50.0 % → 62.5 %.\n")


def test_projector_card_begins_with_its_components() -> None:
    components = dict.fromkeys(("one", "two"), SetComponent("hash", 8, [0, 1, 2]))
    projectors = ProjectorSet("two", 2, {"kind": "linear", "bypass": True}, components, 16640, {})
    fits = [StageFit(0, "one", 0.726, None, 0.1, 0.1, 4.0, 37.8, 21.2, 36.1)]
    card = projector_card(projectors, fits, {"before": 7.0403, "aligned": None}, ["prose.txt"])
    assert card.startswith("# one for the base model two, 2 stages\n")
    assert "`linear` with a bypass, fitted in closed form on 16,640 tokens of prose.txt." in card
    assert "| 1 | one | 0.726 | 4 | – | 37.8 | 21.2 | 36.1 |" in card
    assert "- before: 7.0403 nats per token\n" in card
    assert "aligned:" not in card


def test_a_fence_is_longer_than_those_in_the_code() -> None:
    assert fenced("a\n```\nb", "yaml") == "````yaml\na\n```\nb\n````"
