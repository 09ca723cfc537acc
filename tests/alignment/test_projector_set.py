"""A set comes back to the bit, and fits nothing that it was not made for."""

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
from manticore.errors import BadFile, ManticoreError
from manticore.modeling.projectors import PROJECTORS, Linear
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import component, supernet, tokens


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    projectors = ProjectorSet.of(supernet("gpt_neo", "mamba"), 100, loss=1.5)
    return projectors.save(tmp_path_factory.mktemp("sets") / "set", "# a card\n")


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    out = tmp_path / "copy"
    out.mkdir()
    for file in made.iterdir():
        (out / file.name).write_bytes(file.read_bytes())
    return out


def fresh(base: str = "base", projector: str = "linear", stages: int = 3, **families: str) -> Supernet:
    families = {"base": "gpt_neo", "donor": "mamba", **families}
    parts = [component(family, name) for name, family in families.items()]
    return Supernet(parts, SearchSpace(list(families), stages=stages, projector=projector), base, HeadSpec()).eval()


def test_a_set_comes_back_to_the_bit(made: Path) -> None:
    net, ids = supernet("gpt_neo", "mamba"), tokens()[0]
    other = fresh()
    path = ["donor", "base", "donor"]
    with torch.no_grad():
        assert not torch.equal(other(ids, path=path), net(ids, path=path))
        projectors = ProjectorSet.load(made)
        projectors.apply_to(other)
        assert torch.equal(other(ids, path=path), net(ids, path=path))
    assert (projectors.tokens, projectors.facts, projectors.base) == (100, {"loss": 1.5}, "base")
    assert sorted(file.name for file in made.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert set(projector_state(net)) == {key for key in net.state_dict() if "proj_" in key}


def test_a_hash_is_the_same_after_saving_and_tells_one_changed_bit(tmp_path: Path) -> None:
    for family in ("gpt_neo", "mamba", "llama"):
        held = component(family)
        held.model.save_pretrained(tmp_path / family)
        again = load(ComponentSpec(str(tmp_path / family)))
        assert weight_hash(again.model) == weight_hash(held.model)
        with torch.no_grad():
            last = list(again.model.parameters())[-1].view(-1)
            last[0] = torch.nextafter(last[0], torch.tensor(9.0))
        assert weight_hash(again.model) != weight_hash(held.model)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": "donor"}, "has base base, the search space donor"),
        ({"stages": 2}, "has number of stages 3, the search space 2"),
        ({"projector": "low-rank"}, "has projector linear, the search space low-rank"),
        ({"base_": "gpt2"}, "no projectors of 'base_'; it was made for base, donor"),
        ({"donor": "mamba2"}, "was made for other weights of 'donor': blake2b:"),
        ({"base": "base", "third": "llama"}, "no projectors of 'third'"),
    ],
)
def test_another_pairing_is_refused_by_name(made: Path, options: dict[str, str], said: str) -> None:
    net = fresh(**options)  # type: ignore[arg-type]
    before = {key: value.clone() for key, value in projector_state(net).items()}
    with pytest.raises(ManticoreError, match=said):
        ProjectorSet.load(made).apply_to(net)
    assert all(torch.equal(value, before[key]) for key, value in projector_state(net).items())


def config(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        held = json.loads((folder / "config.json").read_text())
        change(held)
        (folder / "config.json").write_text(json.dumps(held))

    return damage


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        held = load_file(folder / "model.safetensors")
        change(held)
        save_file(held, folder / "model.safetensors")

    return damage


FIRST = "stages.0.donor.proj_in.weight"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda f: [file.unlink() for file in f.iterdir()], "config.json: cannot be read"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "config.json:1: not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "not a projector set of format 2"),
    "a model": (config(lambda held: held.pop("format")), "not a projector set of format 2"),
    "no tokens": (config(lambda held: held.pop("tokens")), "without 'tokens'"),
    "stages in words": (config(lambda held: held.update(stages="three")), "'stages' must be"),
    "no components": (config(lambda held: held.update(components=[])), "'components' must give"),
    "half a component": (
        config(lambda held: held["components"]["donor"].pop("layer_boundaries")),  # type: ignore[index]
        "'components' must give",
    ),
    "tokens in words": (config(lambda held: held.update(tokens="many")), "'tokens' must be"),
    "a base that is a list": (config(lambda held: held.update(base=["base"])), "'components' must give"),
    "no cuts": (
        config(lambda held: held["components"]["base"].update(layer_boundaries=None)),
        "weights, width and layer boundaries of 'base'",
    ),  # type: ignore[index]
    "a cut less": (
        config(lambda held: held["components"]["base"]["layer_boundaries"].pop()),
        "the layer boundaries of 'base' must rise from 0",
    ),  # type: ignore[index]
    "a projector in a word": (config(lambda held: held.update(projector="linear")), "'projector' cannot be: expected"),
    "an unknown projector": (
        config(lambda held: held.update(projector={"kind": "liner"})),
        "'projector' cannot be: unknown projector 'liner'",
    ),
    "a strange option": (
        config(lambda held: held.update(projector={"kind": "linear", "rank": "x"})),
        "'projector' cannot be: projector 'linear' does not take the options",
    ),
    "an option of another type": (
        config(lambda held: held.update(projector={"kind": "low-rank", "rank": "x"})),
        "'projector' cannot be: ",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: cannot be read"),
    "cut short": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
        "model.safetensors: cannot be read as safetensors",
    ),
    "a hole": (weights(lambda held: held.pop(FIRST)), f"holds no {FIRST}"),
    "a stage less": (
        weights(lambda held: [held.pop(key) for key in list(held) if key.startswith("stages.2.")]),
        r"holds no stages\.2\.donor\.proj_in\.weight",
    ),
    "another shape": (weights(lambda held: held.update({FIRST: torch.zeros(2, 3)})), r"has the shape \(2, 3\), not"),
    "not a number": (weights(lambda held: held[FIRST].fill_(float("nan"))), f"{FIRST} is not finite"),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_named(copy: Path, damage: tuple[Callable[[Path], object], str]) -> None:
    ProjectorSet.load(copy)
    damage[0](copy)
    with pytest.raises(BadFile, match=damage[1]) as caught:
        ProjectorSet.load(copy)
    assert "\n" not in str(caught.value)


def test_a_set_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import manticore.alignment.projector_set as module

    net = supernet("gpt_neo", "mamba")

    def full(*args: object, **options: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(module, "save_file", full)
        with pytest.raises(OSError, match="disk full"):
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


def test_projectors_of_ones_own_may_look_at_their_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loud(Linear):
        def __init__(self, d_in: int, d_out: int) -> None:
            super().__init__(d_in, d_out)
            self.scale = 1 / self.weight.detach().norm().item()

    monkeypatch.setitem(PROJECTORS, "loud", Loud)
    torch.manual_seed(3)
    place = ProjectorSet.of(fresh(projector="loud"), 10).save(tmp_path / "set", "# a card\n")
    drawn = torch.get_rng_state()
    assert ProjectorSet.load(place).projector["kind"] == "loud"
    assert torch.equal(drawn, torch.get_rng_state())
