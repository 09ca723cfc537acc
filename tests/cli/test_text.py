"""Text from end to end: a search over two models with tokenizers, its table, its page, and the exported model."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from manticore.cli import main
from manticore.results.search import HYBRID, AlignmentInfo, SearchResult
from manticore.tasks.catalog import load_task
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions
from manticore.training.metrics import BITS
from tests.helpers.cli import refusal
from tests.helpers.model_folders import bits_per_byte, model_folder, read_folder
from tests.helpers.trained_tokenizers import small_tokenizer

pytestmark = pytest.mark.e2e

TASK = "text@length=32,passage=2000"
SMALL = """
    --preset cpu --stages 4 --strategy darts --set align.tokens=16384 --set selection.base_criterion=best_alone
    --set task.train=40 --set task.val=5 --set task.test=5
    --set search.steps=4 --set search.warmup_steps=2 --set search.batch_size=4
    --set finetune.steps=3 --set finetune.batch_size=4 --set run.device=cpu
"""


def search(folder: Path, *models: Path, more: str = "") -> int:
    names = ",".join(map(str, models))
    return main(["search", "--models", names, "--task", TASK, "--out", str(folder / "run"), *shlex.split(SMALL + more)])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    assert search(folder, model_folder(folder / "gpt", "gpt_neo"), model_folder(folder / "mamba", "mamba")) == 0
    return folder / "run"


def test_every_row_has_its_bits_per_byte(run: Path) -> None:
    result = SearchResult.load(run)
    assert (result.kind, result.metric) == ("lm", BITS)
    names = [row.name for row in result.rows]
    assert names[:5] == [
        "soft supernet",
        "discretized, before fine-tuning",
        "discretized, after fine-tuning",
        "gpt alone",
        "mamba alone",
    ]
    assert all(2 < row.score.value < 8 and row.score.margin > 0 for row in result.rows)
    tokens = {row.name: row.train_tokens for row in result.rows}
    assert tokens["gpt alone"] == pytest.approx(tokens["discretized, after fine-tuning"], rel=0.1)


def test_the_page_and_the_card_show_bits_per_byte(run: Path) -> None:
    page, card = (run / "report.html").read_text(), (run / "hybrid" / "README.md").read_text()
    assert "bits per byte" in page
    assert "bits per byte" in card
    assert "accuracy" not in card
    assert "nan" not in card


def test_the_exported_models_have_the_scores_of_the_table(run: Path) -> None:
    result = SearchResult.load(run)
    row = result.hybrid
    task = load_task(TaskOptions(TASK, preset="cpu", train=40, val=5, test=5))
    assert isinstance(task, LanguageTask)
    value = bits_per_byte(*read_folder(run / "hybrid"), task.texts().test, 32)
    assert value == pytest.approx(row.score.value, rel=1e-4)
    assert (run / "best_component").exists() == (result.best_model != HYBRID)
    if result.best_model != HYBRID:
        value = bits_per_byte(*read_folder(run / "best_component"), task.texts().test, 32)
        assert value == pytest.approx(result.best_row.score.value, rel=1e-4)
        assert f"The model is {result.best_model} by itself" in (run / "best_component" / "README.md").read_text()


def test_each_model_uses_its_own_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Token counts differ between tokenizers; the exported folder has the tokenizer of the exported model."""
    gpt = model_folder(tmp_path / "gpt", "gpt_neo")
    mamba = model_folder(tmp_path / "mamba", "mamba", small_tokenizer(300))
    assert search(tmp_path, gpt, mamba, more="--base mamba") == 0
    result = SearchResult.load(tmp_path / "run")
    rows = {row.name: row for row in result.rows}
    assert rows["gpt alone"].score.count < rows["mamba alone"].score.count == rows["soft supernet"].score.count
    assert len(AutoTokenizer.from_pretrained(tmp_path / "run" / "hybrid")) == 300


@pytest.mark.parametrize("strategy", ["per-example", "head-wise", "blockwise", "mixture-of-supernets"])
def test_strategies_search_models_with_unlike_tokenizers(strategy: str, tmp_path: Path) -> None:
    gpt = model_folder(tmp_path / "gpt", "gpt_neo")
    mamba = model_folder(tmp_path / "mamba", "mamba", small_tokenizer(300))
    more = f"--base mamba --strategy {strategy} --set align.tokens=2000 --stages 2"
    more += " --set baselines.components=false --set baselines.uniform=false --set baselines.random=false"
    assert search(tmp_path, gpt, mamba, more=more) == 0
    result = SearchResult.load(tmp_path / "run")
    assert result.alignment is not None
    assert len(result.path) == 2


def test_a_model_without_a_tokenizer_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt, mamba = model_folder(tmp_path / "gpt", "gpt_neo"), model_folder(tmp_path / "mamba", "mamba")
    for file in gpt.glob("tokenizer*"):
        file.unlink()
    assert search(tmp_path, gpt, mamba) == 2
    assert "'gpt' has no tokenizer beside its weights" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two models with tokenizers, as a value of `--models`."""
    folder = tmp_path_factory.mktemp("pair")
    return ",".join(str(model_folder(folder / family, family)) for family in ("gpt_neo", "mamba"))


@pytest.mark.parametrize("command", ["search", "compare"])
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "there is no text in it"),
        ("a.txt", b" \n\n<|endoftext|>\n", "there is no text in it"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "not UTF-8 text (byte 0 cannot be read)"),
        ("a.txt", b"PK\x03\x04\x00\x00", "not text: a zero byte at character 4"),
        ("a.txt", b"a few words", "too few for four splits"),
        ("a.txt.xz", b"words", "damaged, or not compressed with xz"),
        ("a.jsonl", b'{"text": 7}', "a.jsonl:1: expected a record with a text"),
        ("a.jsonl", b'{"text": null}', "there is no text in it"),
        ("a.parquet", b"PAR1", "not a parquet file, or damaged"),
    ],
    ids=["empty", "blank", "binary", "zeros", "short", "xz", "record", "null", "parquet"],
)
def test_files_without_text_are_refused_before_anything_is_written(
    pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, name: str, content: bytes, message: str
) -> None:
    file = tmp_path / "texts" / name
    file.parent.mkdir()
    file.write_bytes(content)
    for source in (file, file.parent):
        args = ["--models", pair, "--task", TASK, "--data-dir", source, "--stages", 2, "--set", "run.device=cpu"]
        error = refusal(capsys, command, *args, "--out", tmp_path / "out")
        assert message in error
        assert str(source) in error
        assert [path.name for path in tmp_path.iterdir()] == ["texts"]


def test_a_sequence_longer_than_the_context_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt = model_folder(tmp_path / "gpt", "gpt_neo", length=16)
    assert search(tmp_path, gpt, model_folder(tmp_path / "mamba", "mamba")) == 2
    assert "a task sequence of 32 tokens exceeds the context length of 'gpt' (16)" in capsys.readouterr().err


def test_the_search_starts_from_aligned_projectors(run: Path) -> None:
    result = SearchResult.load(run)
    fit = result.alignment
    assert fit is not None
    assert 14_000 < fit.tokens < 20_000
    assert [stage.stage for stage in fit.stages] == [0, 1, 2, 3]
    assert all(stage.component != result.base and stage.update > 0 for stage in fit.stages)
    tokens = {row.name: row.train_tokens for row in result.rows}
    assert tokens["soft supernet"] > fit.tokens


def test_zero_shot_selects_a_path_without_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt, mamba = model_folder(tmp_path / "gpt", "gpt_neo"), model_folder(tmp_path / "mamba", "mamba")
    assert search(tmp_path, gpt, mamba, more="--strategy zero-shot --set align.tokens=2000 --stages 2") == 0
    out = capsys.readouterr().out
    assert "search: zero-shot scores the stages without gradients; with gradients: --strategy darts\n" in out
    assert "2 stages, residual topology, linear projectors with a bypass, 2^2 = 4 paths" in out
    run = tmp_path / "run"
    result = SearchResult.load(run)
    assert set(result.path) == {"gpt", "mamba"}
    assert not (run / "alphas.jsonl").exists()
    assert (run / "report.html").exists()
    assert main(["export", str(run), "--path", "mamba,mamba", "--out", str(tmp_path / "other")]) == 0
    model, tokenizer = read_folder(tmp_path / "other")
    assert model.config.path == ["mamba", "mamba"]
    assert bits_per_byte(model, tokenizer, ["It is a truth universally acknowledged"], 32) < 20


def test_the_base_has_the_smallest_mean_kl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt, mamba = model_folder(tmp_path / "gpt", "gpt_neo"), model_folder(tmp_path / "mamba", "mamba")
    more = "--strategy zero-shot --set align.tokens=2000 --stages 2 --set selection.base_criterion=min_kl"
    assert search(tmp_path, gpt, mamba, more=more) == 0
    result = SearchResult.load(tmp_path / "run")
    divergences = re.search(r"in nats per token: gpt ([\d.]+), mamba ([\d.]+)", result.base_reason)
    assert divergences is not None
    assert result.base == ("gpt" if float(divergences[1]) < float(divergences[2]) else "mamba")
    assert f"base: {result.base} (smallest mean KL when a donor replaces one stage" in capsys.readouterr().out
    tokens = {row.name: row.train_tokens for row in result.rows}
    assert tokens["soft supernet"] < 3500, "the calibration tokens are counted once"


def test_zero_shot_needs_language_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = "search --models gpt-neo,mamba --task lra-listops --preset cpu --strategy zero-shot"
    assert main([*args.split(), "--out", str(tmp_path / "run")]) == 2
    assert "zero-shot compares aligned language models" in capsys.readouterr().err


def test_a_projector_set_replaces_the_fit_of_projectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpt, mamba = model_folder(tmp_path / "gpt", "gpt_neo"), model_folder(tmp_path / "mamba", "mamba")
    text = tmp_path / "a.txt"
    text.write_text("\n\n".join(load_task(TaskOptions(TASK)).texts().train[:60]), encoding="utf-8")  # type: ignore[attr-defined]
    args = ["align", "--models", f"{gpt},{mamba}", "--text", str(text), "--tokens", "2000", "--length", "32"]
    assert main([*args, "--stages", "4", "--out", str(tmp_path / "set")]) == 0
    flag = f"--set align.projectors={tmp_path / 'set'}"
    assert search(tmp_path, gpt, mamba, more=flag) == 0
    config = json.loads((tmp_path / "set" / "config.json").read_text())
    result = SearchResult.load(tmp_path / "run")
    assert result.alignment == AlignmentInfo(config["tokens"], {}, ())
    assert (result.base, result.base_reason) == ("gpt", "the base of the projector set")
    capsys.readouterr()
    for more, message in (("--base mamba", "gpt"), ("--stages 3", "stages")):
        args = ["search", "--models", f"{gpt},{mamba}", "--task", TASK, "--out", str(tmp_path / "other")]
        assert main([*args, *shlex.split(f"{SMALL} {flag} {more}")]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "other").exists()
    model_folder(tmp_path / "mamba", "mamba", small_tokenizer(300))
    capsys.readouterr()
    args = ["search", "--models", f"{gpt},{mamba}", "--task", TASK, "--out", str(tmp_path / "other")]
    assert main([*args, *shlex.split(SMALL + flag)]) == 2
    assert f"{tmp_path / 'set'}" in (err := capsys.readouterr().err)
    assert "mamba" in err
    assert not (tmp_path / "other").exists()


def test_a_text_too_short_to_align_on_is_refused_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpt, mamba = model_folder(tmp_path / "gpt", "gpt_neo"), model_folder(tmp_path / "mamba", "mamba")
    short = tmp_path / "short.txt"
    short.write_text("\n<|endoftext|>\n".join(f"document {number}" for number in range(12)), encoding="utf-8")
    args = ["search", "--models", f"{gpt},{mamba}", "--task", "text@length=32", "--data-dir", short]
    error = refusal(capsys, *args, "--preset", "cpu", "--stages", 2, "--out", tmp_path / "run")
    assert "the text is too short to align on" in error
    assert not (tmp_path / "run").exists()


def test_other_commands_read_text_with_the_tokenizer_of_the_export(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = SearchResult.load(run)
    row = result.hybrid
    task_args = ["--task", TASK, "--preset", "cpu"]
    assert main(["evaluate", str(run), *task_args, "--json", str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder; --json needs a file" in capsys.readouterr().err
    assert main(["evaluate", str(run), *task_args, "--batch-size", "16", "--json", str(tmp_path / "score.json")]) == 0
    assert "bits per byte" in capsys.readouterr().out
    score = json.loads((tmp_path / "score.json").read_text())
    assert abs(score["bits_per_byte"] - row.score.value) < 0.5
    options = ["--steps", "2", "--batch-size", "4", "--out", str(tmp_path / "longer")]
    assert main(["finetune", str(run), *task_args, *options]) == 0
    assert "bits per byte before" in capsys.readouterr().out
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "longer" / "hybrid")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(run / "hybrid").get_vocab()
    assert main(["export", str(run), "--path", "gpt,mamba,gpt,gpt", "--out", str(tmp_path / "path")]) == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "path").config.path == ["gpt", "mamba", "gpt", "gpt"]
    assert "AutoModelForCausalLM" in (tmp_path / "path" / "README.md").read_text()


@pytest.fixture
def six_documents(tmp_path: Path) -> Path:
    """A text of six documents: the validation and the test split have one each."""
    file = tmp_path / "six.txt"
    documents = [f"document {number}. {f'it is number {number}, and says so. ' * 12}" for number in range(6)]
    file.write_text("\n<|endoftext|>\n".join(documents), encoding="utf-8")
    return file


def test_evaluate_on_a_test_split_of_one_document(
    run: Path, six_documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--task", "text@length=32", "--preset", "cpu", "--data-dir", str(six_documents)]
    assert main(["evaluate", str(run), *args, "--json", str(tmp_path / "score.json")]) == 0
    assert re.search(r" test: \d\.\d{3} bits per byte, loss ", capsys.readouterr().out), "one document has no margin"
    assert "margin" not in json.loads((tmp_path / "score.json").read_text())


def test_finetune_with_a_validation_split_of_one_document_exports_the_model(
    run: Path, six_documents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--task", "text@length=32", "--preset", "cpu", "--data-dir", str(six_documents)]
    more = ["--steps", "2", "--batch-size", "4", "--out", str(tmp_path / "tuned")]
    assert main(["finetune", str(run), *args, *more]) == 0
    out = capsys.readouterr().out
    assert re.search(r"validation split: \d\.\d{3} bits per byte before, \d\.\d{3} bits per byte after 2 steps", out)
    card = (tmp_path / "tuned" / "hybrid" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"on the validation split \d\.\d{3} bits per byte → \d\.\d{3} bits per byte\.", card)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "tuned" / "hybrid").config.vocab_size > 0
