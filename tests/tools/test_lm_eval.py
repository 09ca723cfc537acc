"""lm-evaluation-harness scores an exported hybrid correctly: from a folder, as an object, and by command."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer

import manticore as mc
from manticore.pipelines.harness_scores import _similar
from tests.helpers.cli import call, refusal
from tests.helpers.text_hybrids import LENGTH, export_hybrid
from tests.helpers.tokenizers import PROSE

pytest.importorskip("lm_eval")
pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]  # warnings of lm-evaluation-harness

QUESTIONS = [
    {"question": "It is a truth", "choices": [" universally", " neighbourhood", " fortune"], "answer": 0},
    {"question": "The surrounding", "choices": [" entering", " families"], "answer": 1},
    {"question": "A single man", "choices": [" in possession", " of such", " a wife", " his"], "answer": 0},
]
PAGES = [PROSE, PROSE[:40], PROSE[100:]]
"""The first is longer than the hybrid has positions."""

TASKS: dict[str, dict[str, Any]] = {
    "pico_choice": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_target": "answer",
        "doc_to_choice": "choices",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "pico_pages": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{page}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
}


@pytest.fixture(scope="module")
def task_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the hybrid, the two tasks as YAML, and their texts."""
    folder = tmp_path_factory.mktemp("lm-eval")
    export_hybrid(folder / "hybrid")
    rows = {"pico_choice": QUESTIONS, "pico_pages": [{"page": page} for page in PAGES]}
    for name, task in TASKS.items():
        file = folder / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows[name]), encoding="utf-8")
        whole = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(file)}}, **task}
        (folder / f"{name}.yaml").write_text(json.dumps({**whole, "test_split": "test"}), encoding="utf-8")
    return folder


def scores(task_folder: Path, model: Any, model_args: str | None = None) -> dict[str, Any]:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    results = simple_evaluate(
        model=model,
        model_args=model_args,
        tasks=list(TASKS),
        task_manager=TaskManager(include_path=str(task_folder), include_defaults=False),
        batch_size=2,
        device="cpu",
        bootstrap_iters=0,
        log_samples=False,
    )
    return summary(results)


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """The three scores in results that the tool returns or writes."""
    return {
        "accuracy": results["results"]["pico_choice"]["acc,none"],
        "bits": results["results"]["pico_pages"]["bits_per_byte,none"],
        "perplexity": results["results"]["pico_pages"]["word_perplexity,none"],
    }


def nats(model: Any, context: list[int], text: list[int]) -> float:
    """The negative log-likelihood of `text` after `context`, from one forward pass."""
    ids = torch.tensor([context + text])
    with torch.no_grad():
        logprobs = model(input_ids=ids[:, :-1]).logits[0].double().log_softmax(-1)
    return -sum(float(logprobs[position - 1, ids[0, position]]) for position in range(len(context), ids.shape[1]))


def expected_scores(folder: Path) -> dict[str, float]:
    """The scores, computed from logits alone. Long pages are scored in windows that do not overlap."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    first_id = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    right = 0
    for row in QUESTIONS:
        question = tokenizer(row["question"])["input_ids"]
        losses = [nats(model, question, tokenizer(choice)["input_ids"]) for choice in row["choices"]]
        right += losses.index(min(losses)) == row["answer"]
    total = 0.0
    for page in PAGES:
        ids = tokenizer(page)["input_ids"]
        before = first_id
        for start in range(0, len(ids), LENGTH):
            window = ids[start : start + LENGTH]
            if len(window) < LENGTH and start:  # the last window is extended to the left
                total += nats(model, ids[len(ids) - LENGTH - 1 : start], window)
            else:
                total += nats(model, [before], window)
            before = window[-1]
    counted = sum(len(page.encode()) for page in PAGES), sum(len(re.split(r"\s+", page)) for page in PAGES)
    return {
        "accuracy": right / len(QUESTIONS),
        "bits": total / math.log(2) / counted[0],
        "perplexity": math.exp(total / counted[1]),
    }


def test_a_folder_and_an_object_have_the_expected_scores(
    task_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from lm_eval.models.huggingface import HFLM

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    hybrid = task_folder / "hybrid"
    from_folder = scores(task_folder, "hf", f"pretrained={hybrid},trust_remote_code=True,dtype=float32")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(hybrid), AutoTokenizer.from_pretrained(hybrid)
    assert HFLM(pretrained=model, tokenizer=tokenizer).max_length == LENGTH
    from_object = scores(task_folder, HFLM(pretrained=model, tokenizer=tokenizer, batch_size=2))
    assert from_folder == pytest.approx(from_object, rel=1e-6)
    assert from_object == pytest.approx(expected_scores(hybrid), rel=1e-4)


def test_the_command_works_where_manticore_cannot_be_imported(task_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text('import sys\nsys.modules["manticore"] = None\n')
    env = {
        "PYTHONPATH": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }

    def python(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *map(str, args)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **env})

    assert "ModuleNotFoundError" in python("-c", "import manticore").stderr
    model = f"pretrained={task_folder / 'hybrid'},trust_remote_code=True,dtype=float32"
    options: list[object] = ["--model", "hf", "--model_args", model]
    options += ["--tasks", ",".join(TASKS), "--include_path", task_folder, "--batch_size", 2, "--device", "cpu"]
    process = python("-m", "lm_eval", *options, "--output_path", tmp_path / "out")
    assert process.returncode == 0, process.stderr[-2000:]
    (file,) = (tmp_path / "out").rglob("results_*.json")
    assert summary(json.loads(file.read_text())) == pytest.approx(expected_scores(task_folder / "hybrid"), rel=1e-4)


def test_evaluate_runs_the_tasks_and_writes_them_to_the_card(
    task_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    hybrid, file = tmp_path / "hybrid", tmp_path / "scores.json"
    shutil.copytree(task_folder / "hybrid", hybrid)
    flags = ["--lm-eval", ",".join(TASKS), "--lm-eval-folder", task_folder]
    status, out, err = call(capsys, "evaluate", hybrid, *flags, "--json", file, "--batch-size", "2")
    assert status == 0, err
    expected = expected_scores(hybrid)
    assert summary({"results": json.loads(file.read_text())}) == pytest.approx(expected, rel=1e-4)
    card = ModelCard.load(hybrid / "README.md")
    in_python = mc.evaluate_lm_eval(hybrid, ["pico_choice"], folder=task_folder, batch_size=2, quiet=True)
    assert in_python["pico_choice"]["acc,none"] == pytest.approx(expected["accuracy"], rel=1e-4)
    values = {(row.dataset_name, row.metric_type): row.metric_value for row in card.data.eval_results}
    assert values["pico_choice", "acc"] == pytest.approx(expected["accuracy"], abs=1e-4)
    assert "## lm-evaluation-harness" in card.text
    assert f"added to the card {hybrid / 'README.md'}" in out
    before = (hybrid / "README.md").read_text("utf-8")
    assert call(capsys, "evaluate", hybrid, *flags, "--limit", "1")[0] == 0
    text = (hybrid / "README.md").read_text("utf-8")
    assert "not a full evaluation" in text
    assert text.split("---")[1] == before.split("---")[1], "a part of a task is no result"
    assert "Did you mean 'pico_choice'?" in refusal(
        capsys, "evaluate", hybrid, "--lm-eval", "pico_choise", "--lm-eval-folder", task_folder
    )


def test_the_nearest_of_thousands_of_tasks_is_named() -> None:
    known = [*(f"arc_aa{number}" for number in range(1000)), "arc_easy", "mmlu"]
    assert _similar("arc_eazy", known)[0] == "arc_easy"
    assert len(_similar("zzz", known)) == 8
