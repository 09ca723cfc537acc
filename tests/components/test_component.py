"""Layer boundaries, and segments with the component's weights."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manticore.components import layer_boundaries
from manticore.errors import ManticoreError
from tests.helpers.pico import ROWS, component


@given(st.integers(1, 200), st.integers(1, 200))
def test_boundaries_cover_all_layers_in_order(layers: int, stages: int) -> None:
    boundaries = layer_boundaries(layers, stages)
    assert len(boundaries) == stages + 1
    assert (boundaries[0], boundaries[-1]) == (0, layers)
    assert boundaries == sorted(boundaries)
    sizes = [after - before for before, after in pairwise(boundaries)]
    if stages <= layers:
        assert min(sizes) >= 1
    assert max(sizes) <= layers / stages + 1


def test_stages_of_different_size() -> None:
    assert layer_boundaries(7, 3) == [0, 2, 5, 7]


def test_halves_are_rounded_towards_the_ends() -> None:
    assert layer_boundaries(6, 4) == [0, 2, 3, 4, 6]
    assert layer_boundaries(10, 4) == [0, 3, 5, 7, 10]


def test_more_stages_than_layers_are_refused() -> None:
    model = component("mamba", layers=2)
    assert model.layer_boundaries(2) == [0, 1, 2]
    with pytest.raises(ManticoreError, match="3 stages are more than the 2 layers of 'mamba'; use at most 2"):
        model.layer_boundaries(3)


@pytest.mark.parametrize("family", ROWS)
def test_a_segment_has_a_copy_of_the_weights_of_its_layers(family: str) -> None:
    model = component(family)
    segment = model.segment(1, 3)
    layers = getattr(model.backbone, model.layout.layers)[1:3]
    copies = getattr(segment.backbone, model.layout.layers)
    assert len(copies) == 2
    for source, target in zip(layers, copies, strict=True):
        assert all(torch.equal(source.state_dict()[name], value) for name, value in target.state_dict().items())
    parameters = sum(p.numel() for p in segment.parameters())
    assert parameters == sum(p.numel() for layer in layers for p in layer.parameters())
    next(copies.parameters()).data.zero_()
    assert next(layers.parameters()).abs().sum() > 0


def test_a_component_describes_itself_as_plain_data() -> None:
    record = component("gpt_neo").describe()
    assert json.loads(json.dumps(record))["config"]["attention_types"] == record["config"]["attention_types"]
    assert record["config"]["model_type"] == "gpt_neo"
    assert not {"transformers_version", "_name_or_path", "dtype", "torch_dtype"} & set(record["config"])
