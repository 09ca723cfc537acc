"""YAML: equal keys are refused with file and line, everywhere YAML is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from manticore.config.loading import from_dotted, read_yaml
from manticore.errors import BadFile, ManticoreError
from manticore.nas.space import SearchSpace
from manticore.utils.yaml_loading import load_yaml

TWICE = "task: {name: text}\nsearch: {steps: 3}\nfinetune: {steps: 1}\nsearch: {lr: 1e-3}\n"


@pytest.mark.parametrize("read", [read_yaml, SearchSpace.load])
def test_equal_keys_are_refused_with_file_and_line(tmp_path: Path, read: Callable[[Path], object]) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(TWICE)
    with pytest.raises(BadFile, match=f"^{file}:4: the key 'search' stands twice in this mapping$"):
        read(file)
    file.write_text("search:\n  steps: 3\n  lr: 1\n  steps: 4\n")
    with pytest.raises(BadFile, match=f"^{file}:4: the key 'steps' stands twice in this mapping$"):
        read(file)
    file.write_text("[1, 2")
    with pytest.raises(BadFile, match="not YAML"):
        read(file)


def test_equal_keys_in_an_option_are_refused() -> None:
    with pytest.raises(ManticoreError, match=r"'\{a: 1, a: 2\}' is not a value: the key 'a' stands twice"):
        from_dotted(["search={a: 1, a: 2}"])


def test_merged_keys_may_be_overridden() -> None:
    text = "small: &small {steps: 3, lr: 1e-3}\nlarge: {<<: *small, steps: 9}\n"
    assert load_yaml(text) == {"small": {"steps": 3, "lr": 0.001}, "large": {"steps": 9, "lr": 0.001}}
