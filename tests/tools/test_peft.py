"""Prompt and prefix tuning by peft: trained inputs and trained keys and values before a text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from manticore.nas.discretize import discretize
from tests.helpers.pico import supernet, tokens

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of peft


def hybrid(
    base: str = "gpt_neo", donor: str = "mamba", path: tuple[str, ...] = ("base", "donor", "base")
) -> PreTrainedModel:
    return discretize(supernet(base, donor), path)


def train(model: torch.nn.Module) -> tuple[float, float]:
    """The loss on a batch before and after five steps."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.1)
    ids, mask = tokens()
    losses = []
    for _ in range(6):
        loss = model(input_ids=ids, attention_mask=mask, labels=ids).loss
        losses.append(float(loss))
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.parameters() if p.requires_grad)
        optimizer.step()
    return losses[0], losses[-1]


@pytest.mark.parametrize("base", ["gpt_neo", "mamba", "granite"])
def test_a_trained_prompt_is_saved_and_read_by_generate(base: str, tmp_path: Path) -> None:
    model = hybrid(base, "mamba" if base != "mamba" else "gpt_neo")
    heads = {} if base != "mamba" else {"num_attention_heads": 1}  # of which a prompt has no use
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4, **heads)
    tuned = peft.get_peft_model(model, config)
    before, after = train(tuned)
    assert after < before
    tuned.eval().save_pretrained(tmp_path)
    ids, _ = tokens()
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": -1}
    generated = tuned.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    prompt = tuned.get_prompt(len(ids))
    embeds = torch.cat([prompt, model.get_input_embeddings()(ids)], 1)
    expected = model.generate(inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]), **options)
    assert torch.equal(generated[:, ids.shape[1] :], expected)
    again = peft.PeftModel.from_pretrained(hybrid(base, "mamba" if base != "mamba" else "gpt_neo"), tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, tuned(input_ids=ids).logits)


@pytest.mark.parametrize(("base", "donor"), [("qwen3", "olmo2"), ("mistral", "smollm3"), ("gpt2", "gpt_neo")])
def test_a_trained_prefix_of_keys_and_values(base: str, donor: str) -> None:
    model = hybrid(base, donor)
    tuned = peft.get_peft_model(model, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    before, after = train(tuned)
    assert after < before
    ids, _ = tokens()
    options = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "eos_token_id": -1}
    tuned.eval()
    generated = tuned.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)
    with torch.no_grad():
        for _ in range(4):
            ids = torch.cat([ids, tuned(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    assert torch.equal(generated, ids)


def test_a_prefix_is_refused_where_a_stage_has_no_keys_or_others() -> None:
    ids, _ = tokens()

    def tuned(donor: str) -> torch.nn.Module:
        config = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
        return peft.get_peft_model(hybrid("llama", donor), config)

    with pytest.raises(ValueError, match="8 features; a stage has no keys and values"):
        tuned("mamba")(input_ids=ids)
    with pytest.raises(ValueError, match="a prefix has 4 heads of 8 features; a stage has 2 heads of 8 features"):
        tuned("qwen3")(input_ids=ids)


def test_the_configuration_answers_for_the_base(tmp_path: Path) -> None:
    model = hybrid("qwen3", "mamba")
    model.save_pretrained(tmp_path)
    for config in (model.config, AutoModelForCausalLM.from_pretrained(tmp_path).config):
        assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 2, 8)
        assert config.to_dict()["num_attention_heads"] == 4
    recurrent = hybrid("mamba", "gpt_neo").config
    assert not hasattr(recurrent, "num_attention_heads")
    with pytest.raises(ValueError, match="num_attention_heads"):  # peft's own message
        peft.get_peft_model(hybrid("mamba", "gpt_neo"), peft.PromptTuningConfig("CAUSAL_LM", num_virtual_tokens=2))
