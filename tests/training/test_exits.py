"""Early exits: the loss is the mean over the depths of the hybrid, and each depth generates with a cache."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, PreTrainedModel

import manticore as mc
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from manticore.training.exits import ExitLoss
from tests.adapters.test_commands import finetune
from tests.adapters.test_lines import text_folder
from tests.helpers.cli import PICO, call, refusal
from tests.helpers.pico import VOCAB, supernet, tokens
from tests.helpers.text_hybrids import export_hybrid, hybrid_tokenizer

PATH = ["base", "donor", "base"]


def at(model: PreTrainedModel, stages: int | None) -> PreTrainedModel:
    model.config.exit_stage = stages
    return model


@pytest.mark.parametrize("kind", ["lm", "classification", "tokens"])
def test_the_loss_is_the_mean_over_depths(kind: str) -> None:
    spec = HeadSpec() if kind == "lm" else HeadSpec(kind, VOCAB, 3)
    model = discretize(supernet("gpt_neo", "mamba", spec), PATH)
    ids, mask = tokens()
    labels = ids.roll(-1, 1).masked_fill(mask == 0, -100)
    if kind != "lm":
        labels = torch.arange(len(ids)) % 3 if kind == "classification" else labels.clamp(max=2)
    losses = []
    for depth in (1, 2, None):
        logits = at(model, depth)(input_ids=ids, attention_mask=mask).logits
        losses.append(F.cross_entropy(logits.flatten(0, -2), labels.flatten()))
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    torch.testing.assert_close(ExitLoss(model, (2, 1))(model, batch), torch.stack(losses).mean())
    assert len({round(loss.item(), 4) for loss in losses}) == 3


def test_a_depth_generates_with_a_cache_as_without() -> None:
    model = discretize(supernet("gpt_neo", "mamba"), PATH)
    ids = torch.randint(1, VOCAB, (1, 5))
    options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    texts = []
    for depth in (1, 2, 3):
        cached, plain = (at(model, depth).generate(ids, use_cache=use, **options) for use in (True, False))
        assert torch.equal(cached, plain)
        texts.append(cached.tolist())
    assert at(model, None).generate(ids, **options).tolist() == texts[-1]
    with pytest.raises(ValueError, match="exit_stage 4: this hybrid has the exits 1 to 3"):
        at(model, 4)(input_ids=ids)


def test_a_finetuning_of_exits_improves_them_and_an_export_is_loaded_at_any_depth(tmp_path: Path) -> None:
    hybrid, task = export_hybrid(tmp_path / "hybrid"), {"name": "text@length=32", "preset": "cpu"}
    task["data_dir"] = str(text_folder(tmp_path / "data", "word"))
    options = {"steps": 20, "batch_size": 4, "lr": 1e-2, "quiet": True}
    for name, keys in (("plain", {}), ("sorted", {"finetune.exits": [1]})):
        mc.finetune(hybrid, task, out=tmp_path / name, set=keys, **options)  # type: ignore[arg-type]
    ids = hybrid_tokenizer()((tmp_path / "data" / "3.txt").read_text()[:120], return_tensors="pt")["input_ids"][:, :32]
    losses = {}
    for name in ("plain", "sorted"):
        model = AutoModelForCausalLM.from_pretrained(tmp_path / name / "hybrid", exit_stage=1).eval()
        assert model.config.exits == ([1] if name == "sorted" else None)
        with torch.no_grad():
            losses[name] = [float(at(model, depth)(input_ids=ids, labels=ids).loss) for depth in (1, None)]
    assert losses["sorted"][0] < losses["plain"][0] - 0.1
    assert losses["plain"][0] != losses["plain"][1]


def test_wrong_exits_are_one_line(capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for keys, message in (
        (["finetune.exits=[9]"], "finetune.exits must be below"),
        (["finetune.exits=[0]"], "finetune.exits"),
        (["finetune.exits=[1]", "finetune.teacher=gpt-neo"], "give one of finetune.exits and finetune.teacher"),
    ):
        settings = [argument for key in keys for argument in ("--set", key)]
        assert message in refusal(capsys, *finetune(pico_run, out, *settings))
        assert message in refusal(capsys, "search", *PICO, *settings, "--out", out)
        assert not out.exists()
    with pytest.raises(ManticoreError, match=r"finetune.exits is for hybrids of topology residual"):
        ExitLoss(torch.nn.Linear(2, 2), (1,))
    assert call(capsys, *finetune(pico_run, out, "--set", "finetune.exits=[1]", steps=2))[0] == 0
