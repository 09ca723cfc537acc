"""Blocks of text, cached pairs, training on them, and the loss with one layer replaced."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manticore.components import Component
from manticore.errors import ManticoreError
from manticore.growth.attention_weights import attention_weights
from manticore.growth.distill import DistillOptions, distill, error_share, rate
from manticore.growth.pairs import PairStore
from manticore.growth.scores import replaced_losses
from manticore.growth.text import text_blocks
from manticore.growth.twin import (
    MixerSize,
    attention_of,
    check_growable,
    check_layers,
    set_attention,
    twin_config,
    untrained_twin,
)
from manticore.modeling.twins import RecurrentAttention, build_mixer
from tests.helpers.pico import VOCAB, component

IDS = torch.randint(3, VOCAB, (20, 16), generator=torch.Generator().manual_seed(0))
LAYER_BYTES = 2 * 2 * 20 * 16 * 32


def parent(family: str) -> Component:
    """A parent whose attention matters."""
    loaded = component(family)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(3)
    return loaded


def caught(loaded: Component, layer: int, ids: Tensor) -> list[Tensor]:
    """Input and output of attention in the parent's own forward pass."""
    parts: list[Tensor] = []

    def hook(module: nn.Module, args: Any, options: Any, out: Any) -> None:
        parts.extend([args[0] if args else options["hidden_states"], out[0]])

    handle = attention_of(loaded, layer).register_forward_hook(hook, with_kwargs=True)
    loaded.model(input_ids=ids, use_cache=False)
    handle.remove()
    return parts


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gpt2", "gpt_neo"])
@torch.no_grad()
def test_pairs_are_those_of_the_parent_in_groups_of_any_size(family: str, tmp_path: Path) -> None:
    loaded = parent(family)
    for size in (1, 3, 4):
        store = PairStore(tmp_path / str(size), 20, 16, 32)
        for group in store.groups(range(4), size * LAYER_BYTES + 1):
            assert len(group) <= size
            assert not store.has(group)
            store.fill(loaded, IDS, group)
            assert store.has(group)
            for layer in group:
                for array, expected in zip(store.pairs(layer), caught(loaded, layer, IDS), strict=True):
                    torch.testing.assert_close(torch.tensor(array).float(), expected, atol=2e-2, rtol=2e-3)
            store.drop(group)
            streams = [file.name for file in (tmp_path / str(size)).iterdir()]
            assert streams == [f"{group[-1] + 1:03d}.stream"], "the disk has one group and one stream"


def test_one_layer_must_fit_the_disk(tmp_path: Path) -> None:
    with pytest.raises(
        ManticoreError, match=r"one layer take 4\.1e-05 GB, and --cache-gb allows 4e-05: allow more, or use"
    ):
        PairStore(tmp_path, 20, 16, 32).groups(range(4), 4e4)


@pytest.mark.parametrize(("mixer", "ridge"), [("mamba2", True), ("mamba", True), ("mamba2", False)])
def test_a_mixer_learns_attention(mixer: str, ridge: bool, tmp_path: Path) -> None:
    loaded = parent("gpt_neo")
    store = PairStore(tmp_path, 20, 16, 32)
    store.fill(loaded, IDS, [3])
    weights = attention_weights(attention_of(loaded, 3), loaded.config)
    torch.manual_seed(0)
    module: Any = build_mixer(twin_config(loaded, mixer, MixerSize(), range(4)), 3)
    options = DistillOptions("gate", ridge, 40, 4, 4e-3, 0)
    score = distill(module, weights, store.pairs(3), 4, options)
    assert score.error < 0.9 * score.start
    assert score.error == pytest.approx(error_share(module, store.pairs(3), 16))
    module.requires_grad_(False)
    x, y = (torch.tensor(np.array(part[16:])).float() for part in store.pairs(3))
    share = (module(x) - y).square().sum() / (y - y.mean((0, 1))).square().sum()
    assert score.error == pytest.approx(float(share), rel=1e-3)


def test_the_rate_rises_and_falls() -> None:
    rates = [rate(step, 100) for step in range(100)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == pytest.approx(1.0)
    assert all(after <= before for before, after in pairwise(rates[5:]))
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "gpt2", "gpt_neo"])
@torch.no_grad()
def test_losses_are_those_of_the_parent_with_one_layer_replaced(family: str) -> None:
    loaded = parent(family)
    config = twin_config(loaded, "mamba2", MixerSize(), range(4))
    torch.manual_seed(1)
    mixers: dict[int, nn.Module] = {layer: RecurrentAttention(config, 0) for layer in (0, 2)}
    loss, losses = replaced_losses(loaded, IDS, mixers)

    def own_loss() -> float:
        logits = loaded.model(input_ids=IDS, use_cache=False).logits[:, :-1]
        return float(F.cross_entropy(logits.flatten(0, 1), IDS[:, 1:].flatten()))

    assert loss == pytest.approx(own_loss(), rel=1e-5)
    for layer, mixer in mixers.items():
        attention = attention_of(loaded, layer)
        set_attention(loaded, layer, mixer)
        assert losses[layer] == pytest.approx(own_loss(), rel=1e-5)
        assert losses[layer] != pytest.approx(loss, rel=1e-4)
        set_attention(loaded, layer, attention)


def test_a_twin_has_the_parents_weights_and_its_kinds_of_layers() -> None:
    loaded = parent("mistral")
    config: Any = twin_config(loaded, "mamba2", MixerSize(), [1, 2])
    assert config.layer_types == ["sliding_attention", "linear_attention", "linear_attention", "sliding_attention"]
    assert config.parent_weights == loaded.weight_hash
    twin = untrained_twin(loaded, config)
    own, of_twin = loaded.model.state_dict(), twin.state_dict()
    assert {name for name in of_twin if name not in own} == {name for name in of_twin if ".mixer." in name}
    assert all(torch.equal(value, own[name]) for name, value in of_twin.items() if name in own)
    neo: Any = twin_config(parent("gpt_neo"), "mamba", MixerSize(), [1])
    assert neo.attention_layers == ["global", "global", "global", "local"]
    assert neo.mamba_out_bias


class Characters:
    """A tokenizer whose tokens are characters."""

    eos_token_id = 0

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [3 + ord(letter) % (VOCAB - 3) for letter in text]}


def test_blocks_are_spread_over_the_text() -> None:
    loaded = component("gpt2")
    loaded.tokenizer = Characters()  # type: ignore[assignment]
    text = "".join(chr(97 + index % 26) * 40 for index in range(400))
    blocks = text_blocks(loaded, [text], tokens=320, length=16)
    assert blocks.ids_NL.shape == (22, 16)
    assert (blocks.held_out, blocks.tokens) == (2, 320)
    assert len(blocks.ids_NL.unique()) > 10
    short = text_blocks(loaded, ["ab cd"] * 200, tokens=320, length=16)
    assert short.ids_NL.shape == (22, 16), "short documents are joined"
    assert 0 in short.ids_NL
    with pytest.raises(ManticoreError, match="has 16 tokens in blocks of 16, and a twin needs 256 at least: give more"):
        text_blocks(loaded, ["ab cd ef gh ij kl mn"], tokens=320, length=16)
    loaded.tokenizer = None
    with pytest.raises(ManticoreError, match="'gpt2' has no tokenizer beside its weights; grow reads text"):
        text_blocks(loaded, [text], tokens=320, length=16)


@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("mamba", "'mamba' is a mamba, which has no attention to replace"),
        ("bamba", "unknown parent of a twin 'bamba'"),
        ("twin_llama", "'twin_llama' is a twin already; grow its parent"),
    ],
)
def test_models_that_cannot_be_grown_are_refused(family: str, message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        check_growable(component(family))


def test_layers_and_sizes_that_do_not_exist_are_refused() -> None:
    assert check_layers([4, 1], 4) == [0, 3]
    for wrong in ([5], [0, 1], [], [2, 2]):
        with pytest.raises(ManticoreError, match="must name some of the layers 1 to 4, each once"):
            check_layers(wrong, 4)
    with pytest.raises(ManticoreError, match=r"mamba_n_heads \(5\) must divide the 32 channels"):
        twin_config(component("llama"), "mamba2", MixerSize(heads=5), [0])
