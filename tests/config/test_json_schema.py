"""The shipped schemas are those of the dataclasses, every YAML file names one, and `validate` agrees with them."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from manticore.config.json_schema import SCHEMAS
from manticore.errors import ManticoreError
from manticore.pipelines.assets import SCHEMA_LINE, _check_pretraining, _check_recipe, _check_space, schema, validate
from tests.config.test_every_key import KEYS, nested
from tests.helpers.cli import call, refusal
from tests.helpers.warm_process import run_script

ROOT = Path(__file__).parents[2]
FILES = sorted(file for folder in ("configs", "search_spaces", "models") for file in (ROOT / folder).rglob("*.yaml"))
CHECKS = {"recipe": _check_recipe, "space": _check_space, "pretrain": _check_pretraining}


@cache
def validator(kind: str) -> Draft7Validator:
    return Draft7Validator(json.loads((ROOT / "schemas" / f"{kind}.schema.json").read_text("utf-8")))


def fits(kind: str, values: Any) -> bool:
    return bool(validator(kind).is_valid(json.loads(json.dumps(values))))


def refused(kind: str, values: Any) -> str:
    """The error of `manticore validate`; empty if it accepts."""
    try:
        CHECKS[kind](values)
    except ManticoreError as error:
        return str(error)
    return ""


@pytest.mark.e2e
def test_the_shipped_schemas_are_those_of_the_dataclasses(tmp_path: Path) -> None:
    script = tmp_path / "print.py"  # its own process: other tests register names
    script.write_text(
        "import json\nfrom pathlib import Path\nfrom manticore.config.json_schema import SCHEMAS\n"
        f"Path({str(tmp_path / 'made.json')!r}).write_text(json.dumps({{k: f() for k, f in SCHEMAS.items()}}))\n"
    )
    run_script(script, {}, timeout=120)
    for kind, made in json.loads((tmp_path / "made.json").read_text()).items():
        assert validator(kind).schema == made, "make schemas"
        Draft7Validator.check_schema(made)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_shipped_file_names_its_schema_and_fits_it(file: Path) -> None:
    text = file.read_text("utf-8")
    first = text.splitlines()[0]
    assert first.startswith(SCHEMA_LINE)
    target = (file.parent / first.removeprefix(SCHEMA_LINE)).resolve()
    assert target.parent == ROOT / "schemas"
    errors = list(validator(target.name.split(".")[0]).iter_errors(json.loads(json.dumps(yaml.safe_load(text)))))
    assert not errors, errors[0].message
    assert validate(file)


def test_the_command_prints_a_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(call(capsys, "schema", "space")[1])["$id"] == "space.schema.json"
    assert "Known: pretrain, recipe, space" in refusal(capsys, "schema", "spaces")
    assert set(SCHEMAS) == set(CHECKS)
    assert "gaea" in schema("recipe")


SLOW = [HealthCheck.too_slow]  # a busy machine must not fail a test

ACROSS = re.compile(
    r"search\.warmup_steps must be below|unknown base component|base' |unknown candidate for a stage|stage_candidates"
    r"|shared_stages|unknown component in cuts|cuts of |has the name of another candidate|no path has at least| twice: "
    r"|search\.cost_weight (?:needs|acts)|finetune\.exits must be below|give one of finetune\.exits|--strategy \S+ "
)
"""Errors of rules that refer to other keys, which a schema cannot state."""

NUMBERS = st.integers(-3, 600) | st.sampled_from([0.5, -0.5, 1e-3, 1.5, 2**63, 10**400, 1e308])
VALUES = (
    NUMBERS
    | st.none()
    | st.booleans()
    | st.sampled_from(["", "auto", "darts", "halving", "cpu", "hub", "low-rank", "two-layer", "mamba", "min_kl"])
    | st.sampled_from(["lra-listops@short", "text@length=64,", "text@=3", "text@length", "largest_component", "beam"])
    | st.sampled_from([[], [1], ["components"], ["tokens", "flops"], [1e-3, 2], [[1, 2]], [["a"], None], [0, 1, 4]])
    | st.sampled_from([{}, {"rank": 8}, {"bypass": True}, {"rank": 0}, {"hidden": None}, {"rounds": 2}, {"1": "mamba"}])
    | st.sampled_from([{"width": 16}, {"width": 0}, {"depth": 2}, {"lr": 0.1}, {"1": []}, {"mamba": [0, 2]}])
)
CHOICES = {
    "space.topology": ["residual", "hub", "star"],
    "space.projector": ["linear", "low-rank", "two-layer", "identity", "none"],
    "space.components": [["gpt-neo", "mamba"], ["mamba"], [], ["a", ""], [{"source": "a"}, "b"], [{"name": "a"}, "b"]],
    "space.ops": [[{"name": "mean", "factory": "pkg:Mean"}], [{"name": "skip", "factory": "f"}], [{"name": "mean"}]],
    "search.strategy": ["darts", "halving", "head-wise", "zero-shot", "gaea", "dart"],
    "selection.selector": ["auto", "beam", "largest-weight", "best"],
    "selection.max": [
        *(["parameters=120M"], ["parameters=largest_component", "cache_bytes=64MiB@8192x4:bfloat16"], [], None),
        *(
            ["parameters=0"],
            ["parameters=3MiB"],
            ["memory=3"],
            ["decode_flops=2m@0"],
            ["weight_bytes=1_000.5kb@float16"],
        ),
        *(
            ["parameters=1..2"],
            ["parameters=12@30"],
            ["cache_bytes=50%@64", "parameters=0.0%"],
            ["cache_bytes = 3"],
            ["prefill_flops= 2e6 @"],
            [3],
        ),
    ],
    "selection.min": [["parameters=1M"], ["parameters=1T"], ["cache_bytes=1@:int8"], ["parameters=0.0e3"]],
    "adapter.name": ["lora", "more", "dora", None],
    "adapter.options": [{"rank": 4}, {"rank": 0}, {"blocks": 2}, {}],
    "adapter.targets": [["q_proj"], [], [3]],
}


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """A recipe with one to four keys set to values of any kind; some have presets, or a key that does not exist."""
    values: dict[str, Any] = {}
    for key in draw(st.lists(st.sampled_from([*KEYS, *4 * list(CHOICES)]), min_size=1, max_size=4, unique=True)):
        value = draw(st.sampled_from(CHOICES[key]) | VALUES if key in CHOICES else VALUES)
        values = merged(values, nested(key, value))
    if draw(st.integers(0, 9)) == 0:
        values["presets"] = draw(st.sampled_from([None, {}, {"cpu": {"search": {"steps": 9}}}, {"cpu": None}, 3]))
    if draw(st.integers(0, 19)) == 0:
        values[draw(st.sampled_from(["serch", "finetune"]))] = draw(st.sampled_from([{}, {"step": 3}, None]))
    return values


def merged(low: Any, high: Any) -> Any:
    if not (isinstance(low, dict) and isinstance(high, dict)):
        return high
    return {key: merged(low[key], high[key]) if key in low and key in high else (high | low)[key] for key in low | high}


@settings(max_examples=500, suppress_health_check=SLOW)
@given(recipes())
def test_validate_and_the_schema_agree_on_recipes(values: dict[str, Any]) -> None:
    error = refused("recipe", values)
    if fits("recipe", values):
        assert not error or ACROSS.search(error) or "presets" in values, error
    else:
        assert error, next(validator("recipe").iter_errors(json.loads(json.dumps(values)))).message


@settings(max_examples=200, suppress_health_check=SLOW)
@given(recipes())
def test_validate_and_the_schema_agree_on_search_spaces(values: dict[str, Any]) -> None:
    error = refused("space", values["space"])
    if fits("space", values["space"]):
        assert not error or ACROSS.search(error), error
    else:
        assert error


@settings(max_examples=100, suppress_health_check=SLOW)
@given(
    st.dictionaries(
        st.sampled_from(["family", "size", "vocabulary", "length", "held_out", "steps", "weights", "run", "layers"]),
        VALUES | st.sampled_from(["gpt_neo", "llama"]),
        max_size=3,
    )
)
def test_validate_and_the_schema_agree_on_pretraining(values: dict[str, Any]) -> None:
    values = {"family": "mamba", **values}
    assert fits("pretrain", values) == (not refused("pretrain", values)), refused("pretrain", values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {step: 3}", "unknown recipe key 'search.step'. Did you mean 'search.steps'"),
        ("serch: {steps: 3}", "unknown recipe key 'serch'. Did you mean 'search'"),
        ("finetune: {steps: 3}", "a recipe needs the section 'space', with 'components'"),
    ],
)
def test_the_error_of_a_recipe_without_a_space_is_of_a_recipe(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ManticoreError, match=re.escape(message)):
        validate(file)
