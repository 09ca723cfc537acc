"""The generation config of hybrids: that of their base, saved with every export, and no ids without a token."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, GenerationConfig

from manticore.components import Component, load
from manticore.components.generation import generation_config_of, ids_without_token
from manticore.components.spec import ComponentSpec
from manticore.config.generate import SamplingOptions
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.pipelines.generate import generation_config
from manticore.tasks.task import HeadSpec
from tests.helpers.model_folders import model_folder
from tests.helpers.trained_tokenizers import small_tokenizer

TOKENS, ROWS = 512, 520
OWN = {"eos_token_id": [3, 5], "repetition_penalty": 1.3, "max_length": 40, "no_repeat_ngram_size": 3}


@pytest.fixture
def base(tmp_path: Path) -> Component:
    """A component with a generation config of its own, whose rows without a token have large logits."""
    folder = model_folder(tmp_path / "base", "gpt_neo")
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(ROWS, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[TOKENS:] = 3 * model.get_input_embeddings().weight[:8]
    model.generation_config = GenerationConfig(**OWN)
    model.save_pretrained(folder)
    (folder / "generation_config.json").write_text(GenerationConfig(**OWN).to_json_string(), encoding="utf-8")
    small_tokenizer().save_pretrained(folder)
    return load(ComponentSpec(str(folder), "base"))


def supernet(base: Component) -> Supernet:
    return Supernet([base], SearchSpace(["base", "gpt2"], stages=2), "base", HeadSpec(), candidates=["base"]).eval()


def test_a_hybrid_and_its_folder_keep_the_generation_config_of_the_base(base: Component, tmp_path: Path) -> None:
    hybrid = discretize(supernet(base), ["base"] * 2, pad_token_id=7, eos_token_id=1)
    hybrid.save_pretrained(tmp_path / "hybrid")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "hybrid")
    for config in (hybrid.generation_config, again.generation_config):
        assert {name: getattr(config, name) for name in OWN} == OWN
        assert config.pad_token_id == 7
        assert config.suppress_tokens == list(range(TOKENS, ROWS))
    assert base.model.generation_config.suppress_tokens is None


def test_ids_without_a_token_are_never_generated(base: Component, tmp_path: Path) -> None:
    hybrid = discretize(supernet(base), ["base"] * 2)
    ids = torch.randint(3, TOKENS, (4, 5), generator=torch.Generator().manual_seed(0))
    assert int(hybrid(input_ids=ids).logits.argmax(-1).max()) >= TOKENS
    for options in ({}, {"do_sample": True}, {"num_beams": 2}):
        torch.manual_seed(0)
        assert int(hybrid.generate(ids, max_new_tokens=8, **options).max()) < TOKENS
    model, tokenizer = base.model, base.tokenizer
    assert tokenizer is not None
    assert ids_without_token(tokenizer, ROWS) == list(range(TOKENS, ROWS))
    config = generation_config(SamplingOptions(), model, tokenizer)
    assert config.suppress_tokens == list(range(TOKENS, ROWS))


def test_options_that_cannot_be_saved_are_left_out(base: Component, tmp_path: Path) -> None:
    base.model.generation_config = GenerationConfig(temperature=0.6, top_p=0.9, repetition_penalty=1.2)
    config = generation_config_of(base, base.config)
    assert (config.temperature, config.top_p, config.repetition_penalty) == (None, None, 1.2)
    discretize(supernet(base), ["base"] * 2).save_pretrained(tmp_path / "hybrid")
    base.model.generation_config = GenerationConfig(temperature=0.6, do_sample=True)
    assert generation_config_of(base, base.config).temperature == 0.6
