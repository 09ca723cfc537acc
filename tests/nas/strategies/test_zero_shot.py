"""Stages are scored by the divergence from the base model's predictions."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from manticore.alignment import fit_projectors
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.selection.path_scores import TokenBatch
from manticore.nas.space import SearchSpace
from manticore.nas.strategies.zero_shot import (
    ZeroShot,
    candidate_scores,
    check_base_everywhere,
    check_no_ops,
    donor_mean,
    path_divergences,
    path_kl,
    stage_kl,
)
from manticore.nas.supernet import Supernet
from manticore.utils.statistics import ratio_interval, student_quantile
from tests.helpers.model_images import llama, pair, rotated, text
from tests.helpers.ops import op_supernet
from tests.helpers.pico import supernet

BASE = ("base",) * 3


def tokens(seed: int, batches: int) -> list[TokenBatch]:
    return [batch.token_batch for batch in text(seed, batches)]


@pytest.fixture(scope="module")
def net() -> Supernet:
    model = supernet("gpt_neo", "mamba", skip=True)
    fit_projectors(model, text(0), text(1))
    return model


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_path_kl_is_the_divergence_between_the_discrete_hybrids(net: Supernet, padded: bool) -> None:
    path = ("base", "donor", "base")
    (batch,) = text(3, 1)
    mask_BL = torch.ones_like(batch.ids_BL)
    if padded:
        mask_BL[0, 5:] = 0
    predicted_BM = (mask_BL[:, 1:] * mask_BL[:, :-1]).bool()
    with torch.no_grad():
        base_logprobs, path_logprobs = (
            discretize(net, names)(batch.ids_BL, mask_BL).logits[:, :-1][predicted_BM].double().log_softmax(-1)
            for names in (BASE, path)
        )
    expected = torch.nn.functional.kl_div(path_logprobs, base_logprobs, reduction="batchmean", log_target=True)
    (divergence,) = path_kl(net, [(batch.ids_BL, mask_BL if padded else None)], [path])
    assert divergence == pytest.approx(float(expected), rel=1e-4)


def test_stage_kl_replaces_one_stage(net: Supernet) -> None:
    batches = tokens(3, 1)
    divergences = stage_kl(net, batches)
    assert [row[net.candidates.index("base")] for row in divergences] == [0.0] * 3
    assert min(row[net.candidates.index(name)] for row in divergences for name in ("donor", "skip")) > 0
    skipped, last = path_kl(net, batches, [("base", "skip", "base"), ("base", "base", "donor")])
    assert divergences[1][net.candidates.index("skip")] == pytest.approx(skipped)
    assert divergences[2][net.candidates.index("donor")] == pytest.approx(last)


def test_an_aligned_rotated_copy_does_not_diverge() -> None:
    base = llama()
    net = pair(base, rotated(base)[0], stages=2)
    before = stage_kl(net, tokens(3, 2))
    fit_projectors(net, text(0), text(1))
    after = stage_kl(net, tokens(3, 2))
    assert max(max(row) for row in before) > 0.01
    assert max(max(row) for row in after) < 1e-4


def test_a_donor_scores_above_the_base_where_its_divergence_is_below_the_mean(net: Supernet) -> None:
    base, donor, skip = (net.candidates.index(name) for name in ("base", "donor", "skip"))
    divergences = [[0.0] * 3 for _ in range(3)]
    for row, divergence in zip(divergences, (0.25, 0.04, 0.07), strict=True):
        row[donor], row[skip] = divergence, 0.01
    scores = candidate_scores(net, divergences)
    assert [row[base] for row in scores] == [0.0] * 3
    assert [row[donor] for row in scores] == pytest.approx([-0.13, 0.08, 0.05])
    assert [row[skip] for row in scores] == [-0.01] * 3, "a skipped stage gains nothing"


@pytest.mark.parametrize("padded", [False, True], ids=["whole", "padded"])
def test_divergences_have_standard_errors_over_sequences(net: Supernet, padded: bool) -> None:
    """As if each sequence were scored by itself: the ratio of sums over sequences of unlike lengths."""
    path = ("base", "donor", "base")
    batches = []
    for batch in text(3, 2):
        mask_BL = torch.ones_like(batch.ids_BL)
        if padded:
            mask_BL[0, 5:] = 0
        batches.append((batch.ids_BL, mask_BL))
    result = path_divergences(net, batches, [path, BASE])
    alone = [
        (path_kl(net, [(ids_BL[row : row + 1], mask_BL[row : row + 1])], [path])[0], int(mask_BL[row].sum()) - 1)
        for ids_BL, mask_BL in batches
        for row in range(len(ids_BL))
    ]
    sums = [mean * size for mean, size in alone]
    expected = ratio_interval(sums, [size for _, size in alone])
    assert result.sequences == len(alone)
    assert result.means[0] == pytest.approx(expected.mean, rel=1e-4)
    assert expected.margin is not None
    assert result.std_errors[0] * student_quantile(0.975, len(alone) - 1) == pytest.approx(expected.margin, rel=1e-3)
    assert (result.means[1], result.std_errors[1]) == (0.0, 0.0)


def test_a_search_returns_the_scores_that_its_alphas_come_from(net: Supernet) -> None:
    batches = [{"input_ids": ids_BL, "attention_mask": torch.ones_like(ids_BL)} for ids_BL, _ in tokens(3, 2)]
    alphas, scores = ZeroShot().search(net, batches)
    assert torch.equal(alphas, ZeroShot().alphas(net, batches))
    assert list(map(list, scores.values)) == stage_kl(net, tokens(3, 2))
    assert torch.equal(alphas, 100 * torch.tensor(candidate_scores(net, list(map(list, scores.values)))))
    donor = scores.candidates.index("donor")
    assert scores.threshold == pytest.approx(sum(row[donor] for row in scores.values) / 3)
    assert "standard error over" in scores.spread_of


def test_too_little_text_is_refused(net: Supernet) -> None:
    with pytest.raises(ManticoreError, match="without a second token"):
        stage_kl(net, [(torch.zeros(2, 1, dtype=torch.long), None)])


RESTRICTED: dict[str, Any] = {"stage_candidates": {2: ["base", "donor"], 3: "base"}, "shared_stages": [[1, 2]]}


def test_stages_that_share_their_choice_are_replaced_together() -> None:
    net = supernet("gpt_neo", "mamba", skip=True, **RESTRICTED)
    fit_projectors(net, text(0), text(1))
    batches = tokens(3, 1)
    kl_SK = stage_kl(net, batches)
    (both,) = path_kl(net, batches, [("donor", "donor", "base")])
    assert kl_SK == [[0.0, pytest.approx(both / 2), 0.0], [0.0, pytest.approx(both / 2), 0.0], [0.0, 0.0, 0.0]]
    scores = candidate_scores(net, kl_SK)
    assert scores[0][1] == pytest.approx(0.0, abs=1e-12), "its divergence is the mean of all divergences"
    net.set_alphas(torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0], [6.0, 7.0, 8.0]]))
    assert net.alpha_table.tolist() == [[2.0, 3.0, 0.0], [2.0, 3.0, 0.0], [6.0, 0.0, 0.0]]
    expected = torch.tensor([2.0, 3.0]).softmax(0)
    torch.testing.assert_close(net.weights()[1], torch.tensor([*expected.tolist(), 0.0]))
    torch.testing.assert_close(net.log_probability(["donor", "donor", "base"]), expected[1].log())


@pytest.mark.parametrize(
    ("fields", "base", "message"),
    [
        ({"stage_candidates": {2: "donor"}}, "base", "'base' is no candidate of stage 2; .* or do something else"),
        ({"stage_candidates": {2: "base"}}, None, "'donor' is no candidate of stage 2"),
    ],
)
def test_the_base_must_be_a_candidate_of_every_stage(fields: dict[str, Any], base: str | None, message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        check_base_everywhere(SearchSpace(["base", "donor"], stages=3, **fields), base, "do something else")
    check_base_everywhere(SearchSpace(["base", "donor"], stages=3, stage_candidates={2: "base"}), "base", "")


def test_ops_are_no_donors_and_are_not_compared() -> None:
    net = op_supernet("gpt_neo", "mamba")
    fit_projectors(net, text(0), text(1))
    kl_SK = stage_kl(net, tokens(3, 1))
    donor = net.candidates.index("donor")
    assert [[index for index, kl in enumerate(row) if kl] for row in kl_SK] == [[donor]] * 3
    assert donor_mean(net, kl_SK) == pytest.approx(sum(row[donor] for row in kl_SK) / 3)
    with pytest.raises(ManticoreError, match="op 'conv' has no trained weights; search with --strategy darts"):
        check_no_ops(net.space)
