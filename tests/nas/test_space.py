"""Search spaces and architectures as data: round trips are exact, and invalid data is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.components.spec import ComponentSpec
from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.nas.architecture import Architecture
from manticore.nas.space import SearchSpace


@given(st.lists(st.sampled_from(["mamba", "mamba-2", "mamba-2-2", "gpt2"]), min_size=2, max_size=7))
def test_repeated_components_get_distinct_names(given_names: list[str]) -> None:
    names = SearchSpace(given_names).names
    assert len(set(names)) == len(given_names)
    for name in set(given_names):
        assert names[given_names.index(name)] == name
    assert all(name.startswith(given_name) for name, given_name in zip(names, given_names, strict=True))


def test_a_space_is_unchanged_by_conversion_to_plain_data() -> None:
    space = SearchSpace(
        ["gpt-neo", ComponentSpec("mamba", "m", size={"layers": 3}), {"source": "gpt2", "revision": "x"}],
        stages=3,
        base="m",
        projector="low-rank",
        projector_options={"rank": 2},
        skip=True,
    )
    assert SearchSpace.from_dict(space.to_dict()) == space
    assert space.candidates == ("gpt-neo", "m", "gpt2", "skip")


@pytest.mark.parametrize(
    ("source", "name"),
    [("EleutherAI/pythia-160m", "pythia-160m"), ("/models/my model", "my_model"), ("./a.b/", "a_b")],
)
def test_a_component_is_named_after_its_source(source: str, name: str) -> None:
    assert ComponentSpec(source).name == name


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs a source"),
        ({"source": 5}, "component.source must be text, got 5"),
        ({"source": "a", "name": "skip"}, "not 'skip'"),
        ({"source": "a", "name": "a b"}, "letters, digits"),
        ({"source": "a", "size": "big"}, "component.size must be a mapping, got 'big'"),
        ({"source": "a", "init": "scrach"}, "Did you mean 'scratch'"),
        ({"source": "a", "size": {"widht": 3}}, "Did you mean 'component.size.width'"),
        ({"source": "a", "revison": "x"}, "Did you mean 'component.revision'"),
    ],
)
def test_invalid_components_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        ComponentSpec.of(fields)


def test_an_unknown_name_of_any_type_is_reported() -> None:
    assert str(UnknownName("kind", 5, ["50"])) == "unknown kind '5'. Did you mean '50'? Known: 50."
    assert str(UnknownName("kind", [1], [])) == "unknown kind '[1]'. Known: none."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": 1, "components": ["a"], "path": ["b"], "base": "a"}', "an architecture without 'topology'"),
        ('{"format": 1, "components": 3, "path": ["b"], "base": "a"}', "not an architecture"),
        (
            '{"format": 1, "components": ["a"], "path": ["b"], "base": "a", "topology": "hub", "projector": "x"}',
            "stage 1",
        ),
        ('{"format": 2, "path": []}', "of format 1"),
        ("[]", "of format 1"),
        ("{", "not JSON"),
        (None, "cannot be read"),
    ],
)
def test_an_unreadable_architecture_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "architecture.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadFile, match=message):
        Architecture.load(file)


def test_an_architecture_is_written_and_read(tmp_path: Path) -> None:
    architecture = Architecture(("a", "b"), ("b", "skip", "a"), "a", "residual", "low-rank")
    architecture.save(tmp_path / "x" / "architecture.json")
    assert Architecture.load(tmp_path / "x" / "architecture.json") == architecture
    assert architecture.summary() == "stage 1 b · stage 2 skip · stage 3 a"
    longer = Architecture(("a", "b"), (*"aabbbabaa",), "a")
    assert longer.summary() == "stages 1-2 a · 3-5 b · 6 a · 7 b · 8-9 a"
    assert Architecture(("a", "b"), (*"aabb",) * 2, "a").summary().startswith("stage 1 a · stage 2 a · stage 3 b")


def test_the_base_may_be_a_name_or_a_source() -> None:
    sources = ["./models/neo", "ssm/mamba-130m"]
    for base, name in (("./models/neo", "neo"), ("ssm/mamba-130m", "mamba-130m"), ("neo", "neo"), (None, None)):
        assert SearchSpace(sources, base=base).base == name
    specs = [ComponentSpec("a/b", name="mine"), ComponentSpec("mine", name="other")]
    assert SearchSpace(specs, base="mine").base == "mine", "a name has priority over a source"
    with pytest.raises(ManticoreError, match=r"'./models/neox'\. Did you mean './models/neo'\?"):
        SearchSpace(sources, base="./models/neox")
