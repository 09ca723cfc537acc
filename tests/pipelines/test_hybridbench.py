"""HybridBench: a table from the command, read again, and searches that are measured against it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.nas.bench import HybridBench, PathRecord
from manticore.results.strategies import StrategyBench
from tests.helpers.cli import call, refusal

pytestmark = pytest.mark.e2e

RECIPE = {
    "task": {
        "name": "mad-in-context-recall@seq_len=8,vocab_size=8",
        "preset": "cpu",
        "train": 64,
        "val": 32,
        "test": 32,
    },
    "space": {"components": ["gpt-neo", "mamba"], "stages": 2, "base": "mamba", "skip": True},
    "scratch": {
        "attention": {"width": 16, "layers": 2, "heads": 2},
        "recurrent": {"width": 16, "layers": 2, "state_size": 4},
    },
    "search": {"steps": 32, "warmup_steps": 2, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "finetune": {"steps": 4, "batch_size": 8, "weights": {"warmup_steps": 1}},
    "study": {"seeds": 2},
    "run": {"device": "cpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The folder of a table called `pico`."""
    folder = tmp_path_factory.mktemp("hybridbench")
    (folder / "pico.yaml").write_text(yaml.safe_dump(RECIPE))
    from manticore.config.launching import LaunchOptions
    from manticore.pipelines.hybridbench import make_tables
    from manticore.studies.launchers import start_crew
    from manticore.utils.console import make_console

    crew = start_crew(LaunchOptions(), folder)
    make_tables([str(folder / "pico.yaml")], folder / "out", crew, 1, make_console(quiet=True))
    return folder


def test_a_table_has_every_path_with_every_seed(folder: Path) -> None:
    table = HybridBench.load(folder / "out" / "pico.json")
    assert len({record.path for record in table.paths}) == len(table.paths) == 3**2 - 1, (
        "skipping both stages is no path"
    )
    assert all(len(record.test) == len(record.val) == 2 for record in table.paths)
    assert (table.metric, table.larger_is_better, table.base, table.seeds) == ("accuracy", True, "mamba", (0, 1))
    attention, recurrent = (table[name, name] for name in ("gpt-neo", "mamba"))
    assert attention.cache_bytes == 2 * 2 * table.cache_length * 16 * 4, "keys and values of two layers in float32"
    assert recurrent.cache_bytes == 2 * 32 * (4 + 4) * 4, "state and window of two layers"
    best = table.best()
    assert table.regret(best.path) == 0
    assert all(table.regret(record.path) >= 0 for record in table.paths)
    truth = {record.path: record.mean() for record in table.paths}
    assert table.rank_correlations(truth) == (pytest.approx(1), pytest.approx(1))
    assert table.rank_correlations(dict.fromkeys(truth, 0.0)) == (None, None)


def test_one_seed_of_all_paths_is_compared_with_the_others(folder: Path) -> None:
    table = HybridBench.load(folder / "out" / "pico.json")

    def record(name: str, val: tuple[float, ...], test: tuple[float, ...]) -> PathRecord:
        return replace(table.paths[0], path=(name, name), val=val, test=test)

    paths = (
        record("a", (0.9, 0.2), (0.8, 0.3)),
        record("b", (0.5, 0.4), (0.6, 0.4)),
        record("c", (0.1, 0.6), (0.1, 0.5)),
    )
    # Seed 0 chooses a, which is 0.2 behind c with seed 1; seed 1 chooses c, which is 0.7 behind a with seed 0.
    agreement = replace(table, paths=paths).seed_agreement()
    assert agreement == (pytest.approx(100 * (0.2 + 0.7) / 2), pytest.approx(-1), pytest.approx(-1))
    assert replace(table, larger_is_better=False, scale=1.0, paths=paths).seed_agreement() == (
        pytest.approx((0.2 + 0.7) / 2),  # c and 0.5 against 0.3, a and 0.8 against 0.1
        pytest.approx(-1),
        pytest.approx(-1),
    )
    assert replace(table, seeds=(0,)).seed_agreement() is None


def test_a_stopped_table_goes_on_and_is_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "out" / "pico.json").read_text()
    trials = sorted((folder / "out" / "trials").glob("*.json"))
    trials[0].unlink()
    status, printed, error = call(capsys, "bench", "table", "--config", folder / "pico.yaml", "--out", folder / "out")
    assert status == 0, error
    assert "gpt-neo · mamba" in printed
    after = (folder / "out" / "pico.json").read_text()

    def without_times(text: str) -> object:
        data = json.loads(text)
        for record in data["paths"]:
            del record["seconds"]
        return data

    assert without_times(before) == without_times(after)


METHODS = (
    "darts,halving,marginal,darts+evaluated,darts+beam,darts+perturbation,fair,"
    "halving@search.steps=40@finetune.steps=12"
)


def test_searches_are_measured_against_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folder / "out" / "pico.json"
    command = ("bench", "strategies", "--table", table, "--method", METHODS, "--seeds", 1, "--out", folder / "searches")
    status, printed, error = call(capsys, *command)
    assert status == 0, error
    assert re.search(r"halving@search\.steps=40@finetune\.steps=12 +\d", printed)
    assert "best by validation" in printed
    assert "best by one seed" in printed
    assert f"  report {folder / 'searches' / 'report.html'}" in printed
    assert (folder / "searches" / "regret" / "pico.svg").exists()
    result = StrategyBench.load(folder / "searches")
    assert result.methods == METHODS.split(",")
    truth = HybridBench.load(table)
    for trial in result.trials:
        assert trial.regret == 100 * (truth.best().mean() - truth[trial.path].mean())
        assert 0 < trial.token_share < 1.2
    by_method = {trial.method: trial for trial in result.trials}
    assert by_method["halving"].scored == by_method["darts+evaluated"].scored == 8
    assert by_method["halving"].token_share < by_method["marginal"].token_share, "the winner keeps its training"
    assert len({trial.seed for trial in result.trials} & set(truth.seeds)) == 0
    again = call(capsys, *command)
    assert again[0] == 0
    assert StrategyBench.load(folder / "searches").trials == result.trials, "nothing is searched twice"


def test_mistakes_are_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "bench table needs --config" in refusal(capsys, "bench", "table")
    assert "bench strategies needs --table" in refusal(capsys, "bench", "strategies")
    error = refusal(capsys, "bench", "search", "--case", "scan-default")
    assert "bench search does not take --case; bench kernels does" in error
    error = refusal(capsys, "bench", "table", "--config", "hybridbench/listops", "--json", "numbers.json")
    assert "bench table does not take --json; bench kernels and bench search do" in error
    assert "no such recipe file" in refusal(capsys, "bench", "table", "--config", tmp_path / "none.yaml")
    table = folder / "out" / "pico.json"
    strategies = ("bench", "strategies", "--table", table, "--out", tmp_path / "out")
    assert "Did you mean 'darts'" in refusal(capsys, *strategies, "--method", "dart")
    assert "Did you mean 'evaluated'" in refusal(capsys, *strategies, "--method", "darts+evaluate")
    assert "search.step" in refusal(capsys, *strategies, "--method", "darts@search.step=3")
    assert "leave out selection.selector" in refusal(capsys, *strategies, "--method", "halving+beam")
    assert "halving 8 paths needs 24 steps" in refusal(capsys, *strategies, "--method", "darts,halving@search.steps=9")
    assert not (tmp_path / "out").exists(), "methods are checked before the first search"
    with pytest.raises(UnknownName, match="unknown table 'nowhere'"):
        HybridBench.load("nowhere")
    (tmp_path / "bad.json").write_text('{"format": 2}')
    with pytest.raises(BadFile, match="not a table of HybridBench"):
        HybridBench.load(tmp_path / "bad.json")
    with pytest.raises(ManticoreError, match="is no path of the table 'pico'"):
        HybridBench.load(table)["skip", "skip"]
    other = {**json.loads(table.read_text()), "data": "0" * 32}
    (tmp_path / "other.json").write_text(json.dumps(other))
    changed = ("bench", "strategies", "--table", tmp_path / "other.json", "--out", tmp_path / "out")
    assert "is not that of the table 'pico'" in refusal(capsys, *changed)


def test_a_record_knows_its_means() -> None:
    record = PathRecord(("a",), (0.5, 0.7), (0.4, 0.2), (1.0, None), 1, 1.0, 1, (1.0, 2.0))
    assert (record.mean("val"), record.mean()) == (pytest.approx(0.6), pytest.approx(0.3))
