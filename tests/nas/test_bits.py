"""Bits of segments: the grid, the bytes, weights that come back, and the best path with bits against all of them."""

from __future__ import annotations

import math
import random
import re
from itertools import product
from operator import le
from pathlib import Path

import pytest
import torch
from torch import nn

from manticore.errors import BadFile, ManticoreError
from manticore.modeling.segments import Segment
from manticore.nas.architecture import Architecture
from manticore.nas.bits import (
    FULL,
    BitCosts,
    BitPath,
    best_with_bits,
    bit_choices,
    front_with_bits,
    measure_rises,
    quantize,
    segment_bytes,
    simulated,
)
from manticore.nas.choices import Choices
from manticore.nas.cost import PathCosts
from manticore.nas.discretize import discretize
from manticore.nas.resources import Resource, check_bits
from manticore.nas.selection import Budget, ChainScores, ListedScores, StageScoreTable
from manticore.nas.selection.scores import PathScores
from manticore.nas.supernet import Supernet
from tests.helpers.ops import op_supernet
from tests.helpers.pico import supernet, tokens

BITS = (16, 8, 4)
WEIGHTS = Resource("weight_bytes", dtype="bfloat16")


@pytest.fixture(scope="module")
def net() -> Supernet:
    """GPT-2 and GPT-Neo, whose table of positions counts once."""
    return supernet("gpt2", "gpt_neo", skip=True, stages=2)


@pytest.mark.parametrize("bits", [8, 4])
def test_every_output_channel_has_a_grid_of_its_own(bits: int) -> None:
    weight = torch.randn(5, 40) * torch.tensor([[1e-3], [1.0], [1e3], [1.0], [0.0]])
    rounded = quantize(weight, bits)
    steps = weight.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
    assert bool(((rounded - weight).abs() <= steps / 2 * (1 + 1e-5)).all())
    assert all(len(row.unique()) <= 2**bits - 1 for row in rounded)
    assert torch.equal(quantize(rounded, bits), rounded) or torch.allclose(quantize(rounded, bits), rounded, atol=1e-6)
    assert torch.equal(quantize(-weight, bits), -rounded)
    assert torch.allclose(quantize(weight.T, bits, channel=1), rounded.T)


def test_a_path_runs_with_rounded_weights_and_gets_its_own_back(net: Supernet) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    chosen, ids = BitPath(("base", "donor"), (8, 4)), tokens()[0]
    hybrid = discretize(net, chosen.path)
    for stage, bits in enumerate(chosen.bits):
        for module in hybrid.model.stages[stage].segment.modules():
            if isinstance(module, nn.Linear):
                module.weight.data = quantize(module.weight.data, bits)
            elif type(module).__name__ == "Conv1D":
                module.weight.data = quantize(module.weight.data, bits, channel=1)
    with torch.no_grad():
        full = net(ids, path=chosen.path)
        with simulated(net, chosen):
            assert torch.allclose(net(ids, path=chosen.path), hybrid(ids).logits, atol=1e-6)
        assert torch.equal(net(ids, path=chosen.path), full)
        with pytest.raises(RuntimeError), simulated(net, chosen):
            raise RuntimeError
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_bytes_are_those_of_the_weights_at_their_bits(net: Supernet) -> None:
    costs = BitCosts(net, 8, BITS)
    hybrid = discretize(net, ["base", "donor"])
    first, second = (hybrid.model.stages[stage].segment for stage in (0, 1))
    rest = 2 * (
        sum(p.numel() for p in hybrid.parameters())
        - sum(p.numel() for p in [*first.parameters(), *second.parameters()])
    )
    for one, two in product(BITS, BITS):
        total = costs.cost([f"base:{one}", f"donor:{two}"], WEIGHTS)
        assert total == rest + counted(first, one) + counted(second, two)
    assert costs.cost(["base:16", "donor:16"], WEIGHTS) == PathCosts(net, 8).cost(["base", "donor"], WEIGHTS)
    assert costs.cost(["base:4", "donor:8"], Resource("cache_bytes")) == PathCosts(net, 8).cost(
        ["base", "donor"], Resource("cache_bytes")
    )
    twice = [costs.cost(["donor:4", f"donor:{bits}"], Resource("parameters")) for bits in BITS]
    assert {*twice} == {PathCosts(net, 8).parameters(["donor", "donor"])}  # the table of positions counts once


def counted(segment: Segment, bits: int) -> float:
    linear = [part for part in segment.modules() if isinstance(part, nn.Linear) or type(part).__name__ == "Conv1D"]
    entries = sum(part.weight.numel() for part in linear)
    outputs = sum(part.weight.shape[0 if isinstance(part, nn.Linear) else 1] for part in linear)
    others = sum(parameter.numel() for parameter in segment.parameters()) - entries
    value = 2.0 * (entries + others) if bits == FULL else entries * bits / 8 + 2 * (others + outputs)
    assert segment_bytes(segment, bits) == value
    return value


@pytest.mark.parametrize("kind", ["stages", "chain", "listed"])
@pytest.mark.parametrize("share", [1.0, 0.75, 0.62])
def test_the_best_path_and_bits_are_those_of_all(net: Supernet, kind: str, share: float) -> None:
    rng, count = random.Random(kind), len(net.candidates)
    table = [[rng.gauss(0, 1) for _ in range(count)] for _ in range(2)]
    scores: PathScores = StageScoreTable(net.candidates, table)
    if kind == "chain":
        scores = ChainScores(net.candidates, table, [[[rng.gauss(0, 1) for _ in range(count)] for _ in range(count)]])
    elif kind == "listed":
        scores = ListedScores({path: rng.gauss(0, 1) for path in [*net.choices.paths()][::2]})
    costs = BitCosts(net, 8, BITS)
    rises = {
        (stage, name): rng.random() * (0.1 if name.endswith("8") else 1.0)
        for stage in range(2)
        for name in costs.choices.names(stage)
        if name.endswith((":8", ":4"))
    }
    limit = share * costs.cost(["donor:16", "donor:16"], WEIGHTS)
    budget = Budget.of(8, **{"weight_bytes@bfloat16": limit})

    def value(path: tuple[str, ...]) -> float:
        plain = tuple(name.partition(":")[0] for name in path)
        return scores.score(plain) - sum(rises.get((stage, name), 0.0) for stage, name in enumerate(path))

    allowed = [path for path in costs.choices.paths() if any(name != "skip" for name in path)]
    allowed = [path for path in allowed if costs.cost(path, WEIGHTS) <= limit and math.isfinite(value(path))]
    chosen = best_with_bits(scores, costs, rises, budget)
    assert value(tuple(costs.names(chosen))) == pytest.approx(max(map(value, allowed)))
    points = {path: (-value(path), costs.cost(path, WEIGHTS)) for path in allowed}
    undominated = {own for own in points.values() if not any(all(map(le, a, own)) for a in {*points.values()} - {own})}
    front = front_with_bits(scores, costs, rises, [WEIGHTS], budget)
    assert [points[tuple(costs.names(each))] for each in front] == sorted(undominated, key=lambda point: point[1])
    assert costs.cost(costs.names(chosen), WEIGHTS) <= limit
    with pytest.raises(
        ManticoreError, match=r"no path has weight_bytes@bfloat16 of at most 9 bytes; the nearest, .*:4"
    ):
        best_with_bits(scores, costs, rises, Budget.of(8, **{"weight_bytes@bfloat16": 9.0}))


def test_rises_are_measured_stage_by_stage_on_the_reference() -> None:
    net = op_supernet(stages=2)
    costs = BitCosts(net, 8, (16, 4))
    calls: list[BitPath] = []

    def loss(chosen: BitPath) -> float:
        calls.append(chosen)
        return 1.0 + sum(0.5 * (stage + 1) for stage, bits in enumerate(chosen.bits) if bits == 4)

    rises = measure_rises(costs, ["base", "donor"], loss)
    assert rises == {(0, "base:4"): 0.5, (0, "donor:4"): 0.5, (1, "base:4"): 1.0, (1, "donor:4"): 1.0}
    assert BitPath(("donor", "donor"), (4, 16)) in calls
    assert len(calls) == len({*calls})


def test_stages_that_share_their_choice_share_their_bits() -> None:
    choices = bit_choices(Choices.of(["a", "skip"], 3, {2: ["a"]}, [[1, 3]]), ["a"], (16, 8))
    assert choices.candidates == ("a:16", "a:8", "skip")
    assert choices.count == 3 * 2
    assert ("a:8", "a:16", "a:8") in set(choices.paths())
    assert not any(path[0] != path[2] for path in choices.paths())


def test_bits_are_part_of_an_architecture_and_absent_without(tmp_path: Path) -> None:
    plain = Architecture(("a", "b"), ("a", "b"), "a")
    plain.save(tmp_path / "plain.json")
    assert "bits" not in (tmp_path / "plain.json").read_text()
    assert Architecture.load(tmp_path / "plain.json") == plain
    chosen = Architecture(("a", "b"), ("a", "b"), "a", bits=(8, 16))
    chosen.save(tmp_path / "bits.json")
    assert Architecture.load(tmp_path / "bits.json") == chosen
    assert chosen.summary() == "stage 1 a (8 bits) · stage 2 b (16 bits)"
    for wrong in ("[8]", "[8, 3]", "3", '["a", 8]'):
        text = (tmp_path / "bits.json").read_text()
        (tmp_path / "wrong.json").write_text(re.sub(r'"bits": \[.*?\]', f'"bits": {wrong}', text, flags=re.DOTALL))
        with pytest.raises(BadFile, match="not an architecture"):
            Architecture.load(tmp_path / "wrong.json")


def test_other_bits_are_refused() -> None:
    check_bits((16, 4))
    with pytest.raises(ManticoreError, match="bits of weights are 16, 8 or 4, not 3"):
        check_bits((16, 3))
    with pytest.raises(ManticoreError, match="each number of bits stands once, not 8,8"):
        check_bits((8, 8))
