"""Cutting: where the boundaries lie, and that segments carry the component's weights."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manticore.components import layer_boundaries
from manticore.errors import ManticoreError
from tests.helpers.pico import FAMILIES, component


@given(st.integers(1, 200), st.integers(1, 200))
def test_cuts_cover_all_layers_in_order(layers: int, stages: int) -> None:
    held = layer_boundaries(layers, stages)
    assert len(held) == stages + 1
    assert (held[0], held[-1]) == (0, layers)
    assert held == sorted(held)
    sizes = [after - before for before, after in pairwise(held)]
    if stages <= layers:
        assert min(sizes) >= 1
    assert max(sizes) <= layers / stages + 1


def test_ragged_cuts() -> None:
    assert layer_boundaries(7, 3) == [0, 2, 5, 7]


def test_halves_are_rounded_alike_whatever_the_depth() -> None:
    assert layer_boundaries(6, 4) == [0, 2, 3, 4, 6]
    assert layer_boundaries(10, 4) == [0, 3, 5, 7, 10]


def test_more_stages_than_layers_are_refused() -> None:
    made = component("mamba", layers=2)
    assert made.layer_boundaries(2) == [0, 1, 2]
    with pytest.raises(ManticoreError, match="3 stages are more than the 2 layers of 'mamba'; use at most 2"):
        made.layer_boundaries(3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_segment_has_the_weights_of_its_layers_and_no_others(family: str) -> None:
    made = component(family)
    segment = made.segment(1, 3)
    ours = getattr(made.backbone, made.layout.layers)[1:3]
    theirs = getattr(segment.backbone, made.layout.layers)
    assert len(theirs) == 2
    for source, target in zip(ours, theirs, strict=True):
        assert all(torch.equal(source.state_dict()[name], value) for name, value in target.state_dict().items())
    parameters = sum(p.numel() for p in segment.parameters())
    assert parameters == sum(p.numel() for layer in ours for p in layer.parameters())
    next(theirs.parameters()).data.zero_()
    assert next(ours.parameters()).abs().sum() > 0  # a copy


def test_a_component_describes_itself_as_plain_data() -> None:
    told = component("gpt_neo").describe()
    assert json.loads(json.dumps(told))["config"]["attention_types"] == told["config"]["attention_types"]
    assert told["config"]["model_type"] == "gpt_neo"
    assert not {"transformers_version", "_name_or_path", "dtype", "torch_dtype"} & set(told["config"])
