"""`manticore transfer` on the command line: a path is transferred to pretrained models, and errors are one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.nas.architecture import Architecture
from manticore.results.transfer import TransferResult
from tests.helpers.cli import command, refusal
from tests.helpers.pico import component

pytestmark = pytest.mark.e2e

KEYS = (
    *("run.device=cpu", "task.train=96", "task.val=40", "task.test=40"),
    *("scratch.attention.width=16", "scratch.attention.heads=2", "scratch.recurrent.width=16"),
    *("search.steps=4", "search.warmup_steps=2", "search.batch_size=8", "search.weights.warmup_steps=1"),
    *("finetune.steps=4", "finetune.batch_size=8", "finetune.weights.warmup_steps=1"),
)
TARGET = ["--task", "mad-compression@seq_len=6,vocab_size=6"]
PICO = ["transfer", "--models", "gpt-neo,mamba", "--stages", "2", "--preset", "cpu", "--seeds", "1"]
PICO += ["--learning-rates", "0.004", *(arg for key in KEYS for arg in ("--set", key))]
PROXY = ["--proxy", "mad-in-context-recall@seq_len=8,vocab_size=8"]


def test_a_path_is_transferred_to_pretrained_models(tmp_path: Path, shared: Path) -> None:
    for family in ("gpt_neo", "mamba"):
        component(family).model.save_pretrained(tmp_path / f"my-{family}")
    models = f"{tmp_path / 'my-gpt_neo'},{tmp_path / 'my-mamba'}"
    out = tmp_path / "out"
    args = [*PICO, *PROXY, *TARGET, "--target-models", models, "--base", "mamba", "--out", str(out)]
    process = command(*args, cache=shared / "cache")
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr[-3000:]
    result, path = TransferResult.load(out), Architecture.load(out / "architecture.json")
    assert result.components == ("gpt-neo", "mamba")
    assert path.components == result.target.components == ("my-gpt_neo", "my-mamba")
    assert path.base == result.target.base == "my-mamba"
    assert {name for path in result.paths for name in path.path} == {"my-gpt_neo", "my-mamba"}
    assert "The searches on mad-in-context-recall" in stdout
    assert all(str(out / name) in stdout for name in ("report.html", "transfer.json", "architecture.json"))


def test_the_name_of_a_family_selects_all_its_tasks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from manticore.cli import main
    from manticore.pipelines import transfer as study

    calls = []
    monkeypatch.setattr(study, "run", lambda *args: calls.append(args))
    assert main([*PICO, "--proxy", "mad", *TARGET, "--data-dir", "files", "--out", str(tmp_path)]) == 0
    ((proxies, target, out, crew, _, search_target),) = calls
    assert len(proxies) == 6
    assert {proxy.task.data_dir for proxy in proxies} == {None}
    assert (target.task.data_dir, out, crew.workers, search_target) == ("files", tmp_path, 1, False)
    assert {recipe.study.learning_rates for recipe in (*proxies, target)} == {(0.004,)}


def test_names_in_the_space_are_those_of_the_target_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from manticore.cli import main
    from manticore.pipelines import transfer as study

    calls = []
    monkeypatch.setattr(study, "run", lambda *args: calls.append(args))
    (tmp_path / "space.yaml").write_text(
        "components: [gpt-neo, mamba]\nstages: 2\nbase: gpt-neo\nstage_candidates: {2: [mamba]}\n"
        "cuts: {mamba: [0, 1, 2]}\nshared_stages: []\n"
    )
    models = ["--target-models", "gpt-neo-nano,mamba-nano", "--set", "space.stage_candidates.1=[gpt-neo, mamba]"]
    space = ["--space", str(tmp_path / "space.yaml"), "--preset", "cpu", "--out", str(tmp_path / "out")]
    assert main(["transfer", *space, *PROXY, *TARGET, *models]) == 0
    (((proxy,), target, *_),) = calls
    assert proxy.space.stage_candidates == {1: ("gpt-neo", "mamba"), 2: ("mamba",)}
    assert target.space.names == ("gpt-neo-nano", "mamba-nano")
    assert target.space.stage_candidates == {1: ("gpt-neo-nano", "mamba-nano"), 2: ("mamba-nano",)}
    assert (target.space.cuts, target.space.base) == ({"mamba-nano": (0, 1, 2)}, None)


REFUSED = [
    ([*TARGET], "arguments are required: --proxy"),
    ([*PROXY], "arguments are required: --task"),
    ([*PROXY, "--task", "lra-listop"], "Did you mean 'lra-listops'?"),
    (["--proxy", "mad-copyng", *TARGET], "unknown task 'mad-copyng'"),
    ([*PROXY, *TARGET, "--target-models", "gpt-neo,mamba,mamba2"], "must agree in components"),
    ([*PROXY, *TARGET, "--target-models", "./nowhere,mamba"], "no such model folder: ./nowhere"),
    ([*PROXY, *TARGET, "--stages", "7"], "this space has 128"),
    ([*PROXY, *TARGET, "--stages", "4"], "4 stages are more than the 3 layers"),
    ([*PROXY, *TARGET, "--base", "mamba2"], "base component 'mamba2'. Did you mean 'mamba'?"),
    ([*PROXY, *TARGET, "--set", "selection.max=[parameters=9]"], "without limits"),
    ([*PROXY, *PROXY, *TARGET], "is given more than once"),
    ([*PROXY, *TARGET, "--seeds", "0"], "must be a whole number of at least 1"),
    ([*PROXY, *TARGET, "--workers", "0"], "must be a whole number of at least 1"),
]


@pytest.mark.usefixtures("cached")
@pytest.mark.parametrize(("args", "message"), REFUSED, ids=lambda value: value if isinstance(value, str) else "")
def test_invalid_input_is_refused_in_one_line_before_anything_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, args: list[str], message: str
) -> None:
    assert message in refusal(capsys, *PICO, *args, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
