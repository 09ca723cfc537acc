"""An embedding table with more rows than its tokenizer has tokens, as many released models have: through every door."""

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
from tests.helpers.trained_tokenizers import reader, sample

pytestmark = pytest.mark.e2e

TOKENS, ROWS = 512, 600
TASK = "text@length=32,passage=2000"
KEYS = (
    *("task.train=40", "task.val=5", "task.test=5", "align.tokens=2000", "finetune.steps=3", "finetune.batch_size=4"),
    *("baselines.components=false", "baselines.uniform=false", "baselines.random=false", "run.device=cpu"),
)
SMALL = ["--task", TASK, "--preset", "cpu", "--stages", 2, "--strategy", "zero-shot", "--base", "gpt"]
SMALL += [word for key in KEYS for word in ("--set", key)]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`plain/gpt`, `padded/gpt`, which is the same with rows for ids that no text has, `mamba`, and a text."""
    root = tmp_path_factory.mktemp("padded")
    model_folder(root / "mamba", "mamba")
    model = AutoModelForCausalLM.from_pretrained(model_folder(root / "plain" / "gpt", "gpt_neo"))
    model.resize_token_embeddings(ROWS, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[TOKENS:] = 0
    model.save_pretrained(root / "padded" / "gpt")
    reader().save_pretrained(root / "padded" / "gpt")
    (root / "text.txt").write_text("\n\n".join(sample()[::20]), encoding="utf-8")
    return root


def models(shelf: Path, kind: str) -> tuple[str, str]:
    return "--models", f"{shelf / kind / 'gpt'},{shelf / 'mamba'}"


def logits(folder: Path) -> Tensor:
    model, words = read_folder(folder)
    with torch.no_grad():
        out: Tensor = model(input_ids=torch.tensor([words("It is a truth")["input_ids"]])).logits
    return out


def test_rows_that_no_text_has_change_neither_projectors_nor_hybrid(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = ["--text", shelf / "text.txt", "--tokens", 2000, "--length", 32, "--stages", 2]
    said, weights, losses = {}, {}, {}
    for kind in ("plain", "padded"):
        made, hybrid = tmp_path / kind / "set", tmp_path / kind / "hybrid"
        assert call(capsys, "align", *models(shelf, kind), *read, "--out", made)[0] == 0
        rest = ["--path", "mamba,gpt", "--projectors", made, "--out", hybrid]
        assert call(capsys, "export", *models(shelf, kind), *rest)[0] == 0
        weights[kind], losses[kind] = load_file(made / "model.safetensors"), read_json(made / "config.json")
        status, said[kind], err = call(capsys, "generate", hybrid, "--prompt", "It is", "--max-new-tokens", 12)
        assert (status, err) == (0, "")
    assert all(torch.equal(weights["padded"][key], value) for key, value in weights["plain"].items())
    losses = {kind: held["mean_mixed_loss"]["aligned"] for kind, held in losses.items()}
    assert losses["plain"] < losses["padded"] < losses["plain"] + math.log(ROWS / TOKENS)
    both = {kind: logits(tmp_path / kind / "hybrid") for kind in said}
    assert (both["plain"].shape[-1], both["padded"].shape[-1]) == (TOKENS, ROWS)
    assert torch.equal(both["padded"][..., :TOKENS], both["plain"])
    assert said["padded"] == said["plain"] != "\n"


def test_a_search_at_such_a_base_exports_what_it_scores(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    status, _, err = call(capsys, "search", *models(shelf, "padded"), *SMALL, "--out", run)
    assert status == 0, err
    result = SearchResult.load(run)
    bits = {row.name: row.score.value for row in result.rows}
    task = load_task(TaskOptions(TASK, preset="cpu", train=40, val=5, test=5))
    assert isinstance(task, LanguageTask)
    model, words = read_folder(run / "hybrid")
    assert (model.config.path, model.config.vocab_size, len(words)) == (list(result.path), ROWS, TOKENS)
    told = bits_per_byte(model, words, task.texts().test, 32)
    assert told == pytest.approx(bits["discretized, after fine-tuning"], rel=1e-4)


def test_what_has_no_token_is_said_as_nothing(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As by transformers: a model may draw an id of a row that was never trained."""
    model, words = read_folder(shelf / "padded" / "gpt")
    asked = ("generate", shelf / "padded" / "gpt", "--prompt", "It is", "--max-new-tokens", 40, "--temperature", 2.0)
    status, out, err = call(capsys, *asked)
    torch.manual_seed(0)
    prompt = torch.tensor([words("It is")["input_ids"]])
    whole = model.generate(prompt, max_new_tokens=40, do_sample=True, temperature=2.0, top_k=0, pad_token_id=0)[0]
    drawn = whole[prompt.shape[1] :].tolist()
    known = [token for token in drawn if token < TOKENS]
    assert len(known) < len(drawn)
    assert (status, out, err) == (0, words.decode(known, skip_special_tokens=True) + "\n", "")
