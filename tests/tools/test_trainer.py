"""A hybrid in the Trainer of transformers, in half precision, and with a new head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
)

from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import VOCAB, supernet

pytest.importorskip("accelerate")
pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]  # warnings of transformers and accelerate

PATH = ["base", "donor", "base"]


def hybrid(kind: str = "lm", base: str = "gpt_neo", donor: str = "mamba") -> PreTrainedModel:
    """A pico hybrid; `kind` is that of its head."""
    more = {} if kind == "lm" else {"num_labels": 4}
    net = supernet(base, donor, HeadSpec() if kind == "lm" else HeadSpec(kind, VOCAB, 4))
    model: PreTrainedModel = discretize(net, PATH, **more)
    return model


def rows(kind: str) -> list[dict[str, torch.Tensor]]:
    """Eight examples."""
    torch.manual_seed(3)
    ids = torch.randint(3, VOCAB, (8, 12))
    labels = {"lm": ids, "tokens": ids % 4, "classification": ids[:, 0] % 4}[kind]
    return [{"input_ids": row, "labels": label.clone()} for row, label in zip(ids, labels, strict=True)]


def step(model: PreTrainedModel, kind: str, folder: Path, **options: Any) -> tuple[float, float]:
    """Loss and gradient norm of one step of Trainer with a learning rate of 0."""
    settings = {
        "max_steps": 1,
        "logging_steps": 1,
        "learning_rate": 0.0,
        "max_grad_norm": 1e9,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "output_dir": str(folder),
    }
    trainer = Trainer(model, TrainingArguments(**settings, **options), train_dataset=rows(kind))  # type: ignore[arg-type]
    trainer.train()
    (record,) = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    return record["loss"], record["grad_norm"]


@pytest.mark.parametrize("kind", ["lm", "classification", "tokens"])
def test_accumulated_gradients_are_those_of_the_whole_batch(kind: str, tmp_path: Path) -> None:
    whole = step(hybrid(kind), kind, tmp_path, per_device_train_batch_size=8)
    parts = step(hybrid(kind), kind, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert parts == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("base", ["gpt_neo", "mamba"])
def test_gradient_checkpointing_does_not_change_a_step(base: str, tmp_path: Path) -> None:
    donor = "mamba" if base == "gpt_neo" else "gpt_neo"
    plain = step(hybrid("lm", base, donor), "lm", tmp_path, per_device_train_batch_size=4)
    model = hybrid("lm", base, donor)
    checkpointed = step(model, "lm", tmp_path, per_device_train_batch_size=4, gradient_checkpointing=True)
    assert checkpointed == pytest.approx(plain, rel=1e-5)
    segments = [branch.segment for branch in model.model.stages]
    assert all(segment.gradient_checkpointing for segment in segments)
    model.gradient_checkpointing_disable()
    assert not any(segment.gradient_checkpointing for segment in segments)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("base", ["gpt_neo", "mamba", "mamba2"])
def test_a_hybrid_works_in_half_precision(base: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Loaded in half precision, also from a checkpoint in it, a hybrid has close logits and generates text."""
    model_fp32 = hybrid("lm", base, "gpt2" if base != "gpt_neo" else "mamba").eval()
    model_fp32.save_pretrained(tmp_path / "whole")
    ids = torch.stack([row["input_ids"] for row in rows("lm")])
    with torch.no_grad():
        expected = model_fp32(ids).logits
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=dtype).eval()
    half.save_pretrained(tmp_path / "half")
    for model in (half, AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto").eval()):
        assert next(model.parameters()).dtype == dtype
        with torch.no_grad():
            logits = model(ids).logits
        assert logits.dtype == dtype
        torch.testing.assert_close(logits.float(), expected, atol=0.05 * float(expected.abs().max()), rtol=0)
        assert model.generate(ids[:2], max_new_tokens=5, do_sample=False, pad_token_id=0).shape == (2, 17)


@pytest.mark.parametrize("auto", [AutoModelForSequenceClassification, AutoModelForTokenClassification])
def test_a_new_head_on_a_language_model_has_random_weights(auto: Any, tmp_path: Path) -> None:
    language_model = hybrid()
    language_model.save_pretrained(tmp_path / "lm")
    model = auto.from_pretrained(tmp_path / "lm", num_labels=3)
    weights = torch.cat([parameter.flatten() for parameter in model.score.parameters() if parameter.dim() > 1])
    assert weights.isfinite().all()
    assert 0.005 < float(weights.std()) < 0.05
    kept = dict(model.model.named_parameters())
    assert all(torch.equal(kept[name], value) for name, value in language_model.model.named_parameters())


def test_padding_between_tokens_has_no_influence() -> None:
    """Heads take the mask into account, too."""
    model = hybrid("classification", "mamba", "gpt2").eval()
    ids = torch.stack([row["input_ids"] for row in rows("classification")])
    mask = torch.ones_like(ids)
    mask[:, 4] = 0
    unpadded = ids[:, [position for position in range(12) if position != 4]]
    with torch.no_grad():
        result, expected = model(ids, attention_mask=mask).logits, model(unpadded).logits
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=0)
