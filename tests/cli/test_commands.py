"""Every command does what its help says, on one finished run."""

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
from manticore.results.search import SearchResult
from manticore.training.trainer import Hardware
from manticore.utils import assets
from manticore.utils.io import read_json
from tests.helpers.cli import PICO, call, command, refusal

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cached")]

DATA = ["--preset", "cpu", "--data-dir"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ListOps in its official files, small."""
    from manticore.cli import main

    folder = tmp_path_factory.mktemp("listops")
    words = f"data lra-listops --out {folder} --preset cpu --train 200 --val 40 --test 40 --seed 3".split()
    assert main(words) == 0
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
    keys = [place for place, line in enumerate(lines) if not line.startswith(" ")]
    assert all(lines[place + 1].startswith("    ") for place in keys), "a key without help"
    assert "search.alphas.lr = 0.1" in lines
    assert "scratch.attention.width = 64" in lines


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gpt-neo", "EleutherAI/gpt-neo-125m @ 21def0189f57"),
        ("lra-listops", "ListOps"),
        ("gpt-neo+mamba", "components:"),
        ("search/lra-listops", "presets:"),
    ],
)
def test_show_prints_a_thing(capsys: pytest.CaptureFixture[str], name: str, told: str) -> None:
    status, out, _ = call(capsys, "show", name)
    assert status == 0
    assert told in out


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mad-noisy-recall", ["kind tokens", "frac_noise", "0.4, 0.6, 0.8", "12,800", "inputs.npy", "mad-lab"]),
        ("mad-noisy-recall@seq_len=64", ["kind tokens", "63"]),
        ("lra-pathfinder32", ["level", "easy, intermediate, hard", "160,000", "metadata/<k>.npy", "lra_release.gz"]),
        ("lra-text", ["unit", "characters", "22,500", "aclImdb_v1.tar.gz", "train/pos"]),
        ("lra-retrieval", ["kind pair", "only in files", "new_aan_pairs.train.tsv", "--data-dir DIR"]),
        ("pixels-fashion-mnist", ["side", "ankle boot", "apt-get install", "t10k-images-idx3-ubyte"]),
    ],
)
def test_show_teaches_a_task_without_its_data(name: str, told: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    done = command("show", name, cache=cache, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hf"), NODE_PATH="")
    out, err = done.communicate(timeout=60)
    assert (done.returncode, err) == (0, "")
    first, blank, *_, example = out.splitlines()
    assert first.startswith(f"{name}: ")
    assert blank == ""
    assert all(words in out for words in told), out
    parser().parse_args(example.split()[1:])
    assert not cache.exists()


def test_show_refuses_a_setting_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean 'seq_len'" in refusal(capsys, "show", "mad-noisy-recall@seqlen=64")


def test_cp_then_validate_then_break_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mine = tmp_path / "below" / "mine.yaml"
    assert call(capsys, "cp", "search/lra-listops", mine)[:2] == (0, f"{mine}\n")
    assert mine.read_bytes() == assets.find("configs", "search/lra-listops").read_bytes()
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


def test_data_writes_what_search_reads(capsys: pytest.CaptureFixture[str], files: Path, tmp_path: Path) -> None:
    assert sorted(file.name for file in files.iterdir()) == ["basic_test.tsv", "basic_train.tsv", "basic_val.tsv"]
    status, _, err = call(capsys, "data", "lra-listops", "--out", files)
    assert (status, err.count("exists and is not overwritten")) == (2, 1)
    sizes = "--set task.train=100 --set task.val=20 --set task.test=20 --set search.steps=3 --set search.warmup_steps=1"
    quick = f"{sizes} --set finetune.steps=1 --set baselines.components=false --set baselines.uniform=false --stages 2"
    status, out, err = call(
        capsys, "search", *PICO, *quick.split(), "--data-dir", files, "--out", tmp_path / "run", "--topology", "hub"
    )
    assert (status, err) == (0, "")
    assert f"read from {files}" in out
    result = SearchResult.load(tmp_path / "run")
    assert result.task == "lra-listops@short"
    assert yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())["space"]["topology"] == "hub"


def test_a_search_leaves_everything_it_promises(pico_run: Path) -> None:
    assert {entry.name for entry in pico_run.iterdir()} == {
        *("recipe.yaml", "alphas.jsonl", "architecture.json", "metrics.json"),
        *("hybrid", "report.html", "checkpoints", "logs"),
    }
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


def test_a_finished_run_is_shown_again_and_not_run_again(capsys: pytest.CaptureFixture[str], pico_run: Path) -> None:
    status, out, err = call(capsys, "search", "--out", pico_run, "--resume")
    assert (status, err) == (0, "")
    assert "is complete; nothing to do" in out


def test_a_recipe_runs_again(capsys: pytest.CaptureFixture[str], pico_run: Path) -> None:
    assert call(capsys, "validate", pico_run / "recipe.yaml")[0] == 0


def test_evaluate_finds_the_accuracy_of_the_table(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    from manticore.tasks import catalog

    row = SearchResult.load(pico_run).exported_row
    asked = catalog.load_task
    options = yaml.safe_load((pico_run / "recipe.yaml").read_text())["task"]
    with pytest.MonkeyPatch.context() as patch:  # the same small data as the run had
        patch.setattr("manticore.export.load.load_task", lambda given: asked(type(given)(**options)))
        status, out, err = call(capsys, "evaluate", pico_run, "--json", tmp_path / "numbers.json")
    assert (status, err) == (0, "")
    assert f"accuracy {100 * row.score.value:.1f} ± " in out
    held = read_json(tmp_path / "numbers.json")
    assert held["accuracy"] == row.score.value
    assert held["loss"] == pytest.approx(row.score.loss, rel=1e-5)


def test_evaluate_reads_files_and_exported_folders(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path
) -> None:
    runs = [call(capsys, "evaluate", folder, *DATA, files) for folder in (pico_run, pico_run / "hybrid")]
    assert runs[0] == runs[1]
    assert runs[0][0] == 0
    assert "40 examples" in runs[0][1]


def test_export_copies_what_was_exported_or_builds_another_path(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    assert call(capsys, "export", pico_run, "--out", tmp_path / "same")[0] == 0
    same, want = ((folder / "model.safetensors").read_bytes() for folder in (tmp_path / "same", pico_run / "hybrid"))
    assert same == want
    status, out, err = call(
        capsys, "export", pico_run, "--out", tmp_path / "by-hand", "--path", "mamba, gpt-neo,mamba,mamba"
    )
    assert (status, err) == (0, "")
    assert "stage 1 mamba · stage 2 gpt-neo · stage 3 mamba · stage 4 mamba" in out
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "by-hand")
    assert model.config.path == ["mamba", "gpt-neo", "mamba", "mamba"]
    assert not list(tmp_path.glob(".*"))


def test_report_is_written_anew(capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(pico_run, tmp_path / "run")
    (copy / "report.html").unlink()
    status, out, _ = call(capsys, "report", copy)
    assert (status, out.strip()) == (0, str(copy / "report.html"))
    assert (copy / "report.html").read_text().lower().startswith("<!doctype html>")


def test_finetune_goes_on_to_the_same_weights(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def words(out: str) -> list[object]:
        sizes = ["--steps", 6, "--batch-size", 4, "--lr", 1e-3]
        return ["finetune", pico_run, *DATA, files, *sizes, "--out", tmp_path / out]

    monkeypatch.setattr(finetune, "setup_hardware", lambda _: Hardware(checkpoint_every=2))
    assert call(capsys, *words("whole"))[0] == 0
    step = finetune.TrainModule.weight_step

    def stops(module: finetune.TrainModule, batch: dict[str, object]) -> float:
        if module.step_count == 3:
            raise ManticoreError("the lights went out")
        return step(module, batch)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(finetune.TrainModule, "weight_step", stops)
        assert "the lights went out" in call(capsys, *words("parts"))[2]
    assert call(capsys, *words("parts"))[2].count("is not empty") == 1
    assert call(capsys, *words("parts"), "--resume", "--seed", 1)[2].count("'seed' differs") == 1
    assert call(capsys, *words("parts"), "--resume")[0] == 0
    whole, parts = ((tmp_path / out / "hybrid" / "model.safetensors").read_bytes() for out in ("whole", "parts"))
    assert whole == parts
    assert whole != (pico_run / "hybrid" / "model.safetensors").read_bytes()
    assert "## Fine-tuned further" in (tmp_path / "whole" / "hybrid" / "README.md").read_text()
    assert "nothing to do" in call(capsys, *words("whole"), "--resume")[1]


def test_finetune_learns_the_same_from_micro_batches(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path, tmp_path: Path
) -> None:
    held, asked = {}, []
    for size in (0, 3, 1):
        words = [*("--steps", 3, "--batch-size", 8, "--micro-batch-size", size), "--out", tmp_path / str(size)]
        assert call(capsys, "finetune", pico_run, *DATA, files, *words)[0] == 0
        held[size] = load_file(tmp_path / str(size) / "hybrid" / "model.safetensors")
        asked.append(read_json(tmp_path / str(size) / finetune.OPTIONS_FILE))
    assert asked[0] == asked[1] == asked[2]
    for size in (3, 1):
        assert all(torch.allclose(held[size][key], held[0][key], atol=1e-4) for key in held[0])


def test_evaluate_says_the_same_whatever_is_scored_at_once(
    capsys: pytest.CaptureFixture[str], pico_run: Path, files: Path
) -> None:
    said = [call(capsys, "evaluate", pico_run, *DATA, files, "--batch-size", size) for size in (1, 7, 256)]
    assert said[0] == said[1] == said[2]
    assert said[0][0] == 0


COMMANDS = [name for action in parser()._actions for name in (action.choices or ())]


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_help_says_what_and_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    status, out, err = call(capsys, *[command][: bool(command)], "--help")
    assert (status, err) == (0, "")
    assert f"manticore {command}" in out
    assert "example:" in out or not command


FOLDER = Path(cli.__file__).parent


def test_the_table_names_every_file_of_the_folder() -> None:
    helpers = {"__init__", "__main__", "options"}
    assert sorted(cli.COMMANDS) == sorted({file.stem for file in FOLDER.glob("*.py")} - helpers)


@pytest.mark.parametrize("words", [["--help"], ["search", "--help"], ["ls", "configs"]], ids=" ".join)
def test_what_answers_at_once_loads_nothing_heavy(words: list[str]) -> None:
    program = f"import sys; from manticore.cli import main\ntry: main({words})\nfinally: print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert not {"torch", "transformers", "lightning", "numba"} & set(done.stdout.splitlines())
