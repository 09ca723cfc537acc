"""Law 4: cached equals uncached, for all-attention, all-recurrent and mixed paths."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from manticore.kernels import is_installed, uninstall
from manticore.modeling import segments
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.caching import checks, padded, sequences
from tests.helpers.ops import ATTENTION, CONV, EMA, op_supernet
from tests.helpers.pico import FAMILIES, component, supernet

PATHS = {"mixed": ["base", "donor", "base"], "base": ["base"] * 3, "donor": ["donor"] * 3}


def hybrid(family: str, path: str, **space: object) -> PreTrainedModel:
    return discretize(supernet(family, "mamba" if family != "mamba" else "gpt_neo", **space), PATHS[path])


def four_components() -> PreTrainedModel:
    """Absolute positions, rotary positions, Mamba and Mamba-2; Mamba runs the first stage."""
    families = {"a": "gpt_neo", "b": "mamba", "c": "llama", "d": "mamba2"}
    components = [component(family, name) for name, family in families.items()]
    net = Supernet(components, SearchSpace(list(families), stages=4), "a", HeadSpec())
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "proj_" in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return discretize(net.eval(), ["b", "a", "d", "c"])


TWINS = ("twin_llama", "twin_mistral", "twin_qwen2", "twin_gpt_neox", "twin_gpt2", "twin_gpt_neo")
HYBRIDS = ("falcon_h1", "granitemoehybrid", "lfm2", "nemotron_h", "olmo_hybrid")
OWN_STEPS = ("smollm3", "olmo3", "gemma2", "falcon_mamba", *HYBRIDS, *TWINS)
"""Further families whose cached step has code of its own: windows, positions and caps by layer, norms in the scan."""

LAYOUTS = {
    **{f"{family} mixed": (family, "mixed", {}) for family in (*FAMILIES, *OWN_STEPS)},
    **{f"all {family}": (family, "base", {}) for family in ("gpt_neo", "llama", "mistral", "mamba", "mamba2")},
    **{f"all {family}": (family, "base", {}) for family in ("twin_llama", "twin_qwen2")},
    "all donor": ("gpt2", "donor", {}),
    "with a bypass": ("gpt_neo", "mixed", {"projector_options": {"bypass": True}}),
    "hub mixed": ("gpt_neo", "mixed", {"topology": "hub"}),
    "hub recurrent base": ("mamba2", "mixed", {"topology": "hub"}),
    "skipped": ("gpt2", "skipped", {"skip": True}),
}
PATHS["skipped"] = ["donor", "skip", "base"]


OP_PATHS = {
    "ops between layers": [CONV, "donor", ATTENTION],
    "ops with a cache": [EMA, "base", CONV],
    "an op without a cache": ["base", ATTENTION, "base"],
}


def build(name: str) -> PreTrainedModel:
    """The hybrid of a row of LAYOUTS or OP_PATHS, or `four components`."""
    if name == "four components":
        return four_components()
    if name in OP_PATHS:
        return discretize(op_supernet(), OP_PATHS[name])
    family, path, space = LAYOUTS[name]
    return hybrid(family, path, **space)


ROWS = [
    pytest.param(name, marks=pytest.mark.slow) if name.split()[0] in OWN_STEPS else name
    for name in (*LAYOUTS, "four components", *OP_PATHS)
]


@pytest.fixture(scope="module", params=ROWS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return build(request.param)


@pytest.mark.parametrize("name", checks)
@torch.no_grad()
def test_contract(model: PreTrainedModel, name: str) -> None:
    checks[name](model)


PLAIN = ("gpt_neo mixed", "mamba mixed", "falcon_mamba mixed", "mamba2 mixed", "all mamba", "twin_qwen2 mixed")


@pytest.fixture(scope="module", params=[*PLAIN, "four components", "ops between layers"])
def plain_model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return build(request.param)


@pytest.mark.slow
@pytest.mark.parametrize("name", checks)
@torch.no_grad()
def test_contract_without_kernels(monkeypatch: pytest.MonkeyPatch, plain_model: PreTrainedModel, name: str) -> None:
    """As in an exported checkpoint without manticore, where transformers' scan starts from a zero state."""
    uninstall()
    monkeypatch.setattr(segments, "kernels", None)
    assert not is_installed()
    checks[name](plain_model)


@torch.no_grad()
def test_both_kernels_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    model = four_components()
    ids, mask = padded([row[: 9 + index] for index, row in enumerate(sequences(model))], "left")
    with_kernels = model(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    uninstall()
    monkeypatch.setattr(segments, "kernels", None)
    torch.testing.assert_close(
        model(input_ids=ids, attention_mask=mask).logits[mask.bool()], with_kernels, atol=2e-5, rtol=0
    )
