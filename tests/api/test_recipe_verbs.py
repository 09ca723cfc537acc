"""Functions that run recipes: the same recipe as the command line makes, and the same results."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoConfig, GPTNeoForCausalLM

import manticore as mc
from manticore.cli import main
from manticore.config.recipe import Recipe
from manticore.config.sections import FinetuneOptions
from manticore.errors import ManticoreError
from manticore.pipelines import compare, search, transfer
from manticore.results.study import StudyResult
from manticore.results.transfer import TransferResult
from manticore.tasks.options import TaskOptions

SPACE = mc.SearchSpace(["gpt-neo-nano", "mamba-nano"], stages=5)


@pytest.fixture
def recipe_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Recipe]:
    """The recipe that a call of `search` runs; nothing is run."""
    recipes: list[Recipe] = []

    def run(recipe: Recipe, *arguments: Any) -> None:
        recipes.append(recipe)

    monkeypatch.setattr(search, "run", run)
    monkeypatch.setattr("manticore.api.verbs.Result", lambda run, trust_code: run)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: Any, **options: Any) -> Recipe:
        if arguments and arguments[0] == "search":
            assert main([str(argument) for argument in arguments]) == 0
        else:
            mc.search(*arguments, **options)
        return recipes.pop()

    return call


@pytest.mark.parametrize(
    ("typed", "arguments"),
    [
        (
            ["--models", "gpt-neo,mamba", "--task", "lra-listops"],
            {"models": ["gpt-neo", "mamba"], "task": "lra-listops"},
        ),
        (["--space", "gpt-neo+mamba"], {"space": "gpt-neo+mamba"}),
        (
            [
                "--models",
                "gpt-neo,mamba",
                "--stages",
                2,
                "--preset",
                "paper",
                "--strategy",
                "simultaneous",
                "--seed",
                4,
            ],
            {"models": ["gpt-neo", "mamba"], "stages": 2, "preset": "paper", "strategy": "simultaneous", "seed": 4},
        ),
        (
            ["--models", "gpt-neo-nano,mamba-nano", "--task", "text", "--data-dir", "notes", "--base", "mamba-nano"],
            {"models": ["gpt-neo-nano", "mamba-nano"], "task": "text", "data_dir": Path("notes"), "base": "mamba-nano"},
        ),
        (
            ["--models", "gpt-neo,mamba", "--set", "search.steps=900", "--set", "task.train=50"],
            {"models": ["gpt-neo", "mamba"], "search": {"steps": 900}, "task": {"train": 50}},
        ),
        (
            ["--space", "gpt-neo+mamba", "--set", "finetune.steps=9", "--set", "finetune.weights.lr=1e-05"],
            {"space": "gpt-neo+mamba", "set": {"finetune.steps": 9, "finetune.weights.lr": 1e-5}},
        ),
    ],
)
def test_the_recipe_is_that_of_the_command_line(
    recipe_of: Callable[..., Recipe], typed: list[object], arguments: dict[str, Any]
) -> None:
    assert recipe_of(**arguments) == recipe_of("search", *typed)


def test_options_are_taken_as_objects(recipe_of: Callable[..., Recipe]) -> None:
    options = TaskOptions("lra-listops", "cpu", train=50)
    recipe = recipe_of(mc.SearchSpace(["gpt-neo", "mamba"], skip=True), options, finetune=FinetuneOptions(steps=7))
    assert (recipe.task, recipe.space.skip, recipe.finetune) == (options, True, FinetuneOptions(steps=7))


def test_a_space_made_in_python_gets_no_bypass(recipe_of: Callable[..., Recipe]) -> None:
    bypass = "bypass"
    assert not recipe_of(SPACE, "text").space.projector_options[bypass]
    asked = mc.SearchSpace(["gpt-neo-nano", "mamba-nano"], stages=5, projector_options={bypass: True})
    assert recipe_of(asked, "text").space.projector_options[bypass]
    assert recipe_of(SPACE, "text", align={bypass: True}).space.projector_options[bypass]
    assert recipe_of(models=["gpt-neo-nano", "mamba-nano"], task="text").space.projector_options[bypass]
    Path("mine.yaml").write_text("align: {bypass: true}\ntask: {name: text}\n", encoding="utf-8")
    assert recipe_of(SPACE, config="mine.yaml").space.projector_options[bypass]


def test_model_objects_are_saved_beside_the_run(recipe_of: Callable[..., Recipe], tmp_path: Path) -> None:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 20, "n_positions": 2048}
    model = GPT2LMHeadModel(GPT2Config(**sizes))
    recipe = recipe_of(models=[mc.ComponentSpec(model=model, name="mine"), "mamba"], stages=2, out="out/run")
    saved = tmp_path / "out" / "run.components" / "mine"
    assert recipe.space.components[0].source == str(saved)
    assert (saved / "config.json").is_file()
    layers = [[["global", "local"], 1]]
    neo = GPTNeoForCausalLM(GPTNeoConfig(hidden_size=16, num_layers=2, num_heads=2, attention_types=layers))
    assert recipe_of(mc.SearchSpace([neo, "mamba"])).space.names == ("GPTNeoForCausalLM", "mamba")
    with pytest.raises(ManticoreError, match="unknown topology 'hubb'"):
        recipe_of(models=[mc.ComponentSpec(model=model, name="mine"), "mamba"], out="other", topology="hubb")
    assert not (tmp_path / "other.components").exists()


def test_a_resumed_run_needs_its_folder_only(recipe_of: Callable[..., Recipe], pico_run: Path) -> None:
    assert recipe_of(out=pico_run, resume=True) == mc.Result.load(pico_run).recipe


def test_a_task_by_default_is_announced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(search, "run", lambda *arguments: None)
    for named in ((), ("--task", "lra-listops"), ("--set", "task.name=lra-listops"), ("--config", "search/paper")):
        assert main(["search", "--models", "gpt-neo,mamba", *named]) == 0
        announced = "no task is named: the default is lra-listops; --task names another" in capsys.readouterr().out
        assert announced == (not named)


KEYS: dict[str, Any] = {
    "task": {"train": 96, "val": 40, "test": 40},
    "scratch": {"attention": {"width": 16, "heads": 2}, "recurrent": {"width": 16}},
    "search": {"steps": 4, "warmup_steps": 2, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "finetune": {"steps": 4, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "run": {"device": "cpu"},
}
COMMON: dict[str, Any] = {
    "models": ["gpt-neo", "mamba"],
    "stages": 2,
    "preset": "cpu",
    "seeds": 1,
    "learning_rates": [0.004],
    "quiet": True,
    **{key: value for key, value in KEYS.items() if key != "task"},
}
TASK = "mad-in-context-recall@seq_len=8,vocab_size=8"


@pytest.mark.e2e
@pytest.mark.usefixtures("cached")
def test_a_comparison_returns_its_result(tmp_path: Path) -> None:
    task = {"name": TASK, **KEYS["task"]}
    result = mc.compare(task=task, out=tmp_path / "out", baselines=["components"], budgets=["tokens"], **COMMON)
    assert isinstance(result, StudyResult)
    assert result == StudyResult.load(tmp_path / "out")
    assert (len(result.tasks), result.seeds, result.components) == (1, (0,), ("gpt-neo", "mamba"))
    assert mc.report(tmp_path / "out") == tmp_path / "out" / "report.html"


@pytest.mark.e2e
@pytest.mark.usefixtures("cached")
def test_a_transfer_returns_its_result(tmp_path: Path) -> None:
    task = {"name": "mad-compression@seq_len=6,vocab_size=6", **KEYS["task"]}
    result = mc.transfer(proxy=TASK, task=task, out=tmp_path / "out", **COMMON)
    assert isinstance(result, TransferResult)
    assert json.loads((tmp_path / "out" / "transfer.json").read_text())["path"] == list(result.path)


def test_families_and_several_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(compare, "run", lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(transfer, "run", lambda *arguments: calls.append(arguments))
    mc.compare("gpt-neo+mamba", ["mad-compression", "lra-listops"], out=tmp_path, workers=2)
    mc.compare("gpt-neo+mamba", "mad", out=tmp_path)
    mc.transfer("gpt-neo+mamba", proxy=["mad-compression"], task="lra-listops", data_dir="files", out=tmp_path)
    data = mc.task([(f"text {number}", "odd" if number % 2 else "even") for number in range(40)], seed=3)
    mc.compare("gpt-neo+mamba", data, out=tmp_path / "own")
    mc.transfer("gpt-neo+mamba", proxy="mad-compression", task=data, out=tmp_path / "own")
    (two, out, crew, _), (family, *_), (proxies, target, *_), ((own,), *_), ((proxy,), own_target, *_) = calls
    assert own.task == own_target.task
    assert (own.task.name, own.task.seed, own.task.data_dir) == ("labelled", 3, str(tmp_path / "own.data" / "own"))
    assert (proxy.task.name, proxy.task.seed, proxy.task.data_dir) == ("mad-compression", 3, None)
    assert ([recipe.task.name for recipe in two], out, crew.workers) == (
        ["mad-compression", "lra-listops"],
        tmp_path,
        2,
    )
    assert len(family) == 6
    assert ([recipe.task.data_dir for recipe in proxies], target.task.data_dir) == ([None], "files")
