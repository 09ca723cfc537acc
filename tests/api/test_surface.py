"""The functions of Python have the arguments and the defaults of the commands, name by name."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import manticore as mc
from manticore.alignment.projector_set import ProjectorSet
from manticore.api.arguments import section_keys
from manticore.cli import parser
from manticore.cli.options import _REQUIRED, _find_field
from manticore.config import commands, flags, model_commands
from manticore.config.flags import argument_name, assignments, command_options
from manticore.config.grow import GrowCommand
from manticore.config.sections import FinetuneOptions, RunOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.tasks.data import TaskSource
from manticore.tasks.options import TaskOptions

VERBS: dict[str, tuple[type, Mapping[str, str]]] = {
    "search": (commands.SearchCommand, flags.SEARCH),
    "plan": (commands.PlanCommand, flags.PLAN),
    "compare": (commands.CompareCommand, flags.COMPARE),
    "transfer": (commands.TransferCommand, flags.TRANSFER),
    "pretrain": (commands.PretrainCommand, flags.PRETRAIN),
    "align": (commands.AlignCommand, flags.ALIGN),
    "grow": (GrowCommand, flags.GROW),
    "finetune": (commands.FinetuneCommand, flags.FINETUNE),
    "evaluate": (commands.EvaluateCommand, flags.EVALUATE),
    "generate": (model_commands.GenerateCommand, flags.GENERATE),
    "export": (model_commands.ExportCommand, flags.EXPORT),
    "report": (model_commands.ReportCommand, flags.REPORT),
    "select": (model_commands.SelectCommand, flags.SELECT),
}

COMMAND_ONLY = {"evaluate": flags.EVALUATE_OTHERS, "report": flags.WATCH}
"""Flags that only the command has."""

PYTHON_ONLY = {"quiet", "sections", "on_text", "callbacks", "logger", "trainer", "tokenizer"}
"""What only Python has: no output, sections of a recipe as objects, functions, parts of a Trainer, tokenizers."""


def arguments_of(verb: str) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(getattr(mc, verb)).parameters)


@pytest.mark.parametrize("verb", VERBS)
def test_arguments_are_the_flags_by_name(verb: str) -> None:
    expected = {argument_name(flag) for flag in VERBS[verb][1]}
    assert set(arguments_of(verb)) - (PYTHON_ONLY - expected) == expected


@pytest.mark.parametrize("verb", VERBS)
def test_defaults_are_those_of_the_flags(verb: str) -> None:
    kind, table = VERBS[verb]
    for flag, key in table.items():
        _, _, default, recipe_key = _find_field(kind, key)
        argument = arguments_of(verb)[argument_name(flag)]
        if recipe_key:  # what the recipe says
            assert argument.default is None, flag
        elif default is _REQUIRED:
            assert argument.default is inspect.Parameter.empty, flag
        else:
            assert argument.default == default, flag


@pytest.mark.parametrize("verb", VERBS)
def test_the_command_line_has_the_flags_of_the_table(verb: str) -> None:
    subparsers = next(action for action in parser()._actions if action.choices)
    assert isinstance(subparsers.choices, dict)
    actions = subparsers.choices[verb].complete()._actions
    typed = {max(action.option_strings, key=len, default=action.dest) for action in actions} - {"--help"}
    assert {flag.replace("--no-", "--") for flag in typed} == set(VERBS[verb][1]) | set(COMMAND_ONLY.get(verb, ()))


def test_the_other_scores_have_the_flags_of_evaluate() -> None:
    shared = {"model", "batch_size", "set", "json", "trust_code", "quiet", "tokenizer"}
    assert set(arguments_of("evaluate_generation")) == shared | {"lengths", "examples"}
    assert set(arguments_of("evaluate_lm_eval")) == shared | {"tasks", "folder", "limit"}
    for verb in ("evaluate_generation", "evaluate_lm_eval"):
        for name in ("lengths", "examples", "limit", "json", "trust_code"):
            if name in arguments_of(verb):
                assert arguments_of(verb)[name].default == getattr(commands.EvaluateCommand, name)
    with pytest.raises(ManticoreError, match="tasks is empty"):
        mc.evaluate_lm_eval("gpt-neo-nano", [])


@pytest.mark.parametrize("verb", [*VERBS, "evaluate_generation", "evaluate_lm_eval"])
def test_every_argument_has_a_help(verb: str) -> None:
    function: Any = getattr(mc, verb)
    text = inspect.getdoc(getattr(function, "function", function)) or ""
    described = {name.strip() for line in text.splitlines() for name in line.strip().partition(":")[0].split(",")}
    assert set(arguments_of(verb)) <= described


def test_all_verbs_are_names_of_the_package() -> None:
    assert set(VERBS) <= set(dir(mc))
    assert all(callable(getattr(mc, verb)) for verb in VERBS)


def test_every_public_name_is_on_the_page_of_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "python" / "index.md").read_text(encoding="utf-8")
    shown = {line.rpartition(".")[2] for line in page.splitlines() if line.startswith("::: ")}
    assert set(dir(mc)) - {"__version__"} <= {*shown, "nn"}


@pytest.mark.e2e
def test_a_verb_named_like_a_package_stays_callable_when_the_package_is_imported() -> None:
    program = (
        "import manticore as mc, manticore.export.load, manticore.report.table\n"
        "from manticore.errors import ManticoreError\n"
        "assert mc.export.load and mc.report.table\n"
        "for call in (lambda: mc.export('nowhere', out='x'), lambda: mc.report('nowhere')):\n"
        "    try: call()\n"
        "    except ManticoreError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "no such folder: nowhere; export takes the folder of a finished search, or --models and --path",
        "no such folder: nowhere; report takes a run folder, or the --out of compare or transfer",
    ], done.stderr


def test_options_are_read_like_flags(tmp_path: Path) -> None:
    arguments = dict.fromkeys(map(argument_name, flags.FINETUNE))
    given = {"hybrid": tmp_path, "out": "out", "steps": 3, "lr": 1, "set": assignments({"run.threads": 2})}
    options = command_options(commands.FinetuneCommand, flags.FINETUNE, {**arguments, **given})
    training = FinetuneOptions(steps=3, weights=replace(FinetuneOptions.weights, lr=1.0))
    assert options == commands.FinetuneCommand(
        hybrid=tmp_path, out=Path("out"), finetune=training, overrides=("run.threads=2",)
    )
    with pytest.raises(ManticoreError, match=r"finetune\.steps must be a whole number of at least 1, got 0"):
        command_options(commands.FinetuneCommand, flags.FINETUNE, {**arguments, **given, "steps": 0})


def test_settings_are_written_as_the_flag_takes_them() -> None:
    assert assignments({"search.steps": 3, "study.learning_rates": (1e-5, 0.1), "space.base": None}) == (
        "search.steps=3",
        "study.learning_rates=[1e-05, 0.1]",
        "space.base=null",
    )
    assert assignments({"search.steps": np.int64(3), "align.projectors": Path("sets/a")}) == (
        "search.steps=3",
        'align.projectors="sets/a"',
    )
    assert assignments("a=b") == assignments(["a=b"]) == ("a=b",)


def test_a_task_is_a_name_a_mapping_or_options() -> None:
    assert TaskSource.of(None).keys == {}
    assert TaskSource.of("text").keys == {"name": "text"}
    assert TaskSource.of({"name": "text", "data_dir": Path("notes")}).keys == {"name": "text", "data_dir": "notes"}
    assert TaskOptions(**TaskSource.of(TaskOptions("text", train=9)).keys) == TaskOptions("text", train=9)
    for verb in (mc.evaluate, partial(mc.finetune, out="out")):
        with pytest.raises(ManticoreError, match=r"a task is a name, a mapping of options, or data"):
            verb("gpt-neo-nano", task=3)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train", '\'train\' is a key of task: write task={"name": ..., "train": ...}'),
        ("warmup_steps", "'warmup_steps' is a key of search: write search={\"warmup_steps\": ...}"),
        ("steps", 'write search={"steps": ...} or finetune={"steps": ...}'),
        ("skip", "'skip' is a key of the search space: write mc.SearchSpace([...], skip=...)"),
        ("serch", "unknown argument 'serch'. Did you mean 'search'?"),
    ],
)
def test_an_unknown_argument_gets_the_way_to_write_it(name: str, message: str) -> None:
    for verb, more in (
        ("search", {}),
        ("compare", {"out": "x"}),
        ("transfer", {"out": "x", "proxy": "a", "task": "b"}),
    ):
        function: Callable[..., Any] = getattr(mc, verb)
        with pytest.raises(ManticoreError) as error:
            function(mc.SearchSpace(["gpt-neo", "mamba"]), **more, **{name: 3})
        assert message in str(error.value)
    assert not Path("x").exists()


def test_sections_are_mappings_or_options() -> None:
    assert section_keys({"run": {"seed": 1}}) == {"run": {"seed": 1}}
    assert section_keys({"run": RunOptions(seed=1)})["run"]["seed"] == 1
    projectors = mc.load("nano-mamba-base")
    assert isinstance(projectors, ProjectorSet)
    for source in (projectors, projectors.folder):
        assert section_keys({"align": {"projectors": source}}) == {"align": {"projectors": str(projectors.folder)}}
    with pytest.raises(UnknownName, match="Did you mean 'baselines'"):
        section_keys({"baseline": {}})


@pytest.mark.parametrize(
    "call",
    [
        lambda: mc.search(mc.SearchSpace(["gpt-neo", "mamba"]), object()),  # type: ignore[arg-type]
        lambda: mc.search("gpt-neo+mamba", models=["gpt-neo", "mamba"]),
        lambda: mc.search("gpt-neo+mambo"),
        lambda: mc.search(3),  # type: ignore[arg-type]
        lambda: mc.search(models="gpt-neo,mamba"),
        lambda: mc.compare(models=3, out="out"),  # type: ignore[arg-type]
        lambda: mc.evaluate(object()),
        lambda: mc.report(None),
        lambda: mc.search(models=["gpt-neo", "mambo"]),
        lambda: mc.search(models=["gpt-neo", "runs/nowhere"], task="text"),
        lambda: mc.evaluate("runs/nowhere"),
        lambda: mc.evaluate("gpt-neo-nan", "text"),
        lambda: mc.generate("runs/nowhere", "It is"),
        lambda: mc.generate("gpt-neo-nano"),
        lambda: mc.finetune("runs/nowhere", out="out"),
        lambda: mc.export(out="out"),
        lambda: mc.report("runs/nowhere"),
        lambda: mc.align(["gpt-neo-nano", "mamba-nan"], "text.txt", out="out"),
        lambda: mc.pretrain("pretrain/mamba-nan", "text.txt", out="out"),
        lambda: mc.load("runs/nowhere"),
        lambda: mc.load(""),
        lambda: mc.search(models=[]),
        lambda: mc.search("gpt-neo+mamba", set=3),  # type: ignore[arg-type]
        lambda: mc.search("gpt-neo+mamba", set={"search.steps": object()}),
        lambda: mc.search("gpt-neo+mamba", set={"search.steps": np.int64(0)}),
        lambda: mc.search("gpt-neo+mamba", search={"steps": np.int64(0)}),
        lambda: mc.search("gpt-neo+mamba", trainer=3),  # type: ignore[arg-type]
        lambda: mc.search("gpt-neo+mamba", ("lra-listops", "text")),
        lambda: mc.search("gpt-neo+mamba", "text", align={"projectors": 3}),
        lambda: mc.search("gpt-neo+mamba", out=""),
        lambda: mc.compare("gpt-neo+mamba", [], out="out"),
        lambda: mc.compare("gpt-neo+mamba", "mad", out="out", budgets=[]),
        lambda: mc.transfer("gpt-neo+mamba", proxy=3, task="mad", out="out"),  # type: ignore[arg-type]
        lambda: mc.transfer("gpt-neo+mamba", proxy=[], task="mad", out="out"),
        lambda: mc.transfer("gpt-neo+mamba", proxy={"name": "mad"}, task="mad", out="out"),  # type: ignore[arg-type]
        lambda: mc.transfer("gpt-neo+mamba", proxy="mad", task=None, out="out"),
        lambda: mc.transfer("gpt-neo+mamba", proxy="mad", task="text", target_models="gpt2", out="out"),
        lambda: mc.align(["gpt-neo-nano", "mamba-nano"], [], out="out"),
        lambda: mc.generate("gpt-neo-nano", "It is", on_text=3),  # type: ignore[arg-type]
        lambda: mc.generate("gpt-neo-nano", prompt_file="nowhere.txt"),
        lambda: mc.export(models="gpt-neo-nano,mamba-nano", path=["gpt-neo-nano"], out="out"),
        lambda: mc.export(models=["gpt-neo-nano", "mamba-nano"], path=[], out="out"),
        lambda: mc.SearchData("text", tokenizer="gpt2"),  # type: ignore[arg-type]
        lambda: mc.AlphaRecord(3),  # type: ignore[arg-type]
        lambda: mc.HybridBench.load(3),  # type: ignore[arg-type]
        lambda: mc.HybridBench.load("mad-fuzzy-recall").regret("mamba"),
    ],
)
def test_bad_input_is_one_error_and_nothing_is_written(
    call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ManticoreError) as error:
        call()
    assert "\n" not in str(error.value)
    assert "hub" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
