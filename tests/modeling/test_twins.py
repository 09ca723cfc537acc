"""Twins as models of their own: caches, generation, files, and configurations that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache

from manticore.modeling.twins import PARENTS, RecurrentAttention
from tests.helpers.pico import MODEL_TYPES, SIZES, SPECIAL
from tests.helpers.reloading import check_without_manticore, run_plainly, save_logits

EVERY_OTHER = ["linear_attention", "full_attention"] * 2
KINDS = [(parent, mixer) for parent in PARENTS for mixer in ("mamba2", "mamba")]


def twin(parent: str, **options: Any) -> Any:
    """A twin with random weights."""
    torch.manual_seed(0)
    parent_options = {key: value for key, value in MODEL_TYPES.get(parent, {}).items() if key != "sliding_window"}
    if parent == "gpt_neo":
        parent_options["attention_types"] = [[["global"], 4]]
    config = AutoConfig.for_model(f"twin_{parent}", **{**SIZES, **SPECIAL, **parent_options, **options})
    return AutoModelForCausalLM.from_config(config).eval()


IDS = torch.randint(3, 61, (2, 11), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("parent", "mixer"), KINDS)
@pytest.mark.parametrize("layer_types", [None, EVERY_OTHER], ids=["all layers", "every other"])
@torch.no_grad()
def test_chunks_with_a_cache_have_the_logits_of_one_call(
    parent: str, mixer: str, layer_types: list[str] | None
) -> None:
    model = twin(parent, mixer=mixer, layer_types=layer_types)
    recurrent = [isinstance(module, RecurrentAttention) for module in model.modules()]
    assert sum(recurrent) == (4 if layer_types is None else 2)
    logits, cache = [], None
    for ids in IDS.split([5, 1, 3, 2], dim=1):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        logits.append(out.logits)
    assert cache.get_seq_length() == 11
    torch.testing.assert_close(torch.cat(logits, 1), model(input_ids=IDS).logits, atol=3e-5, rtol=0)


@pytest.mark.parametrize("parent", ["llama", "qwen2", "gpt2"])
@torch.no_grad()
def test_padding_on_the_left_changes_nothing(parent: str) -> None:
    model = twin(parent)
    mask = torch.ones_like(IDS)
    mask[0, :4] = 0
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    logits = model(input_ids=IDS, attention_mask=mask, position_ids=positions).logits
    torch.testing.assert_close(logits[0, 4:], model(input_ids=IDS[:1, 4:]).logits[0], atol=3e-5, rtol=0)


@pytest.mark.parametrize("parent", ["llama", "gpt_neox", "gpt2"])
@torch.no_grad()
def test_generation_takes_the_likeliest_tokens(parent: str) -> None:
    model = twin(parent, eos_token_id=None)
    expected = IDS
    for _ in range(5):
        best = model(input_ids=expected, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        expected = torch.cat([expected, best], dim=1)
    assert torch.equal(model.generate(IDS, max_new_tokens=5, do_sample=False), expected)


@pytest.mark.e2e
def test_a_folder_loads_where_manticore_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_plainly(monkeypatch)
    folders = []
    for parent, mixer in [("llama", "mamba2"), ("qwen3", "mamba"), ("gpt2", "mamba2"), ("gpt_neo", "mamba")]:
        folders.append(tmp_path / f"{parent}-{mixer}")
        model = twin(parent, mixer=mixer, layer_types=EVERY_OTHER)
        model.save_pretrained(folders[-1])
        save_logits(folders[-1], model)
        assert set(model.config.auto_map) == {"AutoConfig", "AutoModel", "AutoModelForCausalLM"}
    check_without_manticore(folders, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mixer": "gru"}, "mixer must be mamba2 or mamba, got 'gru'"),
        ({"mamba_n_heads": 3}, r"mamba_n_heads \(3\) must divide the 32 channels"),
        ({"mamba_n_groups": 3}, r"mamba_n_groups \(3\) the heads"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        twin("llama", **options)


def test_masks_and_caches_that_do_not_fit_are_refused() -> None:
    model = twin("llama")
    with pytest.raises(ValueError, match=r"reads a mask \(B, past \+ L\) of tokens, not one of shape \(2, 1, 11, 11\)"):
        model(input_ids=IDS, attention_mask=torch.ones(2, 1, 11, 11))
    cache = DynamicCache(config=model.config)
    model(input_ids=IDS, past_key_values=cache)
    with pytest.raises(ValueError, match="has no count of its tokens: pass position_ids"):
        model(input_ids=IDS[:, :1], past_key_values=cache)


def test_a_twin_keeps_the_parents_names() -> None:
    parent = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **SIZES, **SPECIAL))
    names = {name for name, _ in parent.named_parameters() if "self_attn" not in name}
    own = {name for name, _ in twin("llama").named_parameters() if "self_attn" not in name}
    assert names == own
