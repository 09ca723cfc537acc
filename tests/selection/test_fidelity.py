"""Paths are ranked by how far their discrete hybrids' predictions are from home's."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import manticore.selection.zero_shot as module
from manticore.alignment import Reading, align
from manticore.discretization import discretize
from manticore.errors import ManticoreError
from manticore.selection.fidelity import by_divergence, divergences, stage_divergences
from manticore.supernet import Supernet
from tests.alignment.images import llama, pair, rotated, text
from tests.pico import supernet

HOME = ("home",) * 3


@pytest.fixture(scope="module")
def net() -> Supernet:
    made = supernet("gpt_neo", "mamba", skip=True)
    align(made, lambda: text(0), lambda: text(1))
    return made


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_it_is_the_divergence_of_the_hybrids(net: Supernet, padded: bool) -> None:
    path = ("home", "foreign", "home")
    (batch,) = text(3, 1)
    mask_BL = torch.ones_like(batch.ids_BL)
    if padded:
        mask_BL[0, 5:] = 0
    told_BM = (mask_BL[:, 1:] * mask_BL[:, :-1]).bool()
    with torch.no_grad():
        ours, theirs = (
            discretize(net, held)(batch.ids_BL, mask_BL).logits[:, :-1][told_BM].double().log_softmax(-1)
            for held in (HOME, path)
        )
    want = torch.nn.functional.kl_div(theirs, ours, reduction="batchmean", log_target=True)
    (held,) = divergences(net, [Reading(batch.ids_BL, mask_BL if padded else None)], [path])
    assert held == pytest.approx(float(want), rel=1e-4)


def test_every_path_is_ranked_home_first(net: Supernet) -> None:
    ranked = by_divergence(net, text(3, 2))
    assert set(ranked) == set(product(net.candidates, repeat=3))
    assert list(ranked.values()) == sorted(ranked.values())
    assert next(iter(ranked.items())) == (HOME, 0.0)
    assert min(list(ranked.values())[1:]) > 0


def test_stages_are_those_of_one_replaced_stage(net: Supernet) -> None:
    batches = text(3, 1)
    ranked, stages = by_divergence(net, batches), stage_divergences(net, batches)
    assert [row[net.candidates.index("home")] for row in stages] == [0.0] * 3
    assert stages[1][net.candidates.index("skip")] == pytest.approx(ranked["home", "skip", "home"])
    assert stages[2][net.candidates.index("foreign")] == pytest.approx(ranked["home", "home", "foreign"])


def test_a_copy_in_other_coordinates_is_as_near_as_home_once_it_is_aligned() -> None:
    home = llama()
    made = pair(home, rotated(home)[0], stages=2)
    before = by_divergence(made, text(3, 2))
    align(made, lambda: text(0), lambda: text(1))
    after = by_divergence(made, text(3, 2))
    assert max(before.values()) > 0.01
    assert max(after.values()) < 1e-4


def test_too_many_paths_and_too_little_text_are_refused(net: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ManticoreError, match="without a second token"):
        by_divergence(net, [Reading(torch.zeros(2, 1, dtype=torch.long))])
    monkeypatch.setattr(module, "ENUMERABLE", 26)
    with pytest.raises(ManticoreError, match="27 paths are too many to score one by one; at most 26"):
        by_divergence(net, text(3, 1))
