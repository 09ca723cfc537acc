"""`export --native` of a parent and its twin: a granitemoehybrid of transformers with the same logits and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GraniteMoeHybridForCausalLM,
    PreTrainedModel,
)

from manticore.components import Component, ComponentSpec, load
from manticore.components.spec import SKIP
from manticore.export.equality import check_equal
from manticore.export.granite import NoNativeClass, granite_model
from manticore.growth.twin import MixerSize, twin_config, untrained_twin
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.pipelines.export import run_manual
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import SIZES, SPECIAL, component, tokens

MIXED = ("parent", "twin", "twin", "parent")
SIZE = MixerSize(expand=2, state_size=6, heads=8, groups=4)


def parent_of(model_type: str, **options: object) -> Component:
    """A parent with grouped queries whose weights, norms and biases all matter."""
    torch.manual_seed(3)
    config = AutoConfig.for_model(model_type, **{**SIZES, **SPECIAL, **options})
    model = AutoModelForCausalLM.from_config(config).eval()
    return load(ComponentSpec(name="parent", model=_scaled(model)))


def twin_of(parent: Component, mixer: str = "mamba2", size: MixerSize = SIZE, name: str = "twin") -> Component:
    torch.manual_seed(4)
    model = untrained_twin(parent, twin_config(parent, mixer, size, range(parent.depth)))
    for layer in model.base_model.layers:
        _scaled(layer.self_attn)
    return load(ComponentSpec(name=name, model=model))


@torch.no_grad()
def _scaled(module: torch.nn.Module) -> torch.nn.Module:
    for parameter in module.parameters():
        if parameter.dim() == 2:
            parameter.mul_(5)
        else:
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def hybrid_on(path: Sequence[str], *components: Component, base: str = "parent", **space: object) -> PreTrainedModel:
    names = [each.name for each in components]
    options = {"stages": 4, "skip": SKIP in path, **space}
    net = Supernet(components, SearchSpace(names, **options), base, HeadSpec()).eval()  # type: ignore[arg-type]
    return discretize(net, path, eos_token_id=2)


@pytest.mark.parametrize(
    ("model_type", "options"),
    [
        ("llama", {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
        ("llama", {"attention_bias": True, "rms_norm_eps": 1e-3}),
        ("qwen2", {}),
        ("mistral", {"sliding_window": None, "head_dim": 16}),
    ],
)
@pytest.mark.parametrize("base", ["parent", "twin"])
@torch.no_grad()
def test_logits_and_tokens_are_those_of_the_hybrid(
    model_type: str, options: dict[str, object], base: str, tmp_path: Path
) -> None:
    parent = parent_of(model_type, **options)
    hybrid = hybrid_on(MIXED, parent, twin_of(parent), base=base)
    granite_model(hybrid).save_pretrained(tmp_path)
    native = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(native) is GraniteMoeHybridForCausalLM
    assert native.config.layer_types == ["full_attention" if name == "parent" else "linear_attention" for name in MIXED]
    assert native.config.tie_word_embeddings == bool(options.get("tie_word_embeddings"))
    assert (native.config.eos_token_id, native.config.num_key_value_heads) == (2, 2)
    ids, mask = tokens(length=40, pad_left=7)
    expected = hybrid(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    assert expected.std() > 0.3
    torch.testing.assert_close(
        native(input_ids=ids, attention_mask=mask).logits[mask.bool()], expected, atol=1e-4, rtol=0
    )
    options_of_generation = GenerationConfig(do_sample=False, max_new_tokens=8, min_new_tokens=8, pad_token_id=0)
    generated = [model.generate(ids, options_of_generation, attention_mask=mask) for model in (hybrid, native)]
    assert torch.equal(generated[0], generated[1])


@torch.no_grad()
def test_stages_can_be_skipped_and_the_comparison_sees_differences() -> None:
    parent = parent_of("llama")
    hybrid = hybrid_on(["twin", SKIP, SKIP, "parent"], parent, twin_of(parent))
    native = granite_model(hybrid)
    assert native.config.num_hidden_layers == 2
    checked = check_equal(hybrid, native)
    assert checked.length == 48
    assert 0 < checked.difference <= 1e-4
    native.model.layers[0].mamba.D.add_(0.01)
    with pytest.raises(NoNativeClass, match="the logits of a GraniteMoeHybridForCausalLM differ by 0"):
        check_equal(hybrid, native)


def test_what_does_not_map_has_a_reason() -> None:
    def message(path: Sequence[str], *components: Component, **space: object) -> str:
        with pytest.raises(NoNativeClass) as raised:
            granite_model(hybrid_on(path, *components, **space))
        return str(raised.value)

    llama, qwen3 = parent_of("llama"), parent_of("qwen3")
    assert "no layer on the path has attention" in message(["twin"] * 4, llama, twin_of(llama))
    assert "the mixers of the twin are Mamba's" in message(MIXED, llama, twin_of(llama, "mamba", MixerSize()))
    assert "has no self_attn.k_norm.weight, and layer 1" in message(MIXED, qwen3, twin_of(qwen3))
    two = [twin_of(llama), twin_of(llama, size=MixerSize(), name="small")]
    assert "mixers of one size" in message(["parent", "twin", "small", "parent"], llama, *two)
    biased = parent_of("llama", mlp_bias=True)
    assert "has no mlp.down_proj.bias" in message(MIXED, biased, twin_of(biased))
    gelu = parent_of("llama", hidden_act="gelu")
    assert "the parent's is gelu, not silu" in message(MIXED, gelu, twin_of(gelu))
    windowed = parent_of("mistral", sliding_window=6)
    assert "layer 1 of the path has one" in message(MIXED, windowed, twin_of(windowed))
    donor = component("mamba", "donor")
    assert "stage 4 runs 'donor'" in message([*MIXED[:3], "donor"], llama, twin_of(llama), donor)
    assert "as the hub topology does" in message(["twin", *["parent"] * 3], llama, twin_of(llama), topology="hub")
    neo = component("gpt_neo", "parent")
    neo_twin = load(ComponentSpec(name="twin", model=untrained_twin(neo, twin_config(neo, "mamba2", MixerSize(), [1]))))
    assert "no class with the layers of a gpt_neo" in message(MIXED, neo, neo_twin)


def test_the_command_writes_it_or_says_why_not(tmp_path: Path) -> None:
    parent = parent_of("llama")
    parent.model.save_pretrained(tmp_path / "parent")
    parts = {"twin": twin_of(parent), "first": twin_of(parent, "mamba")}
    for name, twin in parts.items():
        twin.model.save_pretrained(tmp_path / name)
    text = StringIO()
    console = Console(file=text, width=300)
    models = [str(tmp_path / "parent"), str(tmp_path / "twin")]
    out = run_manual(models, MIXED, tmp_path / "out", console, native=True)
    assert AutoConfig.from_pretrained(out).model_type == "granitemoehybrid"
    assert not list(out.glob("*.py"))
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "written as a `GraniteMoeHybridForCausalLM`" in card
    assert "attention in the layers 1, 4 of 4, Mamba-2 in the others. Checked before it was written" in card
    assert "trust_remote_code" not in card
    assert "projectors of donor stages" not in card
    assert "it has no projectors" in text.getvalue()
    models[1] = str(tmp_path / "first")
    own = run_manual(models, ["parent", "first", "parent", "first"], tmp_path / "own", console, native=True)
    assert "note: granitemoehybrid has Mamba-2, and the mixers of the twin are Mamba's; so the" in text.getvalue()
    assert list(own.glob("modeling_manticore.py"))
    assert "trust_remote_code" in (own / "README.md").read_text(encoding="utf-8")
