"""The computed costs of a path equal those of the hybrid that is built from it."""

from __future__ import annotations

from itertools import product

import pytest

from manticore.nas.cost import PathCosts, branch_costs, fixed_costs, flops, parameters
from manticore.nas.discretize import discretize
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import FAMILIES, VOCAB, supernet

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
    _, table = branch_costs(net, 17)
    for path in (["base"] * 3, ["donor", "base", "donor"], ["donor"] * 3):
        stages = sum(table[stage][net.candidates.index(choice)] for stage, choice in enumerate(path))
        assert fixed_costs(net, 17)[1] + stages == pytest.approx(flops(discretize(net, path, num_labels=7), 17))
        assert stages > 0


def test_attention_costs_more_on_longer_sequences_and_a_window_bounds_it() -> None:
    net = supernet("gpt_neo", "mamba")  # layers alternate: global, local with a window of 6
    table = {length: branch_costs(net, length)[1] for length in (6, 60)}
    attention, recurrent = net.candidates.index("base"), net.candidates.index("donor")
    assert all(at_60[attention] > at_6[attention] for at_6, at_60 in zip(table[6], table[60], strict=True))
    assert all(at_60[recurrent] == at_6[recurrent] for at_6, at_60 in zip(table[6], table[60], strict=True))
    width, global_layer, local_layer = 32, (60 + 1) / 2, 6 - 6 * 5 / 120
    per_pair = table[60][1][attention] - table[6][1][attention]  # layers 2 and 3: one of each kind
    short = (6 + 1) / 2
    assert per_pair == pytest.approx(4 * width * (global_layer - short + local_layer - short))
