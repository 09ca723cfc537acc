"""Projector sets are saved and loaded exactly, and models that they were not fitted to are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from manticore.alignment.projector_set import ProjectorSet, projector_state
from manticore.components import load
from manticore.components.component import weight_hash
from manticore.components.spec import ComponentSpec
from manticore.errors import BadFile, CannotWrite, ManticoreError
from manticore.modeling.projectors import PROJECTORS, Linear
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component, supernet, tokens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    projectors = ProjectorSet.of(supernet("gpt_neo", "mamba"), 100, loss=1.5)
    return projectors.save(tmp_path_factory.mktemp("sets") / "set", "# a card\n")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "copy"
    out.mkdir()
    for file in folder.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


def fresh(base: str = "base", projector: str = "linear", stages: int = 3, **families: str) -> Supernet:
    families = {"base": "gpt_neo", "donor": "mamba", **families}
    parts = [component(family, name) for name, family in families.items()]
    return Supernet(parts, SearchSpace(list(families), stages=stages, projector=projector), base, HeadSpec()).eval()


def test_a_saved_set_is_loaded_exactly(folder: Path) -> None:
    net, ids = supernet("gpt_neo", "mamba"), tokens()[0]
    loaded = fresh()
    path = ["donor", "base", "donor"]
    with torch.no_grad():
        assert not torch.equal(loaded(ids, path=path), net(ids, path=path))
        projectors = ProjectorSet.load(folder)
        projectors.apply_to(loaded)
        assert torch.equal(loaded(ids, path=path), net(ids, path=path))
    assert (projectors.tokens, projectors.facts, projectors.base) == (100, {"loss": 1.5}, "base")
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert set(projector_state(net)) == {key for key in net.state_dict() if "proj_" in key}


def test_a_hash_is_kept_by_saving_and_changed_by_one_bit(tmp_path: Path) -> None:
    for family in ("gpt_neo", "mamba", "llama"):
        original = component(family)
        original.model.save_pretrained(tmp_path / family)
        again = load(ComponentSpec(str(tmp_path / family)))
        assert weight_hash(again.model) == weight_hash(original.model)
        with torch.no_grad():
            last = list(again.model.parameters())[-1].view(-1)
            last[0] = torch.nextafter(last[0], torch.tensor(9.0))
        assert weight_hash(again.model) != weight_hash(original.model)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": "donor"}, "has base base, the search space donor"),
        (
            {"stages": 2},
            "was fitted for 3 stages, not for 2; fit a set for 2 .manticore align --stages 2., or use 3 stages",
        ),
        ({"projector": "low-rank"}, "has projector linear, the search space low-rank"),
        ({"base_": "gpt2"}, "no projectors of 'base_'; it was made for base, donor"),
        ({"donor": "mamba2"}, "was made for other weights of 'donor': blake2b:"),
        ({"base": "base", "third": "llama"}, "no projectors of 'third'"),
    ],
)
def test_other_models_are_refused_with_the_difference(folder: Path, options: dict[str, str], message: str) -> None:
    net = fresh(**options)  # type: ignore[arg-type]
    before = {key: value.clone() for key, value in projector_state(net).items()}
    with pytest.raises(ManticoreError, match=message):
        ProjectorSet.load(folder).apply_to(net)
    assert all(torch.equal(value, before[key]) for key, value in projector_state(net).items())


def in_config(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def in_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


FIRST = "stages.0.donor.proj_in.weight"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: [file.unlink() for file in f.iterdir()], "config.json: cannot be read"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "config.json:1: not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "not a projector set of format 2"),
    "a model": (in_config(lambda config: config.pop("format")), "not a projector set of format 2"),
    "no tokens": (in_config(lambda config: config.pop("tokens")), "without 'tokens'"),
    "stages in words": (in_config(lambda config: config.update(stages="three")), "'stages' must be"),
    "no components": (in_config(lambda config: config.update(components=[])), "'components' must give"),
    "half a component": (
        in_config(lambda config: config["components"]["donor"].pop("layer_boundaries")),  # type: ignore[index]
        "'components' must give",
    ),
    "tokens in words": (in_config(lambda config: config.update(tokens="many")), "'tokens' must be"),
    "a base that is a list": (in_config(lambda config: config.update(base=["base"])), "'components' must give"),
    "no cuts": (
        in_config(lambda config: config["components"]["base"].update(layer_boundaries=None)),
        "weights, width and layer boundaries of 'base'",
    ),  # type: ignore[index]
    "a cut less": (
        in_config(lambda config: config["components"]["base"]["layer_boundaries"].pop()),
        "the layer boundaries of 'base' must rise from 0",
    ),  # type: ignore[index]
    "a projector in a word": (
        in_config(lambda config: config.update(projector="linear")),
        "'projector' cannot be: expected",
    ),
    "an unknown projector": (
        in_config(lambda config: config.update(projector={"kind": "liner"})),
        "'projector' cannot be: unknown projector 'liner'",
    ),
    "a strange option": (
        in_config(lambda config: config.update(projector={"kind": "linear", "rank": "x"})),
        "'projector' cannot be: projector 'linear' does not take the options",
    ),
    "an option of another type": (
        in_config(lambda config: config.update(projector={"kind": "low-rank", "rank": "x"})),
        "'projector' cannot be: ",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: cannot be read"),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
        "model.safetensors: cannot be read as safetensors",
    ),
    "a hole": (in_weights(lambda tensors: tensors.pop(FIRST)), f"holds no {FIRST}"),
    "a stage less": (
        in_weights(lambda tensors: [tensors.pop(key) for key in list(tensors) if key.startswith("stages.2.")]),
        r"holds no stages\.2\.donor\.proj_in\.weight",
    ),
    "another shape": (
        in_weights(lambda tensors: tensors.update({FIRST: torch.zeros(2, 3)})),
        r"has the shape \(2, 3\), not",
    ),
    "not a number": (in_weights(lambda tensors: tensors[FIRST].fill_(float("nan"))), f"{FIRST} is not finite"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_reported(copy: Path, damage: tuple[Callable[[Path], object], str]) -> None:
    ProjectorSet.load(copy)
    damage[0](copy)
    with pytest.raises(BadFile, match=damage[1]) as caught:
        ProjectorSet.load(copy)
    assert "\n" not in str(caught.value)


def test_a_set_is_written_atomically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import manticore.alignment.projector_set as module

    net = supernet("gpt_neo", "mamba")

    def failing_save(*args: object, **options: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(module, "save_file", failing_save)
        with pytest.raises(CannotWrite, match="disk full"):
            ProjectorSet.of(net, 1).save(tmp_path / "set", "# card\n")
    assert list(tmp_path.iterdir()) == []
    with torch.no_grad():
        net.stages[0]["donor"].proj_in.weight[0, 0] = float("inf")
    with pytest.raises(ManticoreError, match="is not finite"):
        ProjectorSet.of(net, 1).save(tmp_path / "set", "# card\n")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "set").mkdir()
    with pytest.raises(ManticoreError, match="exists"):
        ProjectorSet.of(supernet("gpt_neo", "mamba"), 1).save(tmp_path / "set", "# card\n")


def test_a_projector_of_a_user_may_read_its_weights_when_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Normalized(Linear):
        def __init__(self, d_in: int, d_out: int) -> None:
            super().__init__(d_in, d_out)
            self.scale = 1 / self.weight.detach().norm().item()

    monkeypatch.setitem(PROJECTORS, "normalized", Normalized)
    torch.manual_seed(3)
    saved = ProjectorSet.of(fresh(projector="normalized"), 10).save(tmp_path / "set", "# a card\n")
    random_state = torch.get_rng_state()
    assert ProjectorSet.load(saved).projector["kind"] == "normalized"
    assert torch.equal(random_state, torch.get_rng_state())
