"""Paths are ranked by what their discrete hybrids would score."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import manticore.nas.selection.path_scores as module
from manticore.alignment import fit_projectors
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.selection.path_scores import path_losses
from manticore.nas.supernet import Supernet
from tests.helpers.model_images import llama, pair, rotated, text
from tests.helpers.pico import supernet


@pytest.fixture(scope="module")
def net() -> Supernet:
    made = supernet("gpt_neo", "mamba", skip=True)
    fit_projectors(made, text(0), text(1))
    return made


def test_every_path_gets_the_loss_of_its_hybrid(net: Supernet) -> None:
    batches = text(3, 2)
    losses = path_losses(net, [batch.token_batch for batch in batches])
    assert set(losses) == set(product(net.candidates, repeat=3))
    assert list(losses.values()) == sorted(losses.values())
    for path in (("base",) * 3, ("donor", "skip", "base"), ("donor",) * 3):
        hybrid = discretize(net, path)
        with torch.no_grad():
            want = torch.stack([hybrid(batch.ids_BL, labels=batch.ids_BL).loss for batch in batches]).mean()
        assert losses[path] == pytest.approx(float(want), abs=1e-5)


def test_too_many_paths_are_refused(net: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PATHS", 26)
    with pytest.raises(ManticoreError, match="27 paths are too many to score one by one; at most 26"):
        path_losses(net, [batch.token_batch for batch in text(3, 1)])


def test_alignment_brings_a_copy_level_with_base() -> None:
    base = llama()
    made = pair(base, rotated(base)[0], stages=2)
    before = path_losses(made, [batch.token_batch for batch in text(3, 2)])
    fit_projectors(made, text(0), text(1))
    after = path_losses(made, [batch.token_batch for batch in text(3, 2)])
    assert max(before.values()) - min(before.values()) > 0.03
    assert max(after.values()) - min(after.values()) < 1e-3


def test_text_without_a_next_token_is_refused(net: Supernet) -> None:
    with pytest.raises(ManticoreError, match="without a second token"):
        path_losses(net, [(torch.zeros(2, 1, dtype=torch.long), None)])
