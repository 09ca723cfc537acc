"""Law 2: the supernet at a one-hot path is the discrete hybrid, and the hybrid has only the path's weights."""

from __future__ import annotations

from itertools import product

import pytest
import torch

import manticore as mc
from manticore.components.spec import SKIP
from manticore.modeling.heads import HEADS
from manticore.nas.cost import PathCosts, parameters
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.ops import RESTRICTED, Mean, make_mean, op_supernet
from tests.helpers.pico import FAMILIES, ROWS, VOCAB, component, supernet, tokens


@pytest.mark.parametrize(
    ("family", "topology"), [*((family, "residual") for family in ROWS), *((family, "hub") for family in FAMILIES)]
)
def test_one_hot_equals_discrete_for_every_path_and_family(family: str, topology: str) -> None:
    net = supernet("mamba" if family == "gpt_neo" else "gpt_neo", family, topology=topology)
    ids, mask = tokens(pad_left=4)
    with torch.no_grad():
        for path in product(["base", "donor"], repeat=3):
            soft = net(ids, mask, weights=net.one_hot(path))
            discrete = discretize(net, path)(input_ids=ids, attention_mask=mask).logits
            torch.testing.assert_close(soft, discrete, atol=1e-5, rtol=0)
            torch.testing.assert_close(net(ids, mask, path=path), discrete, atol=0, rtol=0)


@pytest.mark.parametrize("projector", ["linear", "low-rank", "two-layer", "identity"])
def test_one_hot_equals_discrete_for_every_projector(projector: str) -> None:
    net = supernet("mamba", "gpt2", HeadSpec("classification", VOCAB, 7), projector=projector)
    ids, mask = tokens()
    with torch.no_grad():
        soft = net(ids, mask, weights=net.one_hot(["base", "donor", "donor"]))
        hybrid = discretize(net, ["base", "donor", "donor"], num_labels=7)
        torch.testing.assert_close(soft, hybrid(input_ids=ids, attention_mask=mask).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("topology", ["residual", "hub"])
@pytest.mark.parametrize("kind", HEADS)
def test_one_hot_equals_discrete_for_every_head(kind: str, topology: str) -> None:
    net = supernet("mamba", "gpt2", HeadSpec(kind, VOCAB, 7), topology=topology)
    ids, mask = tokens(4, pad_left=4)
    with torch.no_grad():
        for path in (["base", "donor", "donor"], ["donor", "base", "base"]):
            discrete = discretize(net, path, num_labels=7)(input_ids=ids, attention_mask=mask).logits
            assert discrete.shape == {"tokens": (4, 17, 7), "autoencoder": (4, 17, 7), "pair": (2, 7)}.get(kind, (4, 7))
            torch.testing.assert_close(net(ids, mask, weights=net.one_hot(path)), discrete, atol=1e-5, rtol=0)
            torch.testing.assert_close(net(ids, mask, path=path), discrete, atol=1e-6, rtol=0)


def test_three_components_of_different_width_and_depth_with_skip() -> None:
    components = [
        component("gpt_neo", "a"),
        component("mamba", "b", width=40, layers=7),
        component("llama", "c", width=24, layers=3),
    ]
    space = SearchSpace(["a", "b", "c"], stages=3, skip=True)
    net = Supernet(components, space, "b", HeadSpec()).eval()
    ids, mask = tokens()
    with torch.no_grad():
        for path in [("a", "b", "c"), ("c", SKIP, "a"), (SKIP, "b", SKIP), ("b", "b", "b")]:
            hybrid = discretize(net, path)
            logits = hybrid(input_ids=ids, attention_mask=mask).logits
            torch.testing.assert_close(net(ids, mask, weights=net.one_hot(path)), logits, atol=1e-5, rtol=0)
            assert parameters(hybrid) == PathCosts(net, 17).parameters(path)


def test_every_path_of_a_space_with_ops_cuts_and_choices_of_its_own() -> None:
    net = op_supernet(**RESTRICTED)
    ids, mask = tokens(pad_left=4)
    paths = list(net.choices.paths())
    assert len(paths) == net.choices.count == 2 * 3 * 3
    with torch.no_grad():
        for path in paths:
            hybrid = discretize(net, path)
            logits = hybrid(input_ids=ids, attention_mask=mask).logits
            torch.testing.assert_close(net(ids, mask, weights=net.one_hot(path)), logits, atol=1e-5, rtol=0)
            assert torch.equal(net(ids, mask, path=path), logits)
            assert parameters(hybrid) == PathCosts(net, 17).parameters(path)


@pytest.mark.parametrize("kind", ["tokens", "classification"])
def test_an_op_that_is_not_causal_sees_the_tokens_and_no_padding(kind: str) -> None:
    space = {"ops": [mc.Op("mean", Mean, causal=False), mc.Op("made", make_mean, causal=False)]}
    net = op_supernet("mamba", "gpt2", HeadSpec(kind, VOCAB, 5), **space)
    path = ["mean", "donor", "made"]
    hybrid = discretize(net, path, num_labels=5)
    ids, _ = tokens(1, 9)
    padded = torch.cat([ids, torch.zeros(1, 4, dtype=torch.long)], dim=1)
    with torch.no_grad():
        expected = hybrid(input_ids=ids).logits
        for side in (padded, padded.roll(4, dims=1)):
            mask = (side != 0).long()
            logits = hybrid(input_ids=side, attention_mask=mask).logits
            assert torch.equal(net(side, mask, path=path), logits)
            tokens_alone = logits if kind == "classification" else logits[mask.bool()].unsqueeze(0)
            torch.testing.assert_close(tokens_alone, expected, atol=1e-5, rtol=0)
        with pytest.raises(ValueError, match="not causal"):
            hybrid.model(input_ids=ids, use_cache=True)
        changed = ids.clone()
        changed[0, -1] += 1
        if kind == "tokens":
            assert not torch.allclose(hybrid(input_ids=changed).logits[:, :3], expected[:, :3], atol=1e-4)


def test_the_hybrid_has_only_the_weights_of_its_path() -> None:
    net = supernet("gpt_neo", "mamba")
    names = discretize(net, ["base", "donor", "base"]).state_dict().keys()
    projected_stages = {name.split(".")[2] for name in names if "proj_" in name}
    assert projected_stages == {"1"}
    assert not any("backbone.h." in name for name in names if name.startswith("model.stages.1."))
    assert not any("backbone.layers." in name for name in names if name.startswith("model.stages.0."))
    assert len(discretize(net, ["base"] * 3).config.components) == 1


def test_left_and_right_padding_do_not_change_a_label() -> None:
    net = supernet("mamba", "gpt_neox", HeadSpec("classification", VOCAB, 5))
    hybrid = discretize(net, ["base", "donor", "base"], num_labels=5, pad_token_id=0)
    ids, _ = tokens(2, 9)
    right = torch.cat([ids, torch.zeros(2, 4, dtype=torch.long)], dim=1)
    with torch.no_grad():
        expected = hybrid(input_ids=ids).logits
        torch.testing.assert_close(hybrid(input_ids=right).logits, expected, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            net(right, (right != 0).long(), path=["base", "donor", "base"]), expected, atol=1e-5, rtol=0
        )
