"""Forty variants of components against the laws: alone, mixed, padded, in chunks, and reloaded without manticore.

The families have one model each in the other files; here are the shapes of layers that their configurations allow.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from manticore.components import Component, load
from manticore.components.spec import ComponentSpec
from manticore.modeling.masking import build_position_ids
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.tasks.task import HeadSpec
from tests.helpers.caching import in_chunks, padded, sequences
from tests.helpers.pico import SIZES, SPECIAL, VOCAB, component
from tests.helpers.reloading import check_without_manticore, run_plainly, save_logits

pytestmark = pytest.mark.variants

ATTENTION = {**SIZES, **SPECIAL, "num_key_value_heads": 4}
MAMBA = {"vocab_size": VOCAB, "hidden_size": 24, "num_hidden_layers": 3, "state_size": 8, **SPECIAL}
MAMBA2 = {**MAMBA, "num_heads": 6, "head_dim": 8, "n_groups": 1, "chunk_size": 8}
NEO = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_layers": 4,
    "num_heads": 4,
    "max_position_embeddings": 64,
    **SPECIAL,
}
NEOX = {key: value for key, value in ATTENTION.items() if key != "num_key_value_heads"}


@dataclass(frozen=True)
class Variant:
    """One configuration.

    Attributes:
        model_type: of transformers.
        options: fields of its configuration.
        dtype: in which its folder is saved.
        shard: size of the files of the folder.
    """

    model_type: str
    options: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float32
    shard: str = "5GB"


def rope(**options: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **options}}


VARIANTS = {
    "mamba, kernel of 2": Variant("mamba", {**MAMBA, "conv_kernel": 2}),
    "mamba, kernel of 3": Variant("mamba", {**MAMBA, "conv_kernel": 3}),
    "mamba, kernel of 5": Variant("mamba", {**MAMBA, "conv_kernel": 5}),
    "mamba, one layer": Variant("mamba", {**MAMBA, "num_hidden_layers": 1}),
    "mamba, biases": Variant("mamba", {**MAMBA, "use_bias": True}),
    "mamba, no bias in the convolution": Variant("mamba", {**MAMBA, "use_conv_bias": False}),
    "mamba, one state, expand 1": Variant("mamba", {**MAMBA, "state_size": 1, "expand": 1}),
    "mamba, rank of the time step": Variant("mamba", {**MAMBA, "time_step_rank": 5}),
    "mamba, untied": Variant("mamba", {**MAMBA, "tie_word_embeddings": False}),
    "mamba, residual in bf16": Variant("mamba", {**MAMBA, "residual_in_fp32": False}, torch.bfloat16),
    "falcon_mamba, kernel of 3": Variant("falcon_mamba", {**MAMBA, "conv_kernel": 3}),
    "falcon_mamba, biases": Variant("falcon_mamba", {**MAMBA, "use_bias": True}),
    "mamba2, two groups": Variant("mamba2", {**MAMBA2, "n_groups": 2}),
    "mamba2, six groups": Variant("mamba2", {**MAMBA2, "n_groups": 6}),
    "mamba2, kernel of 3": Variant("mamba2", {**MAMBA2, "conv_kernel": 3}),
    "mamba2, one layer": Variant("mamba2", {**MAMBA2, "num_hidden_layers": 1}),
    "mamba2, biases": Variant("mamba2", {**MAMBA2, "use_bias": True}),
    "mamba2, no bias in the convolution": Variant("mamba2", {**MAMBA2, "use_conv_bias": False}),
    "mamba2, chunk of 5": Variant("mamba2", {**MAMBA2, "chunk_size": 5}),
    "mamba2, shards in bf16": Variant("mamba2", MAMBA2, torch.bfloat16, "10KB"),
    "gpt_neo, all local": Variant("gpt_neo", {**NEO, "attention_types": [[["local"], 4]], "window_size": 3}),
    "gpt_neo, all global": Variant("gpt_neo", {**NEO, "attention_types": [[["global"], 4]]}),
    "gpt_neo, one layer": Variant("gpt_neo", {**NEO, "num_layers": 1, "attention_types": [[["local"], 1]]}),
    "gpt2, one head": Variant("gpt2", {**NEOX, "num_attention_heads": 1, "num_hidden_layers": 3}),
    "gpt2, untied": Variant("gpt2", {**NEOX, "tie_word_embeddings": False}),
    "gpt_neox, serial residual": Variant("gpt_neox", {**NEOX, "use_parallel_residual": False}),
    "gpt_neox, quarter rotary": Variant("gpt_neox", {**NEOX, **rope(partial_rotary_factor=0.25)}),
    "llama, one head of keys": Variant("llama", {**ATTENTION, "num_key_value_heads": 1}),
    "llama, two heads of keys": Variant("llama", {**ATTENTION, "num_key_value_heads": 2}),
    "llama, wide heads": Variant("llama", {**ATTENTION, "head_dim": 12}),
    "llama, tied, biases": Variant(
        "llama", {**ATTENTION, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}
    ),
    "llama, linear rotary scaling": Variant("llama", {**ATTENTION, **rope(rope_type="linear", factor=4.0)}),
    "llama, one layer, eager": Variant("llama", {**ATTENTION, "num_hidden_layers": 1, "attn_implementation": "eager"}),
    "llama, shards in bf16": Variant("llama", ATTENTION, torch.bfloat16, "10KB"),
    "mistral, window of 2": Variant("mistral", {**ATTENTION, "sliding_window": 2}),
    "qwen2, windows in the last layers": Variant(
        "qwen2", {**ATTENTION, "use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
    ),
    "qwen3, one head of keys": Variant("qwen3", {**ATTENTION, "num_key_value_heads": 1, "head_dim": 8}),
    "olmo3, three layers": Variant("olmo3", {**ATTENTION, "num_hidden_layers": 3, "sliding_window": 3}),
    "gemma2, one head of keys": Variant(
        "gemma2", {**ATTENTION, "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 3}
    ),
    "granite, tied, all factors": Variant(
        "granite",
        {
            **ATTENTION,
            "tie_word_embeddings": True,
            "embedding_multiplier": 3.0,
            "logits_scaling": 7.0,
            "residual_multiplier": 0.5,
            "attention_multiplier": 0.3,
        },
    ),
}


def build(variant: Variant, folder: Path) -> Component:
    """The component of a variant, read from a folder that has its dtype and shards."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(variant.model_type, **variant.options)
    model = AutoModelForCausalLM.from_config(config).to(variant.dtype)
    with torch.no_grad():  # biases and norms that are not those of a new model
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size=variant.shard)
    return load(ComponentSpec(str(folder), "base"))


@dataclass
class Case:
    """A variant, and its hybrids on the path of the base alone and on a mixed one with Mamba or GPT-Neo as donor."""

    base: Component
    hybrids: dict[str, PreTrainedModel]


Cases = Callable[[str], Case]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    """The case of a variant, built once."""

    @cache
    def case_of(name: str) -> Case:
        base = build(VARIANTS[name], tmp_path_factory.mktemp("component"))
        donor = component("gpt_neo" if base.layout.recurrent else "mamba", "donor")
        stages = min(3, base.depth)
        net = Supernet([base, donor], SearchSpace(["base", "donor"], stages=stages), "base", HeadSpec()).eval()
        torch.manual_seed(1)
        with torch.no_grad():
            for key, parameter in net.named_parameters():
                if is_projector_weight(key):
                    parameter.add_(0.05 * torch.randn_like(parameter))
        paths = {"base": ["base"] * stages, "mixed": ["base", "donor", "base"][:stages] if stages > 1 else ["donor"]}
        return Case(base, {key: discretize(net, path) for key, path in paths.items()})

    return case_of


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_the_base_alone_is_the_component(cases: Cases, name: str) -> None:
    case = cases(name)
    ids, mask = padded([row[: 17 - 4 * index] for index, row in enumerate(sequences(case.hybrids["base"]))], "left")
    positions: dict[str, Tensor] = {}
    if not case.base.layout.recurrent:
        positions["position_ids"] = build_position_ids(mask, 0, ids.shape[1], ids.device)
    inputs = {"input_ids": ids, "attention_mask": mask}
    if getattr(case.base.config, "use_bias", False):  # padding would change the state of the component itself
        inputs = {"input_ids": ids[:1]}
    expected = case.base.model(**inputs, **positions).logits
    assert torch.equal(case.hybrids["base"](**inputs).logits, expected)
    assert not torch.allclose(case.hybrids["mixed"](**inputs).logits, expected, atol=1e-3)


@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_chunks_and_padding_have_no_influence(cases: Cases, name: str) -> None:
    for hybrid in cases(name).hybrids.values():
        rows = [row[: 17 - 4 * index] for index, row in enumerate(sequences(hybrid))]
        ids, mask = padded(rows, "left")
        whole = hybrid(input_ids=ids, attention_mask=mask).logits
        chunked = in_chunks(hybrid, ids, mask, [6, 1, 7, 3])
        for row, tokens in enumerate(rows):
            alone = hybrid(input_ids=tokens[None]).logits[0]
            for logits in (whole, chunked):
                torch.testing.assert_close(logits[row, mask[row].bool()], alone, atol=5e-5, rtol=1e-4)


def test_all_are_reloaded_where_manticore_cannot_be_imported(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_plainly(monkeypatch)
    folders = []
    for index, name in enumerate(VARIANTS):
        hybrid = cases(name).hybrids["mixed"]
        folders.append(tmp_path / str(index))
        hybrid.save_pretrained(folders[-1])
        save_logits(folders[-1], hybrid)
    check_without_manticore(folders, tmp_path)
