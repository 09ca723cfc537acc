"""Hand-designed hybrids follow their definitions, are causal and trainable, ignore padding, and have exact costs."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.errors import ManticoreError, UnknownName
from manticore.kernels import is_installed
from manticore.nas.baselines import Backbone, BaselineModel, TaskHead, baselines, build
from manticore.nas.baselines.blocks import Attention, Mamba, SwiGLU
from manticore.nas.cost import parameters
from manticore.training.scoring import logits_of

NAMES = ("mambaformer", "striped")
WIDTH, HEADS, STATE, LAYERS = 32, 4, 6, 4


def build_baseline(name: str, layers: int = LAYERS) -> Backbone:
    torch.manual_seed(0)
    return build(name, WIDTH, layers, HEADS, STATE).eval()


def stream(length: int = 13, batch: int = 2) -> Tensor:
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(1))


def mamba_size(width: int, state: int) -> int:
    inner, rank = 2 * width, math.ceil(width / 16)
    maps = width * 2 * inner + inner * (rank + 2 * state) + rank * inner + inner + inner * width
    return maps + 5 * inner + inner * state + inner  # convolution over 4 with bias, A, D


def attention_size(width: int) -> int:
    return 4 * (width * width + width)


def test_both_baselines_are_registered_and_an_unknown_name_is_refused() -> None:
    assert set(NAMES) <= set(baselines)
    with pytest.raises(UnknownName, match="Did you mean 'mambaformer'"):
        build("mambaforme", 8, 1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 1, 1, 1), "'width' of a baseline must be a whole number of at least 1, got 0."),
        ((8, 2.0, 1, 1), "got 2.0"),
        ((12, 2, 8, 4), "a width of 12 cannot be shared among 8 attention heads"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_sizes_that_do_not_fit_are_refused(name: str, sizes: tuple[int, int, int, int], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        build(name, *sizes)


def test_rotary_heads_have_even_width() -> None:
    build("mambaformer", 12, 1, 4, 4)
    with pytest.raises(ManticoreError, match="4 attention heads into parts of even width"):
        build("striped", 12, 2, 4, 4)


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_order_of_mixers_follows_the_definition(layers: int) -> None:
    mixers = ["attention", "mamba", "attention", "mamba"]
    assert build_baseline("mambaformer", layers).kinds() == ["mamba", *mixers[:layers]]
    stripes = ["mamba", "swiglu", "attention", "swiglu"] * 2
    assert build_baseline("striped", layers).kinds() == stripes[: 2 * layers]


def test_norms_and_positions_follow_the_definition() -> None:
    mambaformer, striped = build_baseline("mambaformer"), build_baseline("striped")
    assert {type(norm) for norm in [*mambaformer.norms, mambaformer.last_norm]} == {nn.LayerNorm}
    assert {type(norm) for norm in [*striped.norms, striped.last_norm]} == {nn.RMSNorm}
    assert all(part.rotary is None for part in mambaformer.parts if isinstance(part, Attention))
    assert all(part.rotary is not None for part in striped.parts if isinstance(part, Attention))
    assert not any(isinstance(part, nn.Dropout) for net in (mambaformer, striped) for part in net.modules())


def test_parameters_follow_the_formula() -> None:
    assert parameters(Mamba(WIDTH, STATE)) == mamba_size(WIDTH, STATE)
    assert parameters(Attention(WIDTH, HEADS, rotary=True)) == attention_size(WIDTH)
    mambaformer = 3 * mamba_size(WIDTH, STATE) + 2 * attention_size(WIDTH) + 6 * 2 * WIDTH
    assert parameters(build_baseline("mambaformer")) == mambaformer
    inner = 96  # 8/3 of 32 is 85, rounded up to 16s
    block = mamba_size(WIDTH, STATE) + attention_size(WIDTH) + 2 * 3 * WIDTH * inner
    assert parameters(build_baseline("striped")) == 2 * block + 9 * WIDTH


def test_a_block_is_norm_mixer_residual() -> None:
    net, x = build_baseline("mambaformer", 1), stream()
    first, second = net.parts
    h = x + first(F.layer_norm(x, (WIDTH,)), None)
    h = h + second(F.layer_norm(h, (WIDTH,)), None)
    torch.testing.assert_close(net(x), F.layer_norm(h, (WIDTH,)), rtol=1e-4, atol=1e-5)


def test_attention_is_softmax_attention() -> None:
    part, x = Attention(WIDTH, HEADS), stream(5)
    q, k, v = (y.unflatten(-1, (HEADS, -1)).transpose(1, 2) for y in part.qkv(x).chunk(3, -1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    values = scores.masked_fill(future, -torch.inf).softmax(-1) @ v
    torch.testing.assert_close(part(x, None), part.out(values.transpose(1, 2).flatten(2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rotary", [False, True])
def test_only_rotary_attention_depends_on_the_order(rotary: bool) -> None:
    part, x = Attention(WIDTH, HEADS, rotary), stream(6)
    swapped = x[:, [1, 0, 3, 2, 4, 5]]
    output, output_swapped = part(x, None)[:, -1], part(swapped, None)[:, -1]
    assert torch.allclose(output, output_swapped, atol=1e-6) != rotary


@pytest.mark.parametrize("name", NAMES)
def test_a_token_has_no_influence_on_earlier_outputs(name: str) -> None:
    net, x = build_baseline(name), stream()
    changed = x.clone()
    changed[:, 7] = x[:, 7].flip(-1)
    before, after = net(x), net(changed)
    torch.testing.assert_close(before[:, :7], after[:, :7], rtol=0, atol=1e-6)
    assert (before[:, 7:] - after[:, 7:]).abs().amax(-1).min() > 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("side", ["left", "right", "both", "unlike"])
def test_padding_on_either_side_has_no_influence_on_tokens(name: str, side: str) -> None:
    net, x = build_baseline(name), stream(9)
    left, right = {"left": (4, 0), "right": (0, 4), "both": (3, 1), "unlike": (2, 2)}[side]
    padded = F.pad(x, (0, 0, left, right), value=3.0)
    mask = F.pad(torch.ones(2, 9, dtype=torch.long), (left, right))
    expected = net(x)
    if side == "unlike":  # the second sequence is padded on the right alone
        padded[1], mask[1] = F.pad(x[1], (0, 0, 0, 4), value=3.0), F.pad(torch.ones(9, dtype=torch.long), (0, 4))
        result = torch.stack([net(padded, mask)[0, 2:11], net(padded, mask)[1, :9]])
    else:
        result = net(padded, mask)[:, left : left + 9]
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)
    assert torch.isfinite(net(padded, mask)).all()


@pytest.mark.parametrize("name", NAMES)
def test_logits_do_not_depend_on_padding_and_kernels_are_uninstalled_again(name: str) -> None:
    net = BaselineModel(build_baseline(name), 17, 3).eval()
    ids = torch.randint(1, 17, (2, 8), generator=torch.Generator().manual_seed(2))
    ones = torch.ones_like(ids)
    plain = logits_of(net, {"input_ids": ids, "attention_mask": ones})
    assert plain.shape == (2, 3)
    for sides in ((3, 0), (0, 3)):
        batch = {"input_ids": F.pad(ids, sides), "attention_mask": F.pad(ones, sides)}
        torch.testing.assert_close(logits_of(net, batch), plain, rtol=1e-4, atol=1e-5)
    assert not is_installed(), "the kernels are uninstalled again"


@pytest.mark.parametrize(
    ("kind", "shape"), [("classification", (4, 5)), ("tokens", (4, 8, 5)), ("autoencoder", (4, 8, 5)), ("pair", (2, 5))]
)
def test_every_kind_of_task_has_its_head(kind: str, shape: tuple[int, ...]) -> None:
    net = BaselineModel(build_baseline("mambaformer", 1), 17, TaskHead(kind, WIDTH, 5))
    assert net(torch.zeros(4, 8, dtype=torch.long), torch.ones(4, 8)).shape == shape


def test_an_unknown_kind_of_head_is_named() -> None:
    with pytest.raises(UnknownName, match="unknown kind of head 'token'"):
        TaskHead("token", 8, 2)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_reach_every_parameter_with_padding(name: str) -> None:
    net = BaselineModel(build_baseline(name), 17, 3).train()
    ids = torch.randint(1, 17, (3, 10), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    F.cross_entropy(net(ids, mask), torch.tensor([0, 1, 2])).backward()
    for label, parameter in net.named_parameters():
        assert parameter.grad is not None, label
        assert torch.isfinite(parameter.grad).all(), label
        assert parameter.grad.abs().sum() > 0, label


def test_a_few_steps_learn_to_predict_the_first_token() -> None:
    torch.manual_seed(0)
    net = BaselineModel(build("mambaformer", WIDTH, 2, HEADS, STATE), 6, 5)
    ids = torch.randint(1, 6, (64, 9))
    labels = ids[:, 0] - 1
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    first = last = 0.0
    for step in range(30):
        loss = F.cross_entropy(net(ids), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = (loss.item() if step == 0 else first), loss.item()
    assert last < 0.5 * first


def test_flops_of_mixing_are_counted() -> None:
    assert Attention(WIDTH, HEADS).mixing_flops(9) == 4 * WIDTH * 5
    assert Mamba(WIDTH, STATE).mixing_flops(9) == 9 * 2 * WIDTH * STATE
    assert SwiGLU(WIDTH, 48).mixing_flops(9) == 0
    assert build_baseline("mambaformer", 2).mixing_flops(9) == 2 * 9 * 2 * WIDTH * STATE + 4 * WIDTH * 5


def test_initial_output_weights_of_mamba_shrink_with_depth() -> None:
    sizes = []
    for layers in (1, 16):
        torch.manual_seed(0)
        first = build("mambaformer", WIDTH, layers, HEADS, STATE).parts[0]
        sizes.append(first.mixer.out_proj.weight.std().item())
    assert sizes[0] == pytest.approx(4 * sizes[1])
