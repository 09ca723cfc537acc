"""An op as data: round trips, import paths and trust, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from torch import nn

import manticore as mc
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.ops import OPS
from manticore.nas.op_modules import register_ops
from tests.helpers.ops import CONV, Conv, Mean, make_mean

MODULE = """
from torch import nn
import pathlib
pathlib.Path("imported").touch()

class Conv(nn.Conv1d):
    pass
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module of a user's own, `my_ops`, which is the current one."""
    (tmp_path / "my_ops.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("my_ops", None)


def test_a_space_with_ops_is_unchanged_by_conversion_to_plain_data() -> None:
    space = mc.SearchSpace(
        ["gpt2", mc.Op(CONV, Conv, options={"kernel": 5}), "mamba"],
        stages=3,
        ops=[mc.Op("mean", make_mean, causal=False)],
        stage_candidates={1: "gpt2", 3: ["mamba", CONV]},
        shared_stages=[[1, 2]],
        cuts={"mamba": [0, 1, 4, 6]},
    )
    assert space.names == ("gpt2", "mamba")
    assert space.candidates == ("gpt2", "mamba", CONV, "mean")
    plain = space.to_dict()
    assert plain["ops"] == [
        {"name": CONV, "factory": "tests.helpers.ops:Conv", "options": {"kernel": 5}},
        {"name": "mean", "factory": "tests.helpers.ops:make_mean", "causal": False},
    ]
    read = mc.SearchSpace.from_dict(plain)
    assert read.to_dict() == plain
    assert read.with_code() == space, "the process was given these objects, so that they need no trust"
    assert "ops" not in mc.SearchSpace(["gpt2", "mamba"]).to_dict()


def test_an_import_path_is_imported_only_if_it_is_trusted(module: Path) -> None:
    space = mc.SearchSpace(["gpt2"], ops=[{"name": "own", "factory": "my_ops:Conv"}])
    assert not (module / "imported").exists()
    with pytest.raises(ManticoreError, match=r"op 'own' runs code of yours, my_ops:Conv.*--trust-code"):
        space.with_code()
    with pytest.raises(ManticoreError, match="--trust-code"):
        register_ops(space.ops)
    assert not (module / "imported").exists()
    path = list(sys.path)
    (op,) = space.with_code(trust_code=True).ops
    assert (module / "imported").exists()
    assert issubclass(op.factory, nn.Conv1d)
    assert sys.path == path


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("my_ops:Konv", UnknownName, "unknown name in my_ops 'Konv'. Did you mean 'Conv'"),
        ("my_opps:Conv", ManticoreError, r"my_opps cannot be imported \(No module named 'my_opps'\)"),
        ("__main__:Other", ManticoreError, "defined in a script, a notebook or a function"),
        ("my_ops:f.<locals>.Conv", ManticoreError, "defined in a script, a notebook or a function"),
        ("konv", UnknownName, "unknown op 'konv'"),
    ],
)
def test_a_wrong_import_path_is_refused(module: Path, factory: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        mc.Op("own", factory).with_code(trust_code=True)
    assert "\n" not in str(raised.value)


def test_a_registered_op_is_found_by_name() -> None:
    mc.register.op("registered-mean")(Mean)
    try:
        op = mc.Op("own", "registered-mean").with_code()
        assert op.factory is Mean
        assert op.to_plain() == {"name": "own", "factory": "registered-mean"}
        with pytest.raises(ManticoreError, match="op 'registered-mean' is already registered"):
            mc.register.op("registered-mean")(Conv)
    finally:
        OPS.pop("registered-mean")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "skip", "factory": Conv}, "not 'skip'"),
        ({"name": "a b", "factory": Conv}, "letters, digits"),
        ({"name": "own", "factory": lambda width: Conv(width)}, "a class or a function with a name"),
        ({"name": "own", "factory": partial(Conv, kernel=3)}, "a class or a function with a name"),
        ({"name": "own", "factory": 3}, "a class or a function with a name"),
        ({"name": "own", "factory": Conv, "options": {"kernel": Conv}}, "must be plain data"),
    ],
)
def test_invalid_ops_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        mc.Op(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"ops": [mc.Op("gpt2", Conv)]}, "op 'gpt2' has the name of another candidate"),
        ({"ops": [mc.Op("a", Conv), mc.Op("a", Mean)]}, "op 'a' has the name of another candidate"),
        ({"ops": [{"name": "a", "factroy": "x:y"}]}, "Did you mean 'op.factory'"),
        ({"ops": ["x:y"]}, "an op is a mapping with 'name' and 'factory'"),
        ({"ops": {"name": "a"}}, "ops must be a list"),
        ({"ops": [mc.Op("a", Conv)], "topology": "hub"}, "the hub topology has no ops; drop ops or topology=hub"),
    ],
)
def test_spaces_with_invalid_ops_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        mc.SearchSpace(["gpt2", "mamba"], **fields)


def test_one_model_and_an_op_are_a_space() -> None:
    assert mc.SearchSpace(["gpt2", mc.Op("own", Conv)]).candidates == ("gpt2", "own")
    for components in (["gpt2"], [mc.Op("a", Conv), mc.Op("b", Mean)]):
        with pytest.raises(ManticoreError, match="at least two components, or one and an op"):
            mc.SearchSpace(components)


def test_two_classes_of_one_name_are_refused() -> None:
    def other() -> type[nn.Module]:
        class Conv(nn.Identity):
            """Has the name of another op's class."""

        return Conv

    with pytest.raises(ManticoreError, match="two ops have different classes of the name Conv"):
        register_ops([mc.Op("a", Conv), mc.Op("b", other())])


def test_a_mixture_layer_takes_ops() -> None:
    mixed = mc.nn.MixedOp([mc.Op("short", Conv, options={"kernel": 2}), mc.Op("mean", Mean)], width=8)
    assert mixed.candidates == ("short", "mean")
    assert mixed.get_submodule("ops.short").kernel == 2
