"""`manticore transfer` from Python: real runs at pico size, the files they write, and recipes that are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manticore.config.launching import LaunchOptions
from manticore.config.loading import load_recipe, merge
from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError
from manticore.nas.architecture import Architecture
from manticore.pipelines import transfer
from manticore.results.transfer import TransferResult
from manticore.studies.launchers import start_crew
from manticore.studies.store import JobStore
from manticore.studies.trial import TrialRunner
from manticore.utils.io import read_json
from tests.helpers.transfer_results import transfer_result

pytestmark = pytest.mark.e2e

PROXY = "mad-in-context-recall@seq_len=8,vocab_size=8"
TARGET = "mad-compression@seq_len=6,vocab_size=6"
KEYS: dict[str, Any] = {
    "task": {"preset": "cpu", "train": 96, "val": 40, "test": 40},
    "space": {"components": ["gpt-neo", "mamba"], "stages": 2},
    "scratch": {
        "attention": {"width": 16, "layers": 2, "heads": 2, "intermediate_size": 32},
        "recurrent": {"width": 16, "layers": 2, "state_size": 4},
    },
    "search": {"strategy": "darts", "steps": 4, "warmup_steps": 2, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "finetune": {"steps": 4, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "study": {"seeds": 2, "learning_rates": [0.004]},
    "run": {"threads": 1, "device": "cpu"},
}


def recipe(task: str, **keys: Any) -> Recipe:
    return load_recipe("search/mad", merge(merge(KEYS, {"task": {"name": task}}), keys)).recipe


def transfer_to(
    out: Path, *proxies: Recipe, target: Recipe | None = None, search_target: bool = False
) -> TransferResult:
    crew = start_crew(LaunchOptions(), out)
    return transfer.run(proxies, target or recipe(TARGET), out, crew, Console(quiet=True), search_target)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("transfer")
        patch.setenv("MANTICORE_CACHE", str(folder / "cache"))
        transfer_to(folder / "out", recipe(PROXY), search_target=True)
    return folder / "out"


def test_result_path_and_page_are_written(finished: Path) -> None:
    result, architecture = TransferResult.load(finished), Architecture.load(finished / "architecture.json")
    assert result.path == architecture.path
    assert result.target.base == architecture.base
    assert result.proxy_names == ("mad-in-context-recall@vocab_size=8,seq_len=8,train=96",)
    assert result.target.task.startswith("mad-compression@")
    assert [path.path for path in result.paths] == [
        (first, second) for first in ("gpt-neo", "mamba") for second in ("gpt-neo", "mamba")
    ]
    assert (finished / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_result_has_the_numbers_of_the_trials(finished: Path) -> None:
    result = TransferResult.load(finished)
    kept = [read_json(file) for file in (finished / "trials").glob("*.result.json")]
    tested = [record for record in kept if record["job"]["split"] == "test"]
    assert {record["job"]["recipe"]["task"]["name"] for record in tested} == {TARGET}
    base = result.target.base
    for path in result.paths:
        scores = {
            str(record["job"]["recipe"]["run"]["seed"]): record["result"]["score"]["accuracy"]
            for record in tested
            if record["job"]["config"].get("path") == list(path.path) and record["job"]["config"]["base"] == base
        }
        assert scores == path.seed_scores
    assert result.target.learning_rates[f"{base} alone"] == 0.004
    (proxy,) = result.proxies
    assert len(proxy.searches) == 2
    assert all(abs(sum(stage) - 1) < 1e-5 for search in proxy.searches for stage in search.weights or ())
    assert result.costs[0].tokens == pytest.approx(result.costs[1].tokens / 4, rel=0.05)
    searched, trained = result.costs[2].flops, result.costs[3].flops
    assert searched is not None
    assert trained is not None
    assert searched > trained / 4


def test_the_same_folder_again_trains_nothing(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = TransferResult.load(finished)
    monkeypatch.setenv("MANTICORE_CACHE", str(finished.parent / "cache"))
    monkeypatch.setattr(TrialRunner, "__call__", lambda self, trial: pytest.fail(f"trained again: {trial}"))
    after = transfer_to(finished, recipe(PROXY), search_target=True)
    assert replace(after, seconds=0.0, machine={}) == replace(before, seconds=0.0, machine={})
    assert not list(JobStore(finished / "trials").folder.glob("*.claim.json"))


REFUSED: list[tuple[list[Recipe], dict[str, Any], str]] = [
    ([], {}, "at least one proxy"),
    ([recipe(PROXY)], {"space": {"stages": 1}}, r"agree in stages: mad-in-\S+ has 2, mad-comp\S+ has 1"),
    ([recipe(PROXY)], {"space": {"components": ["gpt-neo", "mamba", "mamba2"]}}, r"components: \S+ has 2, \S+ has 3"),
    ([recipe(PROXY)], {"space": {"skip": True}}, "agree in skip"),
    ([recipe(PROXY)], {"space": {"topology": "hub"}}, "agree in topology"),
    ([recipe(PROXY)], {"study": {"seeds": 3}}, "agree in seeds"),
    ([recipe(PROXY, space={"base": "mamba"})], {"space": {"base": "gpt-neo"}}, "the same index as base: mamba on"),
    ([recipe(PROXY), recipe(PROXY)], {}, r"proxy mad-in-context-recall@\S+ is given more than once"),
    ([recipe(TARGET)], {}, "both proxy and target"),
    ([recipe(PROXY)], {"selection": {"max": ["prefill_flops=1G"]}}, "without limits"),
    ([recipe(PROXY, space={"stages": 7})], {"space": {"stages": 7}}, "this space has 128, more than 64"),
    ([recipe(PROXY, space={"stages": 3})], {"space": {"stages": 3}}, "recall.*: 3 stages are more than the 2 layers"),
]  # fmt: skip


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize(
    ("proxies", "keys", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_recipes_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, proxies: list[Recipe], keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ManticoreError, match=message) as error:
        transfer_to(tmp_path / "out", *proxies, target=recipe(TARGET, **keys))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ManticoreError, match="already holds something else"):
        transfer_to(tmp_path, recipe(PROXY))


def test_the_base_of_a_hub_is_the_component_of_the_first_stage() -> None:
    components = [{"source": "gpt-neo", "name": "one"}, {"source": "mamba", "name": "two"}]
    result = replace(transfer_result(), path=("one", "two"))
    bases = {
        topology: transfer.architecture(
            result, recipe(TARGET, space={"components": components, "topology": topology})
        ).base
        for topology in ("hub", "residual")
    }
    assert bases == {"hub": "one", "residual": result.target.base}
