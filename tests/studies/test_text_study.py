"""`manticore compare` on text: each model reads with its own tokenizer, and fewer bits per byte are better."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.results.study import StudyResult, TaskResult
from manticore.studies.aggregate import better_component
from manticore.tasks.catalog import load_task
from manticore.tasks.options import TaskOptions
from manticore.training.metrics import ACCURACY, BITS
from tests.helpers.cli import call, refusal
from tests.helpers.html import Reader
from tests.helpers.model_folders import model_folder
from tests.helpers.trained_tokenizers import small_tokenizer

pytestmark = pytest.mark.e2e

TASK = "text@length=32,passage=2000"
SMALL = [
    *("--preset", "cpu", "--stages", 2, "--learning-rates", 0.002),
    *("--set", "align.tokens=256", "--set", "task.train=40", "--set", "task.val=5", "--set", "task.test=5"),
    *("--set", "search.steps=4", "--set", "search.warmup_steps=2", "--set", "search.batch_size=4"),
    *("--strategy", "darts", "--set", "selection.base_criterion=best_alone"),
    *("--set", "finetune.steps=3", "--set", "finetune.batch_size=4", "--set", "run.device=cpu"),
]
BASELINES = ["gpt alone", "mamba alone", "uniform mixture", "random path"]


def compare_args(out: Path, *models: Path, task: str = TASK) -> list[object]:
    """A comparison at pico size."""
    return ["compare", "--models", ",".join(map(str, models)), "--task", task, "--out", out, *SMALL]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models with different tokenizers."""
    folder = tmp_path_factory.mktemp("pair")
    return model_folder(folder / "gpt", "gpt_neo"), model_folder(folder / "mamba", "mamba", small_tokenizer(300))


def task_bytes() -> int:
    """Bytes of the test split."""
    options = TaskOptions(TASK, preset="cpu", train=40, val=5, test=5)
    return sum(len(text.encode()) for text in load_task(options).texts().test)  # type: ignore[attr-defined]


def read(out: Path) -> TaskResult:
    """The result on the one task of a study."""
    (task,) = StudyResult.load(out).tasks
    return task


def test_compare_with_different_tokenizers_and_resume(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status, stdout, stderr = call(capsys, *compare_args(out, *pair), "--seeds", 1, "--all-paths", "--budgets", "tokens")
    assert (status, stderr) == (0, "")
    assert "without MambaFormer and the striped hybrid" in stdout
    assert "without the hub" in stdout
    assert "bits per byte" in stdout
    assert "accuracy" not in stdout

    task = read(out)
    arms = {arm.name: arm for arm in task.tables["tokens"]}
    assert (task.metric, task.kind, list(arms)) == (BITS, "lm", ["hybrid", *BASELINES])
    assert all(3 < arm.score.mean < 8 for arm in arms.values())
    for name in ("uniform mixture", "random path"):  # calibration tokens count
        assert arms[name].train_tokens == pytest.approx(arms["hybrid"].train_tokens, rel=0.1), name
    hybrid_score = arms["hybrid"].seed_scores["0"]
    for name, lead in task.leads["tokens"].items():  # fewer bits are a positive lead
        assert lead.mean == pytest.approx(arms[name].seed_scores["0"] - hybrid_score), name
    best = min(("gpt alone", "mamba alone"), key=lambda name: arms[name].val_score)
    assert task.base == best.removesuffix(" alone")
    assert better_component(list(arms.values()), BITS) == arms[best]
    (chosen,) = (path for path in task.paths if path.times_chosen)
    assert task.regret is not None
    assert task.regret.mean == pytest.approx(chosen.score.mean - min(path.score.mean for path in task.paths))
    alone = next(path for path in task.paths if set(path.path) == {task.base})
    assert alone.score.mean == arms[best].score.mean

    for name, lead in task.document_leads["tokens"].items():  # with one seed they are the leads over seeds
        assert lead.mean == pytest.approx(task.leads["tokens"][name].mean), name
        assert lead.low < lead.mean < lead.high
    assert [sum(size for _, size in arm.documents) for arm in arms.values()] == [task_bytes()] * len(arms)

    table = (out / "tables.md").read_text()
    assert "| model | bits per byte |" in table
    least = min(arm.score.mean for arm in arms.values())
    assert table.count(f"**{least:.3f}**") == 2  # in the overview and in the table of the task
    page = Reader((out / "report.html").read_text()).plain_text
    assert "Lower bits per byte are better." in page
    assert (
        "Excluded: MambaFormer and the striped hybrid, which have no pretrained weights to begin with; the hub" in page
    )
    assert f"{least:.3f} bits per byte" in page
    assert "For these models, over the" in page
    assert "bits per byte above the best of 4." in page
    assert "%" not in page.replace("95% confidence interval", "")
    assert "accuracy" not in page

    before = {file: file.stat().st_mtime_ns for file in (out / "trials").iterdir()}
    more_seeds = ["--seeds", 2, "--budgets", "tokens", "--baselines", "components"]
    status, stdout, _ = call(capsys, *compare_args(out, *pair), *more_seeds)
    assert status == 0
    assert {file: file.stat().st_mtime_ns for file in before} == before  # no trial is run again
    assert ("seed 0" in stdout, "seed 1" in stdout) == (False, True)
    assert "without MambaFormer" not in stdout  # it is not among the baselines
    task = read(out)
    hybrid = task.tables["tokens"][0]
    assert hybrid.score.count == 2
    assert hybrid.seed_scores["0"] == hybrid_score


def test_compare_with_one_tokenizer(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With both budgets, beside a task that is measured by accuracy; the base is chosen before any training."""
    out = tmp_path / "out"
    mamba = model_folder(tmp_path / "mamba", "mamba")
    extra = ["--task", "mad-compression@vocab_size=4,seq_len=6", "--baselines", "components,soft,hub"]
    extra += ["--set", "selection.base_criterion=min_kl"]
    status, stdout, stderr = call(capsys, *compare_args(out, pair[0], mamba), *extra, "--seeds", 1)
    assert (status, stderr) == (0, "")
    text, mad = StudyResult.load(out).tasks
    assert (text.metric, mad.metric) == (BITS, ACCURACY)
    assert f"base: {text.base} (smallest mean KL when a donor replaces one stage, in nats per token: gpt " in stdout
    assert stdout.count("base:") == 1, "min_kl needs components that read text"
    for arm in text.tables["flops"]:
        assert arm.train_flops == pytest.approx(text.train_flops, rel=0.2), arm.name
    arms = {arm.name: arm for arm in text.tables["tokens"]}
    assert arms["soft hybrid"].train_tokens == arms["hybrid"].train_tokens
    assert arms["soft hybrid"].parameters > arms["hybrid"].parameters
    assert "the soft hybrid" in stdout
    table = (out / "tables.md").read_text()
    assert "| model | accuracy |" in table
    assert "| model | bits per byte |" in table
    page = Reader((out / "report.html").read_text())
    assert "or, in the second chart, percentage points" in page.plain_text
    assert sum(label.startswith("Lead of the hybrid in bits per byte") for label in page.labels) == 2
    assert sum(label.startswith("Lead of the hybrid in points") for label in page.labels) == 2
    assert "of 2 tasks" in stdout or "both tasks" in stdout


def test_components_without_a_tokenizer_or_with_a_short_context_are_rejected(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bare = tmp_path / "out", model_folder(tmp_path / "bare", "mamba")
    for file in bare.glob("tokenizer*"):
        file.unlink()
    error = refusal(capsys, *compare_args(out, pair[0], bare))
    assert "'bare' has no tokenizer beside its weights, and cannot read text" in error
    short = model_folder(tmp_path / "short", "gpt_neo", length=16)
    assert "the context length of 'short' (16)" in refusal(capsys, *compare_args(out, short, pair[1]))
    assert not out.exists()


@pytest.mark.parametrize(
    ("proxy", "target"), [(TASK, "mad-compression"), ("mad-compression", TASK)], ids=["proxy", "target"]
)
def test_transfer_needs_accuracy(
    pair: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], proxy: str, target: str
) -> None:
    out = tmp_path / "out"
    _, *rest = compare_args(out, *pair, task=target)
    error = refusal(capsys, "transfer", "--proxy", proxy, *rest)
    assert f"{TASK} is measured in bits per byte; transfer needs proxies and a target" in error
    assert not out.exists()
