"""The commands run on a task of each kind, and transformers loads the hybrid with the code on its card."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from manticore.config.loading import default_config
from manticore.results.search import SearchResult
from manticore.tasks import TaskOptions, load_task
from manticore.tasks.catalog import tasks as registry
from manticore.tasks.task import Task
from manticore.utils.io import read_json
from tests.helpers.cli import call, refusal

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cached")]

KEYS = (
    *("run.device=cpu", "task.train=60", "task.val=12", "task.test=12", "search.steps=4", "search.warmup_steps=2"),
    *("scratch.attention.width=16", "scratch.recurrent.width=12", "finetune.steps=3", "run.micro_batch_size=3"),
    "space.stages=2",
    *("search.batch_size=8", "finetune.batch_size=8"),
)
TASKS = {
    "tokens": "mad-in-context-recall",
    "autoencoder": "mad-compression",
    "pair": "lra-retrieval@length=24",
}


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small files of the Retrieval task."""
    folder = tmp_path_factory.mktemp("aan")
    for name, count in (("train", 60), ("eval", 12), ("test", 12)):
        rows = (f"{n % 2}.0\tP1\tP2\ta paper, {name} {n}\tanother {'one ' * (n % 3)}{n}\n" for n in range(count))
        (folder / f"new_aan_pairs.{name}.tsv").write_text("".join(rows), encoding="utf-8")
    return folder


@pytest.mark.parametrize("topology", ["residual", "hub"])
@pytest.mark.parametrize("kind", ["tokens", "autoencoder", "pair"])
def test_search_evaluate_finetune_export_and_report_on_each_kind(
    kind: str, topology: str, papers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, name = tmp_path / "run", TASKS[kind]
    data = ["--preset", "cpu", *(["--data-dir", papers] if kind == "pair" else [])]
    keys = [arg for key in KEYS for arg in ("--set", key)]
    strategy = ["--topology", topology, "--strategy", "darts"]  # the hub trains no single paths
    args = ["--models", "gpt-neo,mamba", "--task", name, *data, *strategy, "--out", out, *keys]
    status, _, err = call(capsys, "search", *args)
    assert (status, err) == (0, "")
    result = SearchResult.load(out)
    trained = [row for row in result.rows if row.group != "heuristic"]
    assert len(trained) == 7
    assert result.kind == kind
    for row in trained:
        assert 0 <= row.score.value <= 1
        assert row.parameters > 0 < row.flops_per_token
        assert (row.score.macro_batch is not None) == (kind != "pair")
    if topology == "residual":
        check_card_code(out / "hybrid", tmp_path, result)
    status, printed, _ = call(capsys, "evaluate", out / "hybrid", "--task", name, *data)
    assert status == 0
    assert " test: accuracy " in printed
    assert call(capsys, "finetune", out, "--task", name, *data, "--out", tmp_path / "on", "--steps", 2)[0] == 0
    assert "Fine-tuned further" in (tmp_path / "on" / "hybrid" / "README.md").read_text()
    path = "gpt-neo,mamba" if topology == "residual" else "mamba,gpt-neo"
    assert call(capsys, "export", out, "--path", path, "--out", tmp_path / "other")[0] == 0
    assert "AutoModelForCausalLM" not in (tmp_path / "other" / "README.md").read_text()
    assert call(capsys, "report", out)[0] == 0


def check_card_code(hybrid: Path, home: Path, result: SearchResult) -> None:
    """Runs the code on the card where manticore cannot be imported; it must print labels."""
    card = (hybrid / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)\n```$", card, flags=re.DOTALL | re.MULTILINE)
    environment = {**os.environ, "HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    code = f"import sys\nsys.modules['manticore'] = None\n{code}"
    process = subprocess.run([sys.executable, "-c", code], cwd=hybrid, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    names = set(read_json(hybrid / "config.json")["label2id"])
    assert set(process.stdout.split()) <= names
    expected_count = 1 if result.kind == "pair" else len(str(result.example).split())
    assert len(process.stdout.split()) == expected_count


def test_a_hybrid_of_another_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [arg for key in KEYS for arg in ("--set", key)]
    options = ["--set", "baselines={components: false, uniform: false, random: false}"]
    args = ["--task", "mad-compression@vocab_size=16,seq_len=32", "--preset", "cpu", *keys, *options]
    assert call(capsys, "search", *args, "--out", tmp_path / "run")[0] == 0
    error = refusal(capsys, "evaluate", tmp_path / "run", "--task", "mad-in-context-recall", "--preset", "cpu")
    assert "this hybrid has the head of kind 'autoencoder'; mad-in-context-recall@seq_len=32 needs 'tokens'" in error


def test_an_unregistered_kind_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    @registry.register("odd")
    def odd(options: TaskOptions) -> Task:
        task = load_task(TaskOptions("mad-compression", preset="cpu", train=20, val=5, test=5))
        task.kind = "regression"
        return task

    try:
        error = refusal(capsys, "search", "--models", "gpt-neo,mamba", "--task", "odd", "--out", tmp_path / "run")
    finally:
        registry._items.pop("odd")
    assert "kind of task 'regression'" in error
    assert not (tmp_path / "run" / "recipe.yaml").exists()


def test_every_task_has_a_recipe() -> None:
    assert default_config("lra-listops") == "search/lra-listops"
    assert default_config("mad-memorization@vocab_size=512") == "search/mad"
    assert default_config("pixels-fashion-mnist") == default_config("lra-pathx") == "search/lra"
    assert default_config("parity") is None
    assert all(default_config(name) for name in registry if name.partition("-")[0] in ("mad", "lra", "pixels", "bytes"))


def test_data_writes_one_folder_of_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--train", "12", "--val", "4", "--test", "4", "--preset", "cpu"]
    status, printed, err = call(capsys, "data", "lra-pathfinder32", "--out", tmp_path / "images", *sizes)
    assert (status, err) == (0, "")
    assert Path(printed.strip()).is_dir()
