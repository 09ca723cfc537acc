"""Every command does what its help describes; most are run on one finished search."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from manticore import cli
from manticore.cli import parser
from manticore.components import CATALOG
from manticore.errors import ManticoreError
from manticore.pipelines import finetune
from manticore.results.search import HYBRID, SearchResult
from manticore.training.trainer import Hardware
from manticore.utils import assets
from manticore.utils.io import read_json
from tests.helpers.cli import PICO, call, command, refusal

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cached")]

DATA = ["--preset", "cpu", "--data-dir"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ListOps in files of the official format."""
    from manticore.cli import main

    folder = tmp_path_factory.mktemp("listops")
    args = f"data lra-listops --out {folder} --preset cpu --train 200 --val 40 --test 40 --seed 3".split()
    assert main(args) == 0
    return folder


def test_ls_lists_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "ls")
    assert (status, err) == (0, "")
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "models",
        "tasks",
        "spaces",
        "projectors",
        "configs",
    ]
    assert all(name in out for name in (*CATALOG, "lra-listops", "gpt-neo+mamba", "search/lra-listops"))
    for kind in ("models", "tasks", "spaces", "projectors", "configs"):
        assert call(capsys, "ls", kind)[1] in out


def test_show_explains_every_recipe_key(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = call(capsys, "show", "recipe")
    assert status == 0
    lines = out.splitlines()
    keys = [index for index, line in enumerate(lines) if not line.startswith(" ")]
    assert all(lines[index + 1].startswith("    ") for index in keys), "a key without help"
    assert "search.alphas.lr = 0.1" in lines
    assert "scratch.attention.width = 64" in lines


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpt-neo", "EleutherAI/gpt-neo-125m @ 21def0189f57"),
        ("lra-listops", "ListOps"),
        ("gpt-neo+mamba", "components:"),
        ("search/lra-listops", "presets:"),
    ],
)
def test_show_describes_an_asset_of_each_kind(capsys: pytest.CaptureFixture[str], name: str, expected: str) -> None:
    status, out, _ = call(capsys, "show", name)
    assert status == 0
    assert expected in out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mad-noisy-recall", ["kind tokens", "frac_noise", "0.4, 0.6, 0.8", "12,800", "inputs.npy", "mad-lab"]),
        ("mad-noisy-recall@seq_len=64", ["kind tokens", "63"]),
        ("lra-pathfinder32", ["level", "easy, intermediate, hard", "160,000", "metadata/<k>.npy", "lra_release.gz"]),
        ("lra-text", ["unit", "characters", "22,500", "aclImdb_v1.tar.gz", "train/pos"]),
        ("lra-retrieval", ["kind pair", "only in files", "new_aan_pairs.train.tsv", "--data-dir DIR"]),
        ("pixels-fashion-mnist", ["side", "ankle boot", "apt-get install", "t10k-images-idx3-ubyte"]),
    ],
)
def test_show_describes_a_task_without_its_data(name: str, expected: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    process = command("show", name, cache=cache, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hf"), NODE_PATH="")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    first, blank, *_, example = out.splitlines()
    assert first.startswith(f"{name}: ")
    assert blank == ""
    assert all(text in out for text in expected), out
    parser().parse_args(example.split()[1:])
    assert not cache.exists()


def test_show_refuses_an_unknown_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'seq_len'" in refusal(capsys, "show", "mad-noisy-recall@seqlen=64")


def test_a_copied_recipe_is_valid_and_errors_in_it_are_reported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    mine = tmp_path / "below" / "mine.yaml"
    assert call(capsys, "cp", "search/lra-listops", mine)[:2] == (0, f"{mine}\n")
    first, rest = mine.read_text("utf-8").split("\n", 1)
    original = assets.find("configs", "search/lra-listops").read_text("utf-8")
    assert original == f"# yaml-language-server: $schema=../../schemas/recipe.schema.json\n{rest}"
    schema = Path(first.removeprefix("# yaml-language-server: $schema="))
    assert schema.is_absolute()
    assert json.loads(schema.read_text("utf-8"))["$id"] == "recipe.schema.json"
    assert call(capsys, "validate", mine)[1] == f"{mine}: a recipe with presets cpu, paper\n"
    for broken, message in [
        ("space: {components: [a, b], stages: 4}\nserch: {}\n", "recipe key 'serch'. Did you mean 'search'?"),
        ("space: {components: [a]}\n", "at least two components"),
        ("space: {components: [a, b], projector: liner}\n", "Did you mean 'linear'?"),
        ("components: [a, b]\nprojector: liner\n", "Did you mean 'linear'?"),
        ("components: [a, b]\ntopology: hubb\n", "Did you mean 'hub'?"),
        ("presets: {cpu: 3}\n", "maps names of presets"),
        ("presets: {cpu: {serch: {}}}\n", "Did you mean 'search'?"),
        ("task: [\n", "not YAML"),
        ("- 1\n", "a recipe is a mapping"),
        ("components: {}\n", "a list of at least two models"),
    ]:
        mine.write_text(broken)
        status, _, err = call(capsys, "validate", mine)
        assert status == 2
        assert err.startswith(f"manticore: error: {mine}:"), err
        assert message in err
        assert err.count("\n") == 1


def test_search_reads_the_files_that_data_writes(
    capsys: pytest.CaptureFixture[str], files: Path, tmp_path: Path
) -> None:
    assert sorted(file.name for file in files.iterdir()) == ["basic_test.tsv", "basic_train.tsv", "basic_val.tsv"]
    status, _, err = call(capsys, "data", "lra-listops", "--out", files)
    assert (status, err.count("exists and is not overwritten")) == (2, 1)
    sizes = "--set task.train=100 --set task.val=20 --set task.test=20 --set search.steps=3 --set search.warmup_steps=1"
    options = (
        f"{sizes} --set finetune.steps=1 --set baselines.components=false --set baselines.uniform=false --stages 2"
    )
    status, out, err = call(
        capsys, "search", *PICO, *options.split(), "--data-dir", files, "--out", tmp_path / "run", "--topology", "hub"
    )
    assert (status, err) == (0, "")
    assert f"read from {files}" in out
    result = SearchResult.load(tmp_path / "run")
    assert result.task == "lra-listops@short"
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["space"]["topology"] == "hub"


def test_a_search_writes_all_files_of_a_run(pico_run: Path) -> None:
    assert {entry.name for entry in pico_run.iterdir()} - {"best_component"} == {
        *("recipe.yaml", "data.json", "alphas.jsonl", "path_scores.json", "architecture.json", "metrics.json"),
        *("hybrid", "report.html", "checkpoints", "logs"),
    }
    assert (pico_run / "best_component").exists() == (SearchResult.load(pico_run).best_model != HYBRID)
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "modeling_manticore.py"} <= {
        entry.name for entry in (pico_run / "hybrid").iterdir()
    }
    result = SearchResult.load(pico_run)
    assert result.task == "lra-listops@short"
    assert [row.name for row in result.rows] == [
        *("soft supernet", "discretized, before fine-tuning", "discretized, after fine-tuning"),
        *("gpt-neo alone", "mamba alone", "uniform mixture", "random path", "majority class", "root operator"),
    ]
    steps = [json.loads(line)["step"] for line in (pico_run / "alphas.jsonl").read_text().splitlines()]
    assert steps == list(range(9, 25))
    assert not list(pico_run.rglob("*.ckpt"))
    assert not list(pico_run.rglob("*.part"))


def test_a_finished_run_is_not_run_again(capsys: pytest.CaptureFixture[str], pico_run: Path) -> None:
    status, out, err = call(capsys, "search", "--out", pico_run, "--resume")
    assert (status, err) == (0, "")
    assert "is complete; nothing to do" in out


def test_the_recipe_of_a_run_is_valid(capsys: pytest.CaptureFixture[str], pico_run: Path) -> None:
    assert call(capsys, "validate", pico_run / "recipe.yaml")[0] == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("search/text", "search/text: a recipe"),
        ("search/lra-listops", "search/lra-listops: a recipe with presets cpu, paper"),
        ("pretrain/mamba-nano", "pretrain/mamba-nano: a pretraining recipe"),
        ("gpt-neo+mamba", "gpt-neo+mamba: a search space of gpt-neo, mamba in"),
        ("nano-mamba-base", "a projector set of gpt-neo-nano for the base model mamba-nano"),
    ],
)
def test_validate_takes_names(capsys: pytest.CaptureFixture[str], name: str, message: str) -> None:
    status, out, err = call(capsys, "validate", name)
    assert (status, err) == (0, "")
    assert message in out


def test_evaluate_reproduces_the_accuracy_of_the_table(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    row = SearchResult.load(pico_run).hybrid
    status, out, err = call(capsys, "evaluate", pico_run, "--json", tmp_path / "numbers.json")
    assert (status, err) == (0, "")
    assert f"accuracy {100 * row.score.value:.1f} ± " in out
    numbers = read_json(tmp_path / "numbers.json")
    assert numbers["accuracy"] == row.score.value
    assert numbers["loss"] == pytest.approx(row.score.loss, rel=1e-5)


def test_evaluate_reads_files_and_exported_folders(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path
) -> None:
    runs = [call(capsys, "evaluate", folder, *DATA, files) for folder in (pico_run, pico_run / "hybrid")]
    assert runs[0] == runs[1]
    assert runs[0][0] == 0
    assert "40 examples" in runs[0][1]


def test_export_copies_the_exported_model_or_builds_another_path(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    assert call(capsys, "export", pico_run, "--out", tmp_path / "same")[0] == 0
    copied, exported = (
        (folder / "model.safetensors").read_bytes() for folder in (tmp_path / "same", pico_run / "hybrid")
    )
    assert copied == exported
    status, out, err = call(
        capsys, "export", pico_run, "--out", tmp_path / "by-hand", "--path", "mamba, gpt-neo,mamba,mamba"
    )
    assert (status, err) == (0, "")
    assert "stage 1 mamba · stage 2 gpt-neo · stage 3 mamba · stage 4 mamba" in out
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "by-hand")
    assert model.config.path == ["mamba", "gpt-neo", "mamba", "mamba"]
    assert not list(tmp_path.glob(".*"))


def test_report_writes_a_missing_page(capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pico_run, tmp_path / "run")
    (copy / "report.html").unlink()
    status, out, _ = call(capsys, "report", copy)
    assert (status, out.strip()) == (0, str(copy / "report.html"))
    assert (copy / "report.html").read_text().lower().startswith("<!doctype html>")


def test_resumed_finetuning_gives_the_same_weights(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def arguments(out: str) -> list[object]:
        sizes = ["--steps", 6, "--batch-size", 4, "--lr", 1e-3]
        return ["finetune", pico_run, *DATA, files, *sizes, "--out", tmp_path / out]

    monkeypatch.setattr(finetune, "setup_hardware", lambda _: Hardware(checkpoint_every=2))
    assert call(capsys, *arguments("whole"))[0] == 0
    step = finetune.TrainModule.weight_step

    def interrupted_step(module: finetune.TrainModule, batch: dict[str, object]) -> float:
        if module.step_count == 3:
            raise ManticoreError("power failure")
        return step(module, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(finetune.TrainModule, "weight_step", interrupted_step)
        assert "power failure" in call(capsys, *arguments("parts"))[2]
    assert call(capsys, *arguments("parts"))[2].count("is not empty") == 1
    assert call(capsys, *arguments("parts"), "--resume", "--seed", 1)[2].count("seed was 0 and is 1 now") == 1
    assert call(capsys, *arguments("parts"), "--resume")[0] == 0
    whole, parts = ((tmp_path / out / "hybrid" / "model.safetensors").read_bytes() for out in ("whole", "parts"))
    assert whole == parts
    assert whole != (pico_run / "hybrid" / "model.safetensors").read_bytes()
    assert "## Fine-tuned further" in (tmp_path / "whole" / "hybrid" / "README.md").read_text()
    assert "nothing to do" in call(capsys, *arguments("whole"), "--resume")[1]


def test_micro_batches_do_not_change_finetuning(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path, tmp_path: Path
) -> None:
    weights, options = {}, []
    for size in (0, 3, 1):
        args = [*("--steps", 3, "--batch-size", 8, "--micro-batch-size", size), "--out", tmp_path / str(size)]
        assert call(capsys, "finetune", pico_run, *DATA, files, *args)[0] == 0
        weights[size] = load_file(tmp_path / str(size) / "hybrid" / "model.safetensors")
        options.append(read_json(tmp_path / str(size) / finetune.FINETUNING))
    assert options[0] == options[1] == options[2]
    for size in (3, 1):
        assert all(torch.allclose(weights[size][key], weights[0][key], atol=1e-4) for key in weights[0])


def test_evaluate_does_not_depend_on_the_batch_size(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path
) -> None:
    results = [call(capsys, "evaluate", pico_run, *DATA, files, "--batch-size", size) for size in (1, 7, 256)]
    assert results[0] == results[1] == results[2]
    assert results[0][0] == 0


COMMANDS = [name for action in parser()._actions for name in (action.choices or ())]


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_help_names_the_command_and_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, out, err = call(capsys, *[command][: bool(command)], "--help")
    assert (status, err) == (0, "")
    assert f"manticore {command}" in out
    assert "example:" in out or not command


FOLDER = Path(cli.__file__).parent


def test_every_module_of_a_command_is_in_the_table_of_commands() -> None:
    helpers = {"__init__", "__main__", "options"}
    assert sorted(cli.COMMANDS) == sorted({file.stem for file in FOLDER.glob("*.py")} - helpers)


@pytest.mark.parametrize("args", [["--help"], ["search", "--help"], ["ls", "configs"]], ids=" ".join)
def test_help_and_ls_import_no_heavy_package(args: list[str]) -> None:
    program = f"import sys; from manticore.cli import main\ntry: main({args})\nfinally: print(*sys.modules, sep='\\n')"
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "transformers", "lightning", "numba"} & set(process.stdout.splitlines())
