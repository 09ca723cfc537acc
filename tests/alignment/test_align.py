"""Closed-form alignment: perfect projectors are found where they exist, and invalid input is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from manticore.alignment import CalibrationBatch, DonorTokens, StageFit, fit_projectors
from manticore.alignment import fit as fit_module
from manticore.alignment.closed_forms import RidgeFit
from manticore.alignment.projector_set import ProjectorSet, projector_state
from manticore.alignment.refine import refine
from manticore.alignment.ridge import Affine
from manticore.alignment.streams import branch_of, context_of, own_streams
from manticore.components import Component
from manticore.errors import ManticoreError
from manticore.modeling.branches import DonorBranch
from manticore.nas.selection.path_scores import next_token_loss
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.model_images import llama, pair, rotated, text
from tests.helpers.ops import CONV, OPS
from tests.helpers.pico import VOCAB, component, supernet, tokens


def proj_in(net: Supernet, stage: int) -> nn.Module:
    branch = branch_of(net, stage, "donor")
    assert isinstance(branch, DonorBranch)
    return branch.proj_in


def layer_inputs(component: Component, ids: Tensor, mask: Tensor) -> list[Tensor]:
    """The input of each layer of a model that runs alone."""
    inputs: list[Tensor] = []
    layers = getattr(component.backbone, component.layout.layers)
    hooks = [layer.register_forward_pre_hook(lambda layer, args: inputs.append(args[0])) for layer in layers]
    component.model(ids, attention_mask=mask)
    for hook in hooks:
        hook.remove()
    return inputs


def test_own_streams_equal_the_layer_inputs_of_the_models_alone() -> None:
    for family in ("gpt2", "mamba", "llama"):
        net = pair(component("gpt_neo", "base"), component(family, "donor"))
        ids, mask = tokens(pad_left=4)
        with torch.no_grad():
            for name, model in net.components.items():
                expected = layer_inputs(model, ids, mask)
                streams = own_streams(net, name, ids, context_of(net, ids, mask))
                for stage, layer in enumerate(net.layer_boundaries[name][:-1]):
                    torch.testing.assert_close(
                        streams[stage][mask > 0], expected[layer][mask > 0], atol=1e-5, rtol=1e-5
                    )


def test_a_rotated_copy_is_recovered_and_every_path_equals_the_base() -> None:
    base = llama()
    donor, rotation_DD = rotated(base)
    net = pair(base, donor)
    fits = fit_projectors(net, text(0), text(1, 2))
    assert [(fit.stage, fit.component) for fit in fits] == [(stage, "donor") for stage in range(3)]
    for fit in fits:
        assert fit.r2_in > 1 - 1e-6
        assert fit.r2_out > 1 - 1e-6
        assert fit.update == pytest.approx(fit.base_update, rel=1e-3)
        assert abs(fit.update_before / fit.base_update - 1) > 0.01
        torch.testing.assert_close(proj_in(net, fit.stage).weight, rotation_DD, atol=2e-3, rtol=0)
    ids = text(2, 1)[0].ids_BL
    with torch.no_grad():
        expected = net(ids, path=["base"] * 3)
        for path in product(["base", "donor"], repeat=3):
            torch.testing.assert_close(net(ids, path=list(path)), expected, atol=2e-3, rtol=1e-3)


def test_absolute_positions_of_a_donor_are_excluded_from_the_fit() -> None:
    base, donor = component("llama", "base"), component("gpt2", "donor")
    torch.manual_seed(4)
    matrix = torch.randn(donor.width, base.width)
    with torch.no_grad():
        donor.backbone.wte.weight.copy_(base.backbone.embed_tokens.weight @ matrix.T)
        donor.backbone.wpe.weight.normal_()  # large, and unrelated to the base
    net = pair(base, donor, stages=1)
    fit = fit_projectors(net, text(0, 20), text(1, 2))[0]
    assert fit.r2_in > 1 - 1e-6
    torch.testing.assert_close(proj_in(net, 0).weight, matrix, atol=1e-3, rtol=1e-3)


def test_different_tokens_are_compared_at_their_pairs() -> None:
    base = llama()
    donor, rotation_DD = rotated(base)
    renamed = torch.randperm(VOCAB)
    with torch.no_grad():
        table = donor.backbone.embed_tokens.weight
        table[renamed] = table.clone()
    pairs = torch.tensor([(row, position, position) for row in range(8) for position in range(10)])

    def paired(seed: int) -> list[CalibrationBatch]:
        batches = []
        for batch in text(seed):
            donor_ids = renamed[batch.ids_BL]
            donor_ids[:, 10:] = 0  # tokens without a pair must not be used
            batches.append(CalibrationBatch(batch.ids_BL, None, {"donor": DonorTokens(donor_ids, pairs)}))
        return batches

    net = pair(base, donor)
    fits = fit_projectors(net, paired(0), paired(1))
    assert min(min(fit.r2_in, fit.r2_out) for fit in fits) > 1 - 1e-6
    torch.testing.assert_close(proj_in(net, 2).weight, rotation_DD, atol=5e-3, rtol=0)
    ids = text(2, 1)[0].ids_BL
    with torch.no_grad():
        torch.testing.assert_close(net(ids, path=["donor"] * 3), net(ids, path=["base"] * 3), atol=2e-3, rtol=1e-3)


def test_padding_is_ignored() -> None:
    base = llama()
    donor, _ = rotated(base)

    def padded(seed: int, pad: int) -> list[CalibrationBatch]:
        batches = []
        for batch in text(seed):
            ids, mask = batch.ids_BL.clone(), torch.ones_like(batch.ids_BL)
            ids[:, 9:], mask[:, 9:] = pad, 0
            batches.append(CalibrationBatch(ids, mask))
        return batches

    weights = []
    for pad in (0, 1):
        net = pair(base, donor)
        fit_projectors(net, padded(0, pad), padded(1, pad))
        weights.append(proj_in(net, 1).weight)
    torch.testing.assert_close(*weights, atol=0, rtol=0)


def test_only_projectors_change() -> None:
    net = supernet("gpt_neo", "mamba").train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    fit_projectors(net, text(0), text(1))
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if "proj_" in key}
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_three_components_and_skip_are_aligned() -> None:
    parts = [component(family, family) for family in ("mamba", "gpt_neo", "llama")]
    space = SearchSpace([part.name for part in parts], stages=2, skip=True)
    fits = fit_projectors(Supernet(parts, space, "gpt_neo", HeadSpec()), text(0), text(1))
    assert [(fit.stage, fit.component) for fit in fits] == [(0, "mamba"), (0, "llama"), (1, "mamba"), (1, "llama")]


def test_a_larger_rank_explains_more() -> None:
    explained = []
    for rank in (2, 8, 32):
        base = llama()
        net = pair(base, rotated(base)[0], projector="low-rank", projector_options={"rank": rank})
        explained.append(fit_projectors(net, text(0), text(1))[0].r2_in)
    assert 0 < explained[0] < explained[1] < explained[2]
    assert explained[2] > 1 - 1e-6


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"projector": "identity"}, "'identity' has nothing to fit; align fits linear and low-rank"),
        ({"projector": "two-layer"}, "'two-layer' has no closed form"),
        ({"topology": "hub"}, "align needs topology=residual"),
    ],
)
def test_supernets_that_cannot_be_aligned_are_refused(space: dict[str, str], message: str) -> None:
    net = supernet("gpt_neo", "mamba", **space)
    with pytest.raises(ManticoreError, match=message):
        fit_projectors(net, text(0), text(1))


def test_a_fresh_vocabulary_is_refused() -> None:
    net = supernet("gpt_neo", "mamba", HeadSpec("classification", VOCAB + 1, 3))
    with pytest.raises(ManticoreError, match="own vocabulary"):
        fit_projectors(net, text(0), text(1))


def test_too_short_a_text_is_refused() -> None:
    with pytest.raises(ManticoreError, match="too short to align 'donor'"):
        fit_projectors(supernet("gpt_neo", "mamba"), text(0), [])


def test_activations_that_are_not_finite_are_reported() -> None:
    net = pair(component("gpt_neo", "base"), component("mamba", "donor"))
    branch = branch_of(net, 1, "donor")
    with torch.no_grad():
        next(branch.segment.parameters()).fill_(float("inf"))
    with pytest.raises(ManticoreError, match="'donor' cannot be aligned: at stage 3"):
        fit_projectors(net, text(0), text(1))


def test_different_tokenizers_need_paired_text() -> None:
    net = supernet("gpt_neo", "mamba")
    for name, word in (("base", "a"), ("donor", "b")):
        core = Tokenizer(WordLevel({word: 0}))
        net.components[name].tokenizer = PreTrainedTokenizerFast(tokenizer_object=core)
    with pytest.raises(ManticoreError, match="'donor' has another tokenizer than 'base'; its text must be paired"):
        fit_projectors(net, text(0), text(1))
    net.components["donor"].tokenizer = net.components["base"].tokenizer
    assert fit_projectors(net, text(0), text(1))


def test_gradient_steps_change_only_projectors_and_lower_the_loss() -> None:
    net = supernet("gpt_neo", "mamba")
    fit_projectors(net, text(0), text(1))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    losses: list[float] = []
    torch.manual_seed(0)
    path = ["base", "donor", "donor"]
    with torch.no_grad():
        start = next_token_loss(net, text(0)[0].token_batch, path).mean()
    batches = text(0)[:1]
    refine(net, batches, 30, on_step=lambda step, loss: losses.append(loss))
    assert len(losses) == 30
    changed = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if "proj_" in key}
    with torch.no_grad():
        assert next_token_loss(net, text(0)[0].token_batch, path).mean() < start
    assert all(parameter.requires_grad and parameter.grad is None for parameter in net.parameters())


def test_the_loss_ignores_padding() -> None:
    net = supernet("gpt_neo", "mamba")
    ids = text(0)[0].ids_BL
    mask = torch.ones_like(ids)
    mask[:, 9:] = 0
    with torch.no_grad():
        short = next_token_loss(net, (ids[:, :9], None), ["donor"] * 3)
        torch.testing.assert_close(next_token_loss(net, (ids, mask), ["donor"] * 3), short)


def test_a_gain_is_chosen_where_it_explains_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted() -> tuple[Supernet, list[StageFit]]:
        net = pair(llama(), component("gpt_neo", "donor", width=8, heads=2))  # too narrow for the base's stream
        return net, fit_projectors(net, text(0, 20), text(1, 4))

    monkeypatch.setattr(fit_module, "GAINS", (1.0,))
    plain, before = fitted()
    monkeypatch.setattr(fit_module, "GAINS", (1.0, 4.0))
    net, after = fitted()
    assert {fit.gain for fit in before} == {1.0}
    assert 4.0 in {fit.gain for fit in after}
    for old, new in zip(before, after, strict=True):
        assert (new.r2_out > old.r2_out + fit_module.MIN_IMPROVEMENT) == (new.gain > 1)
        scaled, unscaled = proj_in(net, new.stage), proj_in(plain, new.stage)
        torch.testing.assert_close(scaled.weight, new.gain * unscaled.weight)
        assert (scaled.bias - unscaled.bias).norm() == 0 or new.gain > 1


def test_a_gain_keeps_the_mean() -> None:
    affine = Affine(torch.eye(2, dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64))
    mean_E = torch.tensor([3.0, 4.0], dtype=torch.float64)
    scaled = RidgeFit(affine, 0.0, 0.5, mean_E).scaled(3.0)
    x_D = mean_E - affine.bias_E  # the map sends it to the mean
    assert (scaled.weight_ED @ x_D + scaled.bias_E).tolist() == [3.0, 4.0]
    assert (scaled.weight_ED @ (x_D + 1) + scaled.bias_E).tolist() == [6.0, 7.0]


def test_where_stages_differ_projectors_are_those_of_the_whole_space() -> None:
    cuts = {"base": [0, 1, 3, 4], "donor": [0, 2, 4, 5]}
    whole = supernet("gpt_neo", "mamba", cuts=cuts)
    fits = {(fit.stage, fit.component): fit for fit in fit_projectors(whole, text(0), text(1))}
    stage_candidates = {1: CONV, 2: ["donor", "base"], 3: "donor"}
    some = supernet("gpt_neo", "mamba", cuts=cuts, stage_candidates=stage_candidates, ops=OPS)
    some_fits = fit_projectors(some, text(0), text(1))
    assert [(fit.stage, fit.component) for fit in some_fits] == [(1, "donor"), (2, "donor")]
    state = whole.state_dict()
    for name, weight in projector_state(some).items():
        torch.testing.assert_close(weight, state[name])
    for fit in some_fits:
        assert fit.r2_out == pytest.approx(fits[fit.stage, fit.component].r2_out)
    assert not any("segment" in name for name in some.state_dict() if name.startswith("stages.0"))


def test_a_projector_set_fits_other_stages_of_the_same_cuts(tmp_path: Path) -> None:
    cuts = {"base": [0, 2, 3, 4]}
    whole = supernet("gpt_neo", "mamba", cuts=cuts)
    fit_projectors(whole, text(0), text(1))
    projectors = ProjectorSet.load(ProjectorSet.of(whole, 8).save(tmp_path / "set", "# A set"))
    some = supernet("gpt_neo", "mamba", cuts=cuts, stage_candidates={2: "base"})
    projectors.apply_to(some)
    state = whole.state_dict()
    assert all(torch.equal(weight, state[name]) for name, weight in projector_state(some).items())
    with pytest.raises(ManticoreError, match="made for other layer_boundaries of 'base'"):
        projectors.apply_to(supernet("gpt_neo", "mamba"))
