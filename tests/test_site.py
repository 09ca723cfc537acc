"""The site: every package has a page in the navigation, warnings end the build, and grouped entries are split."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_package_is_in_the_navigation() -> None:
    pages = re.findall(r"reference/python/(\w+)\.md", (ROOT / "mkdocs.yml").read_text("utf-8"))
    packages = {file.parent.name for file in (ROOT / "manticore").glob("*/__init__.py")}
    assert sorted(pages) == sorted([*packages, "index"])


def test_every_guide_is_in_the_navigation() -> None:
    nav = (ROOT / "mkdocs.yml").read_text("utf-8")
    assert [file.name for file in (ROOT / "docs" / "guides").glob("*.md") if f"guides/{file.name}" not in nav] == []


def test_warnings_end_the_build() -> None:
    build = subprocess.check_output(["make", "--dry-run", "docs"], cwd=ROOT, text=True)
    (line,) = (line for line in build.splitlines() if "mkdocs build" in line)
    assert "--strict" in line
    assert "--quiet" not in line, "it hides warnings from --strict"


def test_entries_of_several_names_are_split() -> None:
    pytest.importorskip("griffe")
    spec = importlib.util.spec_from_file_location("griffe_groups", ROOT / "docs" / "griffe_groups.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entries = "    a, b,\n        c: as\n        of d.\n    e: f, g: h\n    i, j:\n        k."
    docstring = f"A.\n\nArgs:\n{entries}\n\nReturns:\n    l, m: n"
    assert module.split_groups(docstring) == (
        "A.\n\nArgs:\n    a: as\n        of d.\n    b: as\n        of d.\n    c: as\n        of d.\n"
        "    e: f, g: h\n    i: k.\n    j: k.\n\nReturns:\n    l, m: n"
    )
