"""A hybrid under Hugging Face's own Trainer, in half precision, and with a head it did not have."""

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
pytestmark = [pytest.mark.e2e, pytest.mark.filterwarnings("ignore")]  # theirs, not ours to mend

PATH = ["base", "donor", "base"]


def hybrid(kind: str = "lm", base: str = "gpt_neo", donor: str = "mamba") -> PreTrainedModel:
    """A pico hybrid; `kind` is that of its head."""
    more = {} if kind == "lm" else {"num_labels": 4}
    net = supernet(base, donor, HeadSpec() if kind == "lm" else HeadSpec(kind, VOCAB, 4))
    made: PreTrainedModel = discretize(net, PATH, **more)
    return made


def rows(kind: str) -> list[dict[str, torch.Tensor]]:
    """Eight examples."""
    torch.manual_seed(3)
    ids = torch.randint(3, VOCAB, (8, 12))
    labels = {"lm": ids, "tokens": ids % 4, "classification": ids[:, 0] % 4}[kind]
    return [{"input_ids": one, "labels": label.clone()} for one, label in zip(ids, labels, strict=True)]


def step(model: PreTrainedModel, kind: str, place: Path, **options: Any) -> tuple[float, float]:
    """Loss and gradient norm of one step of Trainer that moves nothing."""
    settings = {
        "max_steps": 1,
        "logging_steps": 1,
        "learning_rate": 0.0,
        "max_grad_norm": 1e9,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "output_dir": str(place),
    }
    trainer = Trainer(model, TrainingArguments(**settings, **options), train_dataset=rows(kind))  # type: ignore[arg-type]
    trainer.train()
    (told,) = [held for held in trainer.state.log_history if "grad_norm" in held]
    return told["loss"], told["grad_norm"]


@pytest.mark.parametrize("kind", ["lm", "classification", "tokens"])
def test_accumulated_gradients_are_those_of_the_whole_batch(kind: str, tmp_path: Path) -> None:
    whole = step(hybrid(kind), kind, tmp_path, per_device_train_batch_size=8)
    parts = step(hybrid(kind), kind, tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert parts == pytest.approx(whole, rel=1e-3)


@pytest.mark.parametrize("base", ["gpt_neo", "mamba"])
def test_gradient_checkpointing_changes_nothing(base: str, tmp_path: Path) -> None:
    donor = "mamba" if base == "gpt_neo" else "gpt_neo"
    plain = step(hybrid("lm", base, donor), "lm", tmp_path, per_device_train_batch_size=4)
    model = hybrid("lm", base, donor)
    spared = step(model, "lm", tmp_path, per_device_train_batch_size=4, gradient_checkpointing=True)
    assert spared == pytest.approx(plain, rel=1e-5)
    segments = [branch.segment for branch in model.model.stages]
    assert all(segment.gradient_checkpointing for segment in segments)
    model.gradient_checkpointing_disable()
    assert not any(segment.gradient_checkpointing for segment in segments)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("base", ["gpt_neo", "mamba", "mamba2"])
def test_in_half_precision(base: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Read so, and saved so and read again: logits are about the same, and text is written."""
    whole = hybrid("lm", base, "gpt2" if base != "gpt_neo" else "mamba").eval()
    whole.save_pretrained(tmp_path / "whole")
    ids = torch.stack([row["input_ids"] for row in rows("lm")])
    with torch.no_grad():
        wanted = whole(ids).logits
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=dtype).eval()
    half.save_pretrained(tmp_path / "half")
    for model in (half, AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto").eval()):
        assert next(model.parameters()).dtype == dtype
        with torch.no_grad():
            logits = model(ids).logits
        assert logits.dtype == dtype
        torch.testing.assert_close(logits.float(), wanted, atol=0.05 * float(wanted.abs().max()), rtol=0)
        assert model.generate(ids[:2], max_new_tokens=5, do_sample=False, pad_token_id=0).shape == (2, 17)


@pytest.mark.parametrize("auto", [AutoModelForSequenceClassification, AutoModelForTokenClassification])
def test_a_head_that_a_language_model_did_not_have_is_drawn(auto: Any, tmp_path: Path) -> None:
    given = hybrid()
    given.save_pretrained(tmp_path / "lm")
    model = auto.from_pretrained(tmp_path / "lm", num_labels=3)
    spread = torch.cat([parameter.flatten() for parameter in model.score.parameters() if parameter.dim() > 1])
    assert spread.isfinite().all()
    assert 0.005 < float(spread.std()) < 0.05
    kept = dict(model.model.named_parameters())
    assert all(torch.equal(kept[name], own) for name, own in given.model.named_parameters())


def test_padding_between_tokens_is_as_if_it_were_not_there() -> None:
    """In heads too, which leave out masks that say nothing."""
    model = hybrid("classification", "mamba", "gpt2").eval()
    ids = torch.stack([row["input_ids"] for row in rows("classification")])
    mask = torch.ones_like(ids)
    mask[:, 4] = 0
    without = ids[:, [place for place in range(12) if place != 4]]
    with torch.no_grad():
        held, wanted = model(ids, attention_mask=mask).logits, model(without).logits
    torch.testing.assert_close(held, wanted, atol=1e-4, rtol=0)
