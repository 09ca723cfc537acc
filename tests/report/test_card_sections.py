"""Sections are put into cards once, before limitations; results go into the front matter, each test once."""

from __future__ import annotations

from huggingface_hub import EvalResult, ModelCard

from manticore.report.card_sections import put_results, put_section

CARD = "---\nlibrary_name: transformers\ntags:\n- manticore\n---\n\n# Title\n\nText.\n\n## Limitations\n\n- one\n"


def test_a_section_is_put_before_limitations_and_replaced() -> None:
    once = put_section(CARD, "Scores", "| a |\n")
    assert once.endswith("Text.\n\n## Scores\n\n| a |\n\n## Limitations\n\n- one\n")
    twice = put_section(once, "Scores", "| b |")
    assert twice == once.replace("| a |", "| b |")
    assert put_section("# Title\n", "Scores", "x") == "# Title\n\n## Scores\n\nx\n"


def result(value: float, metric: str = "acc") -> EvalResult:
    return EvalResult(
        task_type="text-generation", dataset_type="arc", dataset_name="arc", metric_type=metric, metric_value=value
    )


def test_results_are_in_the_model_index_once() -> None:
    card = put_results(put_results(CARD, "mine", [result(0.25), result(2.0, "ppl")]), "mine", [result(0.5)])
    data = ModelCard(card).data
    assert data.model_name == "mine"
    assert {entry.metric_type: entry.metric_value for entry in data.eval_results} == {"acc": 0.5, "ppl": 2.0}
    assert data.library_name == "transformers"
    assert card.endswith("# Title\n\nText.\n\n## Limitations\n\n- one\n")
