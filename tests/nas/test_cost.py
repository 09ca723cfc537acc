"""The computed costs of a path equal those of the hybrid that is built from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from manticore.errors import ManticoreError
from manticore.modeling.cache import cached_tensors
from manticore.modeling.segments import Context
from manticore.modeling.serving import attention_shape
from manticore.nas.cost import PathCosts, decode_flops, flops, module_cost, parameters
from manticore.nas.discretize import discretize
from manticore.nas.resources import Resource
from manticore.tasks.task import HeadSpec
from tests.helpers.ops import ATTENTION, CONV, op_supernet
from tests.helpers.pico import FAMILIES, ROWS, VOCAB, component, supernet

HYBRIDS = ("falcon_h1", "bamba", "lfm2")


@pytest.mark.parametrize(
    ("family", "projector"),
    [
        *((family, "linear") for family in (*FAMILIES, *HYBRIDS)),
        *(("gpt2", kind) for kind in ("low-rank", "two-layer", "identity")),
    ],
)
def test_parameters_of_every_path(family: str, projector: str) -> None:
    head_spec = HeadSpec("classification", VOCAB, 7)
    net = supernet(family, "gpt2" if family == "mamba" else "mamba", head_spec, projector=projector, skip=True)
    for path in product(net.candidates, repeat=3):
        assert PathCosts(net, 17).parameters(path) == parameters(discretize(net, path, num_labels=7)), path


@pytest.mark.parametrize("family", [*FAMILIES, *HYBRIDS])
def test_flops_add_up_over_stages(family: str) -> None:
    net = supernet(family, "gpt_neo" if family != "gpt_neo" else "mamba2", HeadSpec("classification", VOCAB, 7))
    costs = PathCosts(net, 17)
    for path in (["base"] * 3, ["donor", "base", "donor"], ["donor"] * 3):
        hybrid = discretize(net, path, num_labels=7)
        assert costs.flops(path) == pytest.approx(flops(hybrid, 17))
        assert costs.cost(path, Resource("decode_flops")) == pytest.approx(decode_flops(hybrid, 17))


def test_attention_costs_more_on_longer_sequences_and_a_window_bounds_it() -> None:
    net = supernet("gpt_neo", "mamba")  # layers alternate: global, local with a window of 6
    table = {length: PathCosts(net, length).table(Resource("prefill_flops")).stages for length in (6, 60)}
    attention, recurrent = net.candidates.index("base"), net.candidates.index("donor")
    assert all(at_60[attention] > at_6[attention] for at_6, at_60 in zip(table[6], table[60], strict=True))
    assert all(at_60[recurrent] == at_6[recurrent] for at_6, at_60 in zip(table[6], table[60], strict=True))
    width, global_layer, local_layer = 32, (60 + 1) / 2, 6 - 6 * 5 / 120
    per_pair = table[60][1][attention] - table[6][1][attention]  # layers 2 and 3: one of each kind
    short = (6 + 1) / 2
    assert per_pair == pytest.approx(4 * width * (global_layer - short + local_layer - short))


WINDOWS = {"mistral": 4, "olmo3": 2, "gemma2": 2}
"""Layers with a sliding window of 6, of four."""


def test_a_path_of_another_length_or_name_is_one_line() -> None:
    costs = PathCosts(supernet("gpt2", "mamba", HeadSpec("lm", VOCAB)), 17)
    with pytest.raises(ManticoreError, match="the path names 2 stages; the space has 3"):
        costs.parameters(["base", "donor"])
    with pytest.raises(ManticoreError, match="unknown candidate for a stage 'mamba'"):
        costs.parameters(["base", "donor", "mamba"])


@contextmanager
def counted() -> Iterator[FlopCounterMode]:
    """Torch's counter, which counts attention as the matrix products that it is."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


@pytest.mark.parametrize("family", ["gpt2", "qwen3", *WINDOWS])
def test_flops_are_those_that_torch_counts(family: str) -> None:
    length, layers, windowed = 16, 4, WINDOWS.get(family, 0)
    part = component(family)
    segment = part.segment(0, part.depth)
    context = Context(None, torch.arange(length)[None])
    with counted() as counter:
        segment(torch.randn(1, length, part.width), context, 0)
    # Torch counts attention of every token to every token.
    heads = attention_shape(part.config)
    assert heads is not None
    pair = 4 * heads[0] * heads[2]
    visible = (layers - windowed) * length * (length + 1) / 2 + windowed * sum(min(6, t + 1) for t in range(length))
    masked = pair * (layers * length * length - visible)
    assert length * flops(segment, length) == pytest.approx(counter.get_total_flops() - masked)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_flops_of_a_cached_step_are_those_that_torch_counts(family: str) -> None:
    length, part = 16, component(family)
    segment = part.segment(0, part.depth)
    cache = segment.new_cache()
    x_BLD = torch.randn(1, length, part.width)
    with torch.no_grad():
        segment(x_BLD[:, :-1], Context(None, torch.arange(length - 1)[None], caches=[cache]), 0)
    with counted() as counter:
        segment(x_BLD[:, -1:], Context(None, torch.tensor([[length - 1]]), caches=[cache]), 0)
    assert decode_flops(segment, length) == counter.get_total_flops()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ROWS)
def test_cache_bytes_are_those_of_the_cache_after_generation(family: str, dtype: torch.dtype) -> None:
    net = supernet(family, "mistral" if family != "mistral" else "mamba2", skip=True)
    resource = Resource("cache_bytes", batch=2, dtype=str(dtype).removeprefix("torch."))
    path = ["base", "donor", "skip"]
    hybrid = discretize(net, path).to(dtype)
    for new in (2, 6):  # the window of mistral is 6
        options = {"do_sample": False, "return_dict_in_generate": True, "min_new_tokens": new, "pad_token_id": 0}
        cache = hybrid.generate(torch.randint(3, VOCAB, (2, 3)), max_new_tokens=new, **options).past_key_values
        assert cache.get_seq_length() == 3 + new - 1
        tensors = [tensor for layer in cache.layers for tensor in cached_tensors(layer)]
        measured = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        assert PathCosts(net, 3 + new - 1).cost(path, resource) == measured


@pytest.mark.parametrize("name", [CONV, ATTENTION])
def test_cache_bytes_of_ops(name: str) -> None:
    net = op_supernet()
    path = [name, "donor", name]
    hybrid = discretize(net, path)
    cache = hybrid.base_model.new_cache()
    with torch.no_grad():
        hybrid(torch.ones(2, 9, dtype=torch.long), past_key_values=cache)
    measured = sum(t.numel() * t.element_size() for layer in cache.layers for t in cached_tensors(layer))
    assert PathCosts(net, 9).cost(path, Resource("cache_bytes", batch=2)) == measured


def test_bytes_of_weights() -> None:
    net = supernet("gpt2", "mamba")
    hybrid = discretize(net, ["donor", "base", "base"]).to(torch.bfloat16)
    measured = sum(parameter.numel() * parameter.element_size() for parameter in hybrid.parameters())
    assert PathCosts(net, 9).cost(["donor", "base", "base"], Resource("weight_bytes", dtype="bfloat16")) == measured


def test_a_projector_has_a_cost_of_its_own() -> None:
    net = supernet("gpt2", "mamba")
    branch = net.branch(0, "donor")
    parts = [branch.proj_in, branch.segment, branch.proj_out]
    for name in ("parameters", "prefill_flops", "decode_flops", "cache_bytes"):
        resource = Resource(name).at(9)
        of_parts = [module_cost(part, resource, net.stream) for part in parts]
        assert sum(of_parts) == module_cost(branch, resource, net.stream)
        assert (of_parts[0] == 0) == (name == "cache_bytes")
