"""Adapters of peft: every linear module of every family learns, or is refused, and merges without a change."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from manticore.nas.discretize import discretize
from tests.helpers.pico import ROWS, supernet, tokens
from tests.helpers.reloading import run_plainly

peft = pytest.importorskip("peft")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # warnings of peft

RECURRENT = ("mamba", "falcon_mamba", "mamba2")


def hybrid(family: str) -> PreTrainedModel:
    return discretize(supernet(family, "gpt2" if family != "gpt2" else "llama"), ["base", "donor", "base"])


def linear_names(model: PreTrainedModel) -> list[str]:
    """The last parts of the names of linear modules, each once, without a head that is the embedding."""
    linear = [name for name, module in model.named_modules() if type(module).__name__ in ("Linear", "Conv1D")]
    names = {name.rpartition(".")[2] for name in linear}
    return sorted(names - {"lm_head"} if model.config.tie_word_embeddings else names)


def check(model: PreTrainedModel, target: str | list[str]) -> None:
    """Fail unless every adapter has a gradient after a step, and the merged model the same logits."""
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=target, init_lora_weights=False, r=2)
    tuned = peft.get_peft_model(model, config).train()
    ids, mask = tokens()
    tuned(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
    trained = {name: weight for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert trained
    assert not [name for name, weight in trained.items() if weight.grad is None or not weight.grad.any()], target
    tuned.eval()
    with torch.no_grad():
        adapted = tuned(input_ids=ids).logits
        cached = tuned(
            input_ids=ids[:, -1:], past_key_values=tuned(input_ids=ids[:, :-1], use_cache=True).past_key_values
        )
        torch.testing.assert_close(cached.logits[:, 0], adapted[:, -1], atol=1e-4, rtol=1e-4)
        with tuned.disable_adapter():
            assert not torch.allclose(tuned(input_ids=ids).logits, adapted, atol=1e-4)
        merged = tuned.merge_and_unload()
        torch.testing.assert_close(merged(input_ids=ids).logits, adapted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ROWS)
def test_adapters_on_all_linear_modules(family: str) -> None:
    check(hybrid(family), "all-linear")


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("family", [*RECURRENT, "gpt_neo", "gpt2", "gpt_neox", "llama"])
def test_an_adapter_on_each_linear_module(monkeypatch: pytest.MonkeyPatch, family: str, plain: bool) -> None:
    if plain:
        run_plainly(monkeypatch)
    for name in linear_names(hybrid(family)) if family in RECURRENT or not plain else ["all-linear"]:
        check(hybrid(family), name if name == "all-linear" else [name])


@pytest.mark.parametrize("target", ["lm_head", "tokens"])
def test_an_adapter_on_a_head_that_is_the_embedding_is_refused(target: str) -> None:
    tuned = peft.get_peft_model(hybrid("gpt2"), peft.LoraConfig(task_type="CAUSAL_LM", target_modules=[target]))
    with pytest.raises(ValueError, match="leave 'lm_head' and 'tokens' out of target_modules"):
        tuned(input_ids=tokens()[0])
