"""An embedding table with more rows than tokens (as in many released models) in align, export, search, generate."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from manticore.results.search import SearchResult
from manticore.tasks.catalog import load_task
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions
from manticore.utils.io import read_json
from tests.helpers.cli import call
from tests.helpers.model_folders import bits_per_byte, model_folder, read_folder
from tests.helpers.trained_tokenizers import sample, small_tokenizer

pytestmark = pytest.mark.e2e

TOKENS, ROWS = 512, 600
TASK = "text@length=32,passage=2000"
KEYS = (
    *("task.train=40", "task.val=5", "task.test=5", "align.tokens=2000", "finetune.steps=3", "finetune.batch_size=4"),
    *("baselines.components=false", "baselines.uniform=false", "baselines.random=false", "run.device=cpu"),
)
SMALL = ["--task", TASK, "--preset", "cpu", "--stages", 2, "--strategy", "zero-shot", "--base", "gpt"]
SMALL += [argument for key in KEYS for argument in ("--set", key)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain/gpt`, `padded/gpt`, the same with rows without a token, `mamba`, and a text."""
    root = tmp_path_factory.mktemp("padded")
    model_folder(root / "mamba", "mamba")
    model = AutoModelForCausalLM.from_pretrained(model_folder(root / "plain" / "gpt", "gpt_neo"))
    model.resize_token_embeddings(ROWS, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[TOKENS:] = 0
    model.save_pretrained(root / "padded" / "gpt")
    small_tokenizer().save_pretrained(root / "padded" / "gpt")
    (root / "text.txt").write_text("\n\n".join(sample()[::20]), encoding="utf-8")
    return root


def models(root: Path, kind: str) -> tuple[str, str]:
    return "--models", f"{root / kind / 'gpt'},{root / 'mamba'}"


def logits(folder: Path) -> Tensor:
    model, tokenizer = read_folder(folder)
    with torch.no_grad():
        out: Tensor = model(input_ids=torch.tensor([tokenizer("It is a truth")["input_ids"]])).logits
    return out


def test_rows_without_a_token_change_neither_projectors_nor_hybrid(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ["--text", folder / "text.txt", "--tokens", 2000, "--length", 32, "--stages", 2]
    outputs, weights, losses = {}, {}, {}
    for kind in ("plain", "padded"):
        projectors, hybrid = tmp_path / kind / "set", tmp_path / kind / "hybrid"
        assert call(capsys, "align", *models(folder, kind), *text, "--out", projectors)[0] == 0
        rest = ["--path", "mamba,gpt", "--projectors", projectors, "--out", hybrid]
        assert call(capsys, "export", *models(folder, kind), *rest)[0] == 0
        weights[kind], losses[kind] = load_file(projectors / "model.safetensors"), read_json(projectors / "config.json")
        status, outputs[kind], err = call(capsys, "generate", hybrid, "--prompt", "It is", "--max-new-tokens", 12)
        assert (status, err) == (0, "")
    assert all(torch.equal(weights["padded"][key], value) for key, value in weights["plain"].items())
    losses = {kind: config["mean_mixed_loss"]["aligned"] for kind, config in losses.items()}
    assert losses["plain"] < losses["padded"] < losses["plain"] + math.log(ROWS / TOKENS)
    both = {kind: logits(tmp_path / kind / "hybrid") for kind in outputs}
    assert (both["plain"].shape[-1], both["padded"].shape[-1]) == (TOKENS, ROWS)
    assert torch.equal(both["padded"][..., :TOKENS], both["plain"])
    assert outputs["padded"] == outputs["plain"] != "\n"


def test_a_search_with_a_padded_base_exports_the_model_that_it_scores(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    status, _, err = call(capsys, "search", *models(folder, "padded"), *SMALL, "--out", run)
    assert status == 0, err
    result = SearchResult.load(run)
    bits = {row.name: row.score.value for row in result.rows}
    task = load_task(TaskOptions(TASK, preset="cpu", train=40, val=5, test=5))
    assert isinstance(task, LanguageTask)
    model, tokenizer = read_folder(run / "hybrid")
    assert (model.config.path, model.config.vocab_size, len(tokenizer)) == (list(result.path), ROWS, TOKENS)
    value = bits_per_byte(model, tokenizer, task.texts().test, 32)
    assert value == pytest.approx(bits["discretized, after fine-tuning"], rel=1e-4)


def test_ids_without_a_token_are_never_sampled(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """transformers samples the ids of rows that were never trained, and decodes them to nothing."""
    model, tokenizer = read_folder(folder / "padded" / "gpt")
    arguments = (
        "generate",
        folder / "padded" / "gpt",
        "--prompt",
        "It is",
        "--max-new-tokens",
        40,
        "--temperature",
        2.0,
    )
    status, out, err = call(capsys, *arguments)
    torch.manual_seed(0)
    prompt = torch.tensor([tokenizer("It is")["input_ids"]])
    options = {"max_new_tokens": 40, "do_sample": True, "temperature": 2.0, "top_k": 0, "pad_token_id": 0}
    ids = model.generate(prompt, **options, suppress_tokens=list(range(TOKENS, ROWS)))[0, prompt.shape[1] :]
    assert len(ids) == 40
    assert (status, out, err) == (0, tokenizer.decode(ids, skip_special_tokens=True) + "\n", "")
    torch.manual_seed(0)
    assert int(model.generate(prompt, **options).max()) >= TOKENS
