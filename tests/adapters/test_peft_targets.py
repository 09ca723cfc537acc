"""Default layers for adapters of peft: in the configuration of exports, trained in the first step; dead ones named."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

import manticore as mc
from manticore.nas.discretize import discretize
from tests.helpers.pico import component, supernet, tokens
from tests.helpers.text_hybrids import export_hybrid

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of peft

DEFAULTS = {
    "gpt_neo": ["q_proj", "v_proj"],
    "gpt2": ["c_attn"],
    "gpt_neox": ["query_key_value"],
    "llama": ["q_proj", "v_proj"],
    "mamba": ["in_proj"],
    "mamba2": ["in_proj"],
}


@pytest.mark.parametrize("family", DEFAULTS)
def test_the_defaults_of_both_components_are_trained(family: str) -> None:
    base = "gpt2" if family != "gpt2" else "mamba"
    model = discretize(supernet(base, family), ["base", "donor", "base"])
    targets = mc.peft_targets(model)
    assert sorted(targets) == sorted(DEFAULTS[family] + DEFAULTS[base])
    assert mc.peft_targets(component(family).model) == DEFAULTS[family]
    tuned = peft.get_peft_model(model, peft.LoraConfig(target_modules=targets, init_lora_weights=False, r=2)).train()
    ids, mask = tokens()
    tuned(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
    trained = {name: weight for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert trained
    assert not [name for name, weight in trained.items() if weight.grad is None or not weight.grad.any()]


def test_an_export_names_them(tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(export_hybrid(tmp_path / "hybrid"))
    assert model.config.peft_targets == ["c_attn", "in_proj"]
    assert mc.peft_targets(model) == model.config.peft_targets


def test_a_dead_target_is_named() -> None:
    model = discretize(supernet("gpt2", "mamba"), ["base", "donor", "base"])
    tuned = peft.get_peft_model(model, peft.LoraConfig(target_modules=["conv1d"], r=48))
    with pytest.raises(ValueError, match="leave 'conv1d' out of target_modules"):
        tuned(input_ids=tokens()[0])
