"""Trainers of other libraries on an exported hybrid, offline, in a process that cannot import manticore."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers.text_hybrids import export_hybrid

for package in ("trl", "peft", "accelerate"):
    pytest.importorskip(package)
pytestmark = pytest.mark.e2e

SCRIPT = """
import json, sys, torch
sys.modules["manticore"] = None  # importing it is now an error
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig
from transformers import (
    AutoModelForCausalLM, AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments
)
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

folder, text = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
tokenizer.pad_token = tokenizer.eos_token
parts = [text[start : start + 40] for start in range(0, 160, 40)]
common = {
    "output_dir": "out", "max_steps": 4, "logging_steps": 1, "report_to": [], "save_strategy": "no", "use_cpu": True,
    "disable_tqdm": True, "learning_rate": 1e-2, "per_device_train_batch_size": 2, "bf16": False, "fp16": False,
}

def model():
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)

def losses(trainer):
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

results = {}
ids = Dataset.from_dict({"input_ids": [tokenizer(part)["input_ids"] for part in parts]})
collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
results["Trainer"] = losses(Trainer(model(), TrainingArguments(**common), train_dataset=ids, data_collator=collator))

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
hybrid = model().train()
hybrid, optimizer = accelerator.prepare(hybrid, torch.optim.AdamW(hybrid.parameters(), 1e-2))
results["accelerate"] = []
for _ in range(4):
    batch = collator([{"input_ids": row} for row in ids["input_ids"][:2]])
    with accelerator.accumulate(hybrid):
        loss = hybrid(**batch).loss
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    results["accelerate"].append(float(loss))

texts = Dataset.from_dict({"text": parts})
settings = {**common, "max_length": 32, "gradient_checkpointing": False}
for name, options in (("SFT", {}), ("SFT, packed", {"packing": True})):
    arguments = SFTConfig(**settings, **options)
    results[name] = losses(SFTTrainer(model(), arguments, train_dataset=texts, processing_class=tokenizer))

pairs = {"prompt": parts, "chosen": parts[1:] + parts[:1], "rejected": ["no"] * 4}
lora = LoraConfig(task_type="CAUSAL_LM", target_modules=["c_attn", "in_proj"])
dpo = DPOTrainer(
    model(), args=DPOConfig(**settings), train_dataset=Dataset.from_dict(pairs), processing_class=tokenizer,
    peft_config=lora,
)
results["DPO"] = losses(dpo)
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from tests.helpers.tokenizers import PROSE

    folder = tmp_path_factory.mktemp("trainers")
    export_hybrid(folder / "hybrid")
    offline = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": ""}
    command = [sys.executable, "-c", SCRIPT, str(folder / "hybrid"), PROSE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **offline})
    assert done.returncode == 0, done.stderr[-3000:]
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


@pytest.mark.parametrize("trainer", ["Trainer", "accelerate", "SFT", "SFT, packed", "DPO"])
def test_the_loss_falls(results: dict[str, Any], trainer: str) -> None:
    losses = results[trainer]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
