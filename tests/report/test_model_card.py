"""The card: its front matter parses, its code compiles, and it says where everything is from."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from manticore.report.model_card import model_card
from manticore.report.run.tables import comparison_table
from manticore.results.search import SearchResult
from manticore.training.metrics import BITS


def front_matter(card: str) -> dict[str, Any]:
    _, matter, _ = card.split("---\n", 2)
    held: dict[str, Any] = yaml.safe_load(matter)
    return held


def blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)\n```$", card, flags=re.DOTALL | re.MULTILINE)


def test_front_matter_is_what_the_hub_reads(run_folder: Path) -> None:
    held = front_matter(model_card(run_folder))
    assert held["library_name"] == "transformers"
    assert held["pipeline_tag"] == "text-classification"
    assert {"manticore", "hybrid", "mamba", "gpt-neo"} <= set(held["tags"])
    assert held["metrics"] == ["accuracy"]
    assert held["base_model"] == ["state-spaces/mamba-130m-hf"]
    assert held["model-index"][0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.63}]


def test_card_tells_the_whole_story(run_folder: Path) -> None:
    card = model_card(run_folder)
    assert comparison_table(SearchResult.load(run_folder)).markdown() in card
    assert (run_folder / "recipe.yaml").read_text(encoding="utf-8").rstrip() in blocks(card, "yaml")
    assert "| 1 | mamba | layer 1, carries the stream |" in card
    assert "| 2 | gpt-neo | layers 2–3, reads the stream through P, adds its update through Q |" in card
    assert "| 3 | skip | no layers, the stream passes untouched |" in card
    for said in ("gpt-neo (from scratch)", "`1e76775f", "Base is **mamba**", "2406.00894", "One seed (0)"):
        assert said in card, said


def test_loading_code_is_python(run_folder: Path) -> None:
    (code,) = blocks(model_card(run_folder), "python")
    ast.parse(code)
    assert "AutoModelForSequenceClassification.from_pretrained" in code
    assert "trust_remote_code=True" in code


def test_card_can_be_written_before_the_metrics_are(run_folder: Path) -> None:
    expected = model_card(run_folder)
    result = SearchResult.load(run_folder)
    (run_folder / "metrics.json").unlink()
    assert model_card(run_folder, result) == expected


def test_exported_component_is_the_subject(run_folder: Path, result: SearchResult) -> None:
    held = front_matter(card := model_card(run_folder, replace(result, exported="gpt-neo")))
    assert "base_model" not in held
    assert held["model-index"][0]["results"][0]["metrics"][0]["value"] == pytest.approx(0.5322)
    assert "The exported model is gpt-neo from its first layer to its last." in card


def test_language_model_generates(run_folder: Path, result: SearchResult) -> None:
    card = model_card(run_folder, replace(result, kind="lm", metric=BITS))
    assert front_matter(card)["pipeline_tag"] == "text-generation"
    (code,) = blocks(card, "python")
    ast.parse(code)
    assert "AutoModelForCausalLM" in code


def test_names_do_not_break_the_front_matter(make_run: Callable[..., Path]) -> None:
    held = front_matter(model_card(make_run(task="odd: task\n---")))
    assert held["model-index"][0]["results"][0]["dataset"]["name"] == "odd: task\n---"


def test_a_path_of_one_component_is_not_called_a_hybrid(make_run: Callable[..., Path]) -> None:
    assert "# mamba, trained on lra-listops@short in a search for hybrids" in model_card(make_run(path=["mamba"] * 3))
    assert "# A hybrid of gpt-neo and mamba, trained on" in model_card(make_run())
