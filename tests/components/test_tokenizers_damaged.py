"""A tokenizer that is there and cannot be read is damage, not a model without one."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.components.tokenizers import read_tokenizer
from manticore.errors import BadFile
from tests.helpers.cli import refusal
from tests.helpers.text_hybrids import words

HERE = {"local_files_only": True}


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"version": "1.0", "model": {"type": "BPE"}}', ""])
def test_damage_is_said(content: str, tmp_path: Path) -> None:
    words().save_pretrained(tmp_path)
    assert read_tokenizer(str(tmp_path), HERE) is not None
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(BadFile, match=r"tokenizer\.json: ") as told:
        read_tokenizer(str(tmp_path), HERE)
    assert "\n" not in str(told.value)


def test_none_is_none(tmp_path: Path) -> None:
    assert read_tokenizer(str(tmp_path), HERE) is None


def test_no_hybrid_is_made_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from manticore.utils import assets

    folder = assets.find("models", "mamba-nano")
    copy = tmp_path / "snake"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "tokenizer.json").write_text("{}")
    given = ("export", "--models", f"gpt-neo-nano,{copy}", "--path", "gpt-neo-nano,snake", "--out", tmp_path / "out")
    assert "tokenizer.json: " in refusal(capsys, *given)
    assert not (tmp_path / "out").exists()
