"""Licences: what the card of a model says, and what follows for a model that has weights of several."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from rich.console import Console
from transformers import AutoModelForCausalLM

from manticore.components import ComponentSpec, load
from manticore.components.licenses import DerivedLicense, License, license_of_card
from manticore.pipelines.export import run_manual
from tests.helpers.model_folders import model_folder
from tests.helpers.pico import component

APACHE, MIT = License(("apache-2.0",)), License(("mit",))
GEMMA = License(("other",), "Gemma Terms", "https://ai.google.dev/gemma/terms")


@pytest.mark.parametrize(
    ("matter", "license"),
    [
        ("license: mit", MIT),
        ("license: Apache-2.0 ", APACHE),
        ("license: [mit, apache-2.0, mit]", License(("apache-2.0", "mit"))),
        ("license: other\nlicense_name: Gemma Terms\nlicense_link: https://ai.google.dev/gemma/terms", GEMMA),
        ("license: unknown", None),
        ("license:", None),
        ("license: 3", None),
        ("license: ' '", None),
        ("license: {a: b}", None),
        ("tags: [mit]", None),
        ("- license: mit", None),
        ("license: [mit", None),
        ("when: 2026-13-45\nlicense: mit", None),
    ],
)
def test_the_front_matter_names_the_licence(matter: str, license: License | None) -> None:
    card = f"---\n{matter}\n---\n\n# A model\n\n---\nlicense: gpl-3.0\n---\n"
    assert license_of_card(card) == license
    assert license_of_card(card.replace("\n", "\r\n")) == license


def test_a_card_without_front_matter_names_no_licence() -> None:
    for card in ("", "# A model\n\nlicense: mit\n", "---\nlicense: mit\n"):
        assert license_of_card(card) is None


def test_one_licence_of_all_parents_is_that_of_the_model() -> None:
    assert DerivedLicense({"one": MIT, "two": MIT}).front_matter() == {"license": "mit"}
    both = License(("apache-2.0", "mit"))
    assert DerivedLicense({"one": both, "two": both}).front_matter() == {"license": ["apache-2.0", "mit"]}
    expected = {"license": "other", "license_name": GEMMA.name, "license_link": GEMMA.link}
    assert DerivedLicense({"one": GEMMA, "two": GEMMA}).front_matter() == expected
    assert DerivedLicense({"one": License(("other",))}).front_matter() == {"license": "other"}
    assert DerivedLicense({}).front_matter() == {}


def test_a_parent_without_a_licence_makes_it_unknown() -> None:
    license = DerivedLicense({"one": MIT, "two": None})
    assert license.front_matter() == {"license": "unknown"}
    assert "is unknown, because that of two is" in license.sentence()


def test_unlike_licences_apply_together() -> None:
    license = DerivedLicense({"one": MIT, "two": GEMMA, "three": MIT})
    assert license.front_matter() == {"license": "other", "license_name": "mit-and-gemma-terms"}
    assert license.sentence().startswith("The licences differ.")
    unnamed = DerivedLicense({"one": License(("other",)), "two": License(("other",))})
    assert unnamed.sentence().startswith("The licences differ."), "two licences without a name may be unlike"


@pytest.mark.parametrize(
    ("cards", "path", "license"),
    [
        ({"one": "mit", "two": "apache-2.0"}, "one,two", "other"),
        ({"one": "mit", "two": "apache-2.0"}, "one,one", "mit"),
        ({"one": "mit", "two": "mit"}, "one,two", "mit"),
        ({"one": "mit"}, "one,two", "unknown"),
    ],
)
def test_an_export_has_the_licence_of_the_components_on_its_path(
    cards: dict[str, str], path: str, license: str, tmp_path: Path
) -> None:
    folders = [model_folder(tmp_path / name, family) for name, family in (("one", "gpt_neo"), ("two", "mamba"))]
    for name, value in cards.items():
        matter = f"\ufeff---\r\nlicense: {value}\r\n---\r\n# Größe\r\n"  # as some editors save it
        (tmp_path / name / "README.md").write_bytes(matter.encode("utf-16-le" if name == "two" else "utf-8"))
    out = run_manual([str(folder) for folder in folders], path.split(","), tmp_path / "out", Console(quiet=True))
    card = ModelCard((out / "README.md").read_text(encoding="utf-8"))
    assert card.data.license == license
    listed = [line for line in card.text.partition("## Licence")[2].splitlines() if line.startswith("- **")]
    parents = dict.fromkeys(path.split(","))
    assert listed == [f"- **{name}**: {f'`{cards[name]}`' if name in cards else 'unknown'}" for name in parents]


def test_a_model_object_has_the_licence_of_its_folder(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model", "mamba")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert load(ComponentSpec(name="mine", model=model)).license == MIT
    assert component("gpt2").license is None
