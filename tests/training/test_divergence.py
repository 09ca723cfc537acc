"""The divergence from a teacher, and fine-tunings that minimize it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

import manticore as mc
from manticore.components import load
from manticore.components.spec import ComponentSpec
from manticore.errors import ManticoreError
from manticore.export.load import load_hybrid
from manticore.export.own_task import FINETUNING
from manticore.pipelines import finetune
from manticore.tasks.dataset import IGNORE
from manticore.training.divergence import TeacherDivergence
from tests.helpers.pico import SPECIAL
from tests.helpers.text_hybrids import export_hybrid, hybrid_tokenizer


class Table(nn.Module):
    """A model whose logits after a token are a row of a table."""

    def __init__(self, rows: torch.Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.rows[input_ids]


def batch_of(ids: list[int], labels: list[int]) -> dict[str, torch.Tensor]:
    parts = torch.tensor([ids]), torch.ones(1, len(ids)), torch.tensor([labels])
    return dict(zip(("input_ids", "attention_mask", "labels"), parts, strict=True))


def test_the_divergence_and_its_gradient_are_those_of_the_formula() -> None:
    teacher = Table(torch.tensor([[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]]).log())
    model = Table(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.6, 0.4]]).log())
    batch = batch_of([0, 1, 2], [1, 0, IGNORE])
    loss = TeacherDivergence(teacher)(model, batch)
    expected = 0.8 * torch.tensor(0.8 / 0.5).log() + 0.2 * torch.tensor(0.2 / 0.5).log()
    assert loss.item() == pytest.approx(expected.item() / 2)
    loss.backward()
    assert model.rows.grad is not None
    torch.testing.assert_close(model.rows.grad, torch.tensor([[-0.3, 0.3], [0, 0], [0, 0]]) / 2)
    assert teacher.rows.grad is None
    assert TeacherDivergence(model)(model, batch).item() == pytest.approx(0, abs=1e-7)


def test_models_of_other_vocabularies_are_refused() -> None:
    with pytest.raises(ManticoreError, match=r"teacher have the shape \(1, 2, 4\), and those of the model \(1, 2, 2\)"):
        TeacherDivergence(Table(torch.zeros(3, 4)))(Table(torch.zeros(3, 2)), batch_of([0, 1], [1, 1]))


def teacher_folder(folder: Path, rows: int = 336) -> Path:
    torch.manual_seed(9)
    config = GPT2Config(vocab_size=rows, n_embd=32, n_layer=2, n_head=4, n_positions=64, **SPECIAL)
    GPT2LMHeadModel(config).save_pretrained(folder)
    hybrid_tokenizer().save_pretrained(folder)
    return folder


def text_folder(folder: Path) -> Path:
    folder.mkdir()
    for index in range(12):
        text = " ".join(f"It is the {index * 7 + part} th word of a text about nothing." for part in range(40))
        (folder / f"{index}.txt").write_text(text, encoding="utf-8")
    return folder


def test_a_fine_tuning_approaches_its_teacher(tmp_path: Path) -> None:
    """The divergence on a batch of the text falls, and the card and the record name the teacher."""
    hybrid, teacher = export_hybrid(tmp_path / "hybrid"), teacher_folder(tmp_path / "teacher")
    task = {"name": "text@length=32", "preset": "cpu", "data_dir": text_folder(tmp_path / "data")}
    trained = mc.finetune(
        hybrid,
        task,
        out=tmp_path / "out",
        steps=12,
        batch_size=4,
        lr=1e-2,
        teacher=teacher,
        set={"finetune.weights.warmup_steps": 2},
        quiet=True,
    )
    parent = load(ComponentSpec(str(teacher))).model
    ids = torch.randint(3, 300, (4, 24), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    before, after = (TeacherDivergence(parent)(model, batch).item() for model in (load_hybrid(hybrid), trained.model))
    assert after < 0.7 * before
    card = (tmp_path / "out" / "hybrid" / "README.md").read_text(encoding="utf-8")
    assert f"by the divergence from the predictions of {teacher}" in card
    assert json.loads((tmp_path / "out" / FINETUNING).read_text(encoding="utf-8"))["teacher"] == str(teacher)


def test_a_teacher_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    hybrid, teacher = export_hybrid(tmp_path / "hybrid"), teacher_folder(tmp_path / "teacher", rows=330)
    task = {"name": "text@length=32", "preset": "cpu", "data_dir": text_folder(tmp_path / "data")}
    with pytest.raises(ManticoreError, match="the teacher 'teacher' has another tokenizer than the hybrid; both must"):
        mc.finetune(hybrid, task, out=tmp_path / "out", steps=1, teacher=teacher, quiet=True)
    assert not (tmp_path / "out").exists()
    labelled: Any = SimpleNamespace(kind="classification", name="lra-listops")
    with pytest.raises(ManticoreError, match="--teacher is for language models, and lra-listops is learned by class"):
        finetune._divergence("gpt2", load_hybrid(hybrid), labelled)
