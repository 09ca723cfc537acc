"""Stages are scored by the divergence from the base model's predictions."""

from __future__ import annotations

import pytest
import torch

from manticore.alignment import fit_projectors
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.selection.path_scores import TokenBatch
from manticore.nas.strategies.zero_shot import candidate_scores, path_kl, stage_kl
from manticore.nas.supernet import Supernet
from tests.helpers.model_images import llama, pair, rotated, text
from tests.helpers.pico import supernet

BASE = ("base",) * 3


def tokens(seed: int, batches: int) -> list[TokenBatch]:
    return [batch.token_batch for batch in text(seed, batches)]


@pytest.fixture(scope="module")
def net() -> Supernet:
    made = supernet("gpt_neo", "mamba", skip=True)
    fit_projectors(made, text(0), text(1))
    return made


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_path_kl_is_the_divergence_of_the_hybrids(net: Supernet, padded: bool) -> None:
    path = ("base", "donor", "base")
    (batch,) = text(3, 1)
    mask_BL = torch.ones_like(batch.ids_BL)
    if padded:
        mask_BL[0, 5:] = 0
    told_BM = (mask_BL[:, 1:] * mask_BL[:, :-1]).bool()
    with torch.no_grad():
        ours, theirs = (
            discretize(net, held)(batch.ids_BL, mask_BL).logits[:, :-1][told_BM].double().log_softmax(-1)
            for held in (BASE, path)
        )
    want = torch.nn.functional.kl_div(theirs, ours, reduction="batchmean", log_target=True)
    (held,) = path_kl(net, [(batch.ids_BL, mask_BL if padded else None)], [path])
    assert held == pytest.approx(float(want), rel=1e-4)


def test_stage_kl_replaces_one_stage(net: Supernet) -> None:
    batches = tokens(3, 1)
    stages = stage_kl(net, batches)
    assert [row[net.candidates.index("base")] for row in stages] == [0.0] * 3
    assert min(row[net.candidates.index(name)] for row in stages for name in ("donor", "skip")) > 0
    skipped, last = path_kl(net, batches, [("base", "skip", "base"), ("base", "base", "donor")])
    assert stages[1][net.candidates.index("skip")] == pytest.approx(skipped)
    assert stages[2][net.candidates.index("donor")] == pytest.approx(last)


def test_an_aligned_rotated_copy_does_not_diverge() -> None:
    base = llama()
    made = pair(base, rotated(base)[0], stages=2)
    before = stage_kl(made, tokens(3, 2))
    fit_projectors(made, text(0), text(1))
    after = stage_kl(made, tokens(3, 2))
    assert max(max(row) for row in before) > 0.01
    assert max(max(row) for row in after) < 1e-4


def test_a_donor_scores_above_the_base_where_it_diverges_less_than_in_the_mean(net: Supernet) -> None:
    base, donor, skip = (net.candidates.index(name) for name in ("base", "donor", "skip"))
    apart = [[0.0] * 3 for _ in range(3)]
    for row, moved in zip(apart, (0.25, 0.04, 0.07), strict=True):
        row[donor], row[skip] = moved, 0.01
    held = candidate_scores(net, apart)
    assert [row[base] for row in held] == [0.0] * 3
    assert [row[donor] for row in held] == pytest.approx([-0.13, 0.08, 0.05])
    assert [row[skip] for row in held] == [-0.01] * 3, "a skipped stage gains nothing"


def test_too_little_text_is_refused(net: Supernet) -> None:
    with pytest.raises(ManticoreError, match="without a second token"):
        stage_kl(net, [(torch.zeros(2, 1, dtype=torch.long), None)])
