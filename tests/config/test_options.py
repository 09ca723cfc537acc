"""The same bounds hold for a recipe, a pretraining recipe, every command, and objects made in Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from manticore.cli import COMMANDS, parser
from manticore.components import BlockSize
from manticore.config import commands, tool_commands
from manticore.config.loading import from_dotted, load_recipe, read_yaml, resolve
from manticore.config.pretrain import PretrainRecipe, pretrain_recipe
from manticore.config.recipe import Recipe
from manticore.config.sections import RunOptions, StudyOptions
from manticore.errors import ManticoreError
from manticore.nas.options import AlphaOptions
from manticore.nas.space import SearchSpace
from manticore.tasks.options import TaskOptions
from manticore.training.options import SearchOptions, WeightOptions
from manticore.utils.fields import Checked, field_helps, field_types
from tests.helpers.cli import refusal

SPACE = {"components": ["gpt-neo", "mamba"]}

INVALID = [  # key of run or weights, value, the rest of the message
    ("run.checkpoint_every", "0", "must be a whole number of at least 1, got 0"),
    ("run.log_every", "0", "must be a whole number of at least 1, got 0"),
    ("run.threads", "-1", "must be a whole number of at least 0, got -1"),
    ("run.eval_batch_size", "2.5", "must be a whole number of at least 1, got 2.5"),
    ("run.device", "tpu", "unknown run.device 'tpu'. Did you mean 'cpu'? Known: auto, cpu, cuda."),
    ("run.precision", "fp8", "unknown run.precision 'fp8'. Known: 32-true, auto, bf16-mixed."),
    ("weights.beta1", "1.5", "must be a number of at least 0 and below 1, got 1.5"),
    ("weights.min_lr_ratio", "2", "must be a number of at least 0 and at most 1, got 2"),
    ("weights.lr", ".nan", "must be a number above 0, got nan"),
    ("weights.lr", ".inf", "must be a number above 0, got inf"),
    ("weights.max_grad_norm", "-1", "must be a number of at least 0, got -1"),
    ("weights.optimizer", "muom", "weights.optimizer 'muom'. Did you mean 'muon'? Known: adamw, muon."),
]


def command_lines(out: Path) -> dict[str, list[object]]:
    """Command lines of every command that takes recipe keys."""
    models = ["--models", "gpt-neo,mamba", "--preset", "cpu"]
    return {
        "search": ["search", *models, "--task", "lra-listops", "--out", out],
        "compare": ["compare", *models, "--task", "mad-fuzzy-recall", "--out", out],
        "transfer": ["transfer", *models, "--proxy", "mad-fuzzy-recall", "--task", "lra-listops", "--out", out],
        "pretrain": ["pretrain", "--config", "pretrain/mamba-nano", "--text", "README.md", "--out", out],
    }


@pytest.mark.parametrize(("key", "value", "message"), INVALID)
@pytest.mark.parametrize("name", ["search", "compare", "transfer", "pretrain"])
def test_every_command_refuses_values_outside_the_bounds_of_a_recipe(
    name: str, key: str, value: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = "search." if key.startswith("weights") and name != "pretrain" else ""
    error = refusal(capsys, *command_lines(tmp_path / "out")[name], "--set", f"{prefix}{key}={value}")
    assert message in error
    assert f"{prefix}{key} " in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [
        *(["finetune", "hybrid", "--out", "out", *flag] for flag in (["--lr", "nan"], ["--steps", "0"])),
        ["finetune", "hybrid", "--out", "out", "--micro-batch-size", "-1"],
        ["evaluate", "hybrid", "--batch-size", "0"],
        *(["generate", "model", "--prompt", "a", *flag] for flag in (["--top-k", "0"], ["--num-beams", "x"])),
        *(
            ["align", "--models", "a,b", "--text", "t", "--out", "out", *flag]
            for flag in (["--tokens", "0"], ["--length", "1"], ["--rank", "0"], ["--stages", "0"], ["--seed", "-1"])
        ),
        ["data", "lra-listops", "--out", "out", "--val", "0"],
        ["bench", "search", "--width", "7"],
        ["compare", "--out", "out", "--seeds", "0"],
        ["compare", "--out", "out", "--learning-rates", "0.1,-1"],
        ["search", "--stages", "0"],
    ],
    ids=" ".join,
)
def test_flags_have_the_bounds_of_their_fields(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    error = refusal(capsys, *args)
    flag = next(arg for arg in reversed(args) if arg.startswith("--"))
    assert flag in error
    assert "must be a " in error


@pytest.mark.parametrize(
    "make",
    [
        lambda: WeightOptions(lr=-1),
        lambda: WeightOptions(lr=float("nan")),
        lambda: WeightOptions(optimizer="sgd"),  # type: ignore[arg-type]
        lambda: AlphaOptions(beta2=1.0),
        lambda: RunOptions(checkpoint_every=0),
        lambda: RunOptions(device="tpu"),  # type: ignore[arg-type]
        lambda: SearchOptions(steps=10, warmup_steps=10),
        lambda: StudyOptions(learning_rates=()),
        lambda: StudyOptions(baselines=("all",)),  # type: ignore[arg-type]
        lambda: BlockSize(0, 1),
        lambda: TaskOptions(train=1),
        lambda: TaskOptions(workers=-1),
        lambda: SearchSpace(["a", "b"], stages=0),
        lambda: PretrainRecipe(vocabulary=100),
        lambda: Recipe(space=SearchSpace(["a", "b"]), search=SearchOptions(strategy="dart")),
    ],
)
def test_objects_made_in_python_have_the_same_bounds(make: Callable[[], object]) -> None:
    with pytest.raises(ManticoreError):
        make()


def test_a_recipe_has_its_space_as_an_object_and_is_saved_as_yaml(tmp_path: Path) -> None:
    components = ["gpt-neo", {"source": "mamba", "name": "ssm", "size": {"width": 8}}]
    recipe = resolve([{"space": {"components": components, "base": "mamba", "stages": 2}}], "auto")
    assert isinstance(recipe.space, SearchSpace)
    assert recipe.space.names == ("gpt-neo", "ssm")
    assert recipe.space.base == "ssm", "a base may be named by its source"
    recipe.save(tmp_path / "recipe.yaml")
    assert resolve([read_yaml(tmp_path / "recipe.yaml")], "auto") == recipe
    plain = yaml.safe_load((tmp_path / "recipe.yaml").read_text())["space"]
    assert plain["components"] == ["gpt-neo", {**components[1], "init": "auto"}]  # type: ignore[dict-item]
    assert plain["base"] == "ssm"


def test_a_recipe_does_not_contain_the_reason_of_its_preset() -> None:
    recipe, reason = load_recipe(None, {"space": SPACE, "task": {"name": "lra-listops"}})
    assert recipe.task.preset in ("cpu", "paper")
    assert "GPU" in reason
    assert "preset_reason" not in str(recipe.to_dict())
    assert load_recipe(None, {"space": SPACE, "task": {"preset": "cpu"}}).preset_reason == "set by the user"


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "0.001", "+1e-3"])
def test_a_number_may_be_written_with_an_exponent(text: str, tmp_path: Path) -> None:
    keys = from_dotted([f"weights.lr={text}"])
    assert pretrain_recipe([keys]).weights.lr == 0.001
    (tmp_path / "r.yaml").write_text(f"weights: {{lr: {text}}}")
    assert pretrain_recipe([read_yaml(tmp_path / "r.yaml")]).weights.lr == 0.001


def sections(kind: type) -> list[type]:
    """A dataclass and those of its fields."""
    nested = [hint for hint in field_types(kind).values() if isinstance(hint, type) and is_dataclass(hint)]
    return [kind, *(section for inner in nested for section in sections(inner))]


OPTIONS: list[type] = [
    *sections(Recipe),
    *sections(PretrainRecipe),
    *(
        kind
        for kind in (*vars(commands).values(), *vars(tool_commands).values())
        if isinstance(kind, type) and issubclass(kind, Checked) and kind != Checked
    ),
]


@pytest.mark.parametrize("kind", dict.fromkeys(OPTIONS), ids=lambda kind: kind.__name__)
def test_every_option_has_a_help_in_the_same_form(kind: type) -> None:
    helps, benchmarks = field_helps(kind), {"kernels", "search", "latency", "table", "strategies"}
    assert set(helps) == {field.name for field in fields(kind)}
    for text in helps.values():
        assert text.endswith(".")
        assert text[0].isupper() or set(text.split(":")[0].split(", ")) <= benchmarks


def flags() -> dict[str, dict[str, Any]]:
    """The help of each flag of each command."""
    subparsers = next(action for action in parser()._actions if action.choices)
    assert isinstance(subparsers.choices, dict)
    return {
        name: {
            max(action.option_strings, default=action.metavar): action.help for action in command.complete()._actions
        }
        for name, command in subparsers.choices.items()
    }


def test_every_flag_has_a_help_and_only_flags_of_recipes_name_a_key() -> None:
    for name, helps in flags().items():
        for flag, text in helps.items():
            assert text, (name, flag)
            recipes = (
                "search",
                "plan",
                "quickstart",
                "compare",
                "transfer",
                "program",
                "pretrain",
                "finetune",
                "evaluate",
                "bench",
            )
            assert ("[" in text) <= (name in recipes), (name, flag)
    assert "[space.base]" in flags()["search"]["--base"]
    assert "default: 400" in flags()["finetune"]["--steps"]
    assert "(default: darts)" in flags()["bench"]["--method"]
    assert flags()["program"] == flags()["transfer"], "the paper's word is an alias"
    assert len(COMMANDS) == 21


@pytest.mark.parametrize(
    ("args", "nearest"),
    [
        (["search", "--home", "mamba"], ""),
        (["search", "--modles", "a,b"], "Did you mean '--models'?"),
        (["search", "--model", "a,b"], "Did you mean '--models'?"),
        (["compare", "--out", "o", "--contenders", "hub"], ""),
        (["compare", "--out", "o", "--baseline", "hub"], "Did you mean '--baselines'?"),
        (["compare", "--out", "o", "--paths"], ""),
        (["transfer", "--proxy", "mad", "--task", "t", "--out", "o", "--proxis", "mad"], "Did you mean '--proxy'?"),
        (["finetune", "h", "--out", "o", "--rate=3"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_unknown_flag_shows_the_nearest_and_the_list(
    args: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, *args)
    assert error.startswith(f"manticore {args[0]}: error: unknown flag '--")
    assert nearest in error
    assert "Known: --" in error


@pytest.mark.parametrize("key", ["contest.seeds=1", "compare.uniform=false", "search.entropy=0", "search.sampled=true"])
def test_an_unknown_key_shows_the_nearest_and_the_list(
    key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, *command_lines(tmp_path)["search"], "--set", key)
    assert (
        f"unknown recipe key '{key.partition('=')[0] if key.startswith('search') else key.partition('.')[0]}'" in error
    )
    assert "Known: " in error
