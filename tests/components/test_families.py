"""The table of families against Hugging Face's own classes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config

from manticore.components import CATALOG, BlockSize, family_of
from manticore.components.families import families
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.segments import submodule_or_identity
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import ROWS, VOCAB, component, supernet


@pytest.mark.parametrize("family", ROWS)
def test_a_row_names_attributes_of_the_backbone_class(family: str) -> None:
    loaded = component(family)
    layout, backbone = loaded.layout, loaded.backbone
    layers = getattr(backbone, layout.layers)
    assert isinstance(layers, nn.ModuleList)
    assert len(layers) == loaded.depth
    tokens = getattr(backbone, layout.tokens)
    assert isinstance(tokens, nn.Embedding)
    assert tokens.weight.shape == (loaded.config.vocab_size, loaded.width)
    assert getattr(backbone, layout.norm).weight.shape == (loaded.width,)
    assert isinstance(submodule_or_identity(backbone, layout.dropout), nn.Module)
    if layout.positions is not None:
        assert getattr(backbone, layout.positions).weight.shape == (loaded.config.max_position_embeddings, loaded.width)
    assert layout.has_attention != ("mamba" in family)


TYPES = [(name, model_type) for name in families for model_type in families[name].model_types]


@pytest.mark.parametrize(("name", "model_type"), TYPES)
def test_a_scratch_config_has_the_given_sizes(name: str, model_type: str) -> None:
    size = BlockSize(width=48, layers=3, heads=4, intermediate_size=40, state_size=8, window_size=5)
    config = families[name].scratch_config(model_type, size, 77, 33)
    assert (config.model_type, config.hidden_size, config.num_hidden_layers) == (model_type, 48, 3)
    assert config.vocab_size == 77
    attention = families[name].layout.has_attention
    wanted = {"num_attention_heads": 4, "max_position_embeddings": 33} if attention else {"state_size": 8}
    assert {key: getattr(config, key) for key in wanted} == wanted
    model = AutoModelForCausalLM.from_config(config)
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, 77)


@pytest.mark.parametrize(("name", "model_type"), TYPES)
def test_a_scratch_config_has_no_dropout_and_no_special_tokens(name: str, model_type: str) -> None:
    config = families[name].scratch_config(model_type, BlockSize(32, 2, heads=4), 61, 16)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (None, None, None)
    model = AutoModelForCausalLM.from_config(config)
    assert all(module.p == 0 for module in model.modules() if isinstance(module, nn.Dropout))


def test_every_model_type_has_its_family() -> None:
    for name in families:
        for model_type in families[name].model_types:
            config = families[name].scratch_config(model_type, BlockSize(32, 2, heads=4), 61, 16)
            assert family_of(config) is families[name]


def test_models_that_cannot_be_cut_are_refused() -> None:
    with pytest.raises(UnknownName, match="unknown model family 'opt'"):
        family_of(AutoConfig.for_model("opt"))
    with pytest.raises(ManticoreError, match="layers depend on their index"):
        family_of(GPT2Config(scale_attn_by_inverse_layer_idx=True))
    with pytest.raises(ManticoreError, match="with num_local_experts cannot be cut: its experts"):
        family_of(AutoConfig.for_model("granitemoehybrid"))
    limited = AutoConfig.for_model("falcon_h1", time_step_limit=(0.001, 0.1), ssm_multipliers=[1.0, 1.0, 1.0, 1.0, 0.0])
    with pytest.raises(ManticoreError, match="with time_step_limit and a factor of the step of 0 or less cannot be"):
        family_of(limited)
    with pytest.raises(ManticoreError, match="nemotron_h with layers of experts cannot be cut: its experts are not"):
        family_of(AutoConfig.for_model("nemotron_h"))
    with pytest.raises(ManticoreError, match="with use_bidirectional_attention cannot be cut: its attention is not"):
        family_of(AutoConfig.for_model("gemma", use_bidirectional_attention=True))


@torch.no_grad()
def test_a_fresh_vocabulary_keeps_the_factor_of_the_table() -> None:
    """Gemma scales its rows by sqrt(D) in a class of its own, Granite by a configuration field."""
    for family, factor in (("gemma", 32**0.5), ("granite", 12.0)):
        net = supernet(family, "gpt2", HeadSpec("classification", VOCAB + 5, 3))
        hybrid = discretize(net, ["base"] * 3, num_labels=3)
        ids = torch.tensor([[VOCAB + 4]])
        row = hybrid.get_input_embeddings().weight[VOCAB + 4]
        torch.testing.assert_close(hybrid.model.embed(ids, None)[0, 0], row * factor)
        torch.testing.assert_close(net.embeds["base"](ids, None)[0, 0], row * factor)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"width": 0}, "width must be a whole number of at least 1"), ({"layers": "two"}, "got 'two'")],
)
def test_invalid_sizes_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        BlockSize(**{"width": 4, "layers": 2, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("alias", CATALOG)
def test_the_catalog_is_well_formed(alias: str) -> None:
    entry = CATALOG[alias]
    assert entry.family in families
    assert entry.source.count("/") == (1 if entry.packaged is None else 0), "a hub id, or a package"
    assert entry.revision not in ("", "main")
    assert alias == alias.lower()
    assert len({(entry.source, entry.revision) for entry in CATALOG.values()}) == len(CATALOG)
