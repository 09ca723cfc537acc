"""Paths are ranked by the losses of their discrete hybrids."""

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
    model = supernet("gpt_neo", "mamba", skip=True)
    fit_projectors(model, text(0), text(1))
    return model


def test_the_loss_of_a_path_is_that_of_its_hybrid(net: Supernet) -> None:
    batches = text(3, 2)
    losses = path_losses(net, [batch.token_batch for batch in batches])
    assert set(losses) == set(product(net.candidates, repeat=3))
    assert list(losses.values()) == sorted(losses.values())
    for path in (("base",) * 3, ("donor", "skip", "base"), ("donor",) * 3):
        hybrid = discretize(net, path)
        with torch.no_grad():
            expected = torch.stack([hybrid(batch.ids_BL, labels=batch.ids_BL).loss for batch in batches]).mean()
        assert losses[path] == pytest.approx(float(expected), abs=1e-5)


def test_too_many_paths_are_refused(net: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PATHS", 26)
    with pytest.raises(ManticoreError, match="27 paths are too many to score one by one; at most 26"):
        path_losses(net, [batch.token_batch for batch in text(3, 1)])


def test_after_alignment_all_paths_of_a_rotated_copy_have_the_same_loss() -> None:
    base = llama()
    net = pair(base, rotated(base)[0], stages=2)
    before = path_losses(net, [batch.token_batch for batch in text(3, 2)])
    fit_projectors(net, text(0), text(1))
    after = path_losses(net, [batch.token_batch for batch in text(3, 2)])
    assert max(before.values()) - min(before.values()) > 0.03
    assert max(after.values()) - min(after.values()) < 1e-3


def test_text_without_a_next_token_is_refused(net: Supernet) -> None:
    with pytest.raises(ManticoreError, match="without a second token"):
        path_losses(net, [(torch.zeros(2, 1, dtype=torch.long), None)])
