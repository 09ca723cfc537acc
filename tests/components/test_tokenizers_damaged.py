"""A tokenizer.json that cannot be read is an error, not a missing tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.components.tokenizers import read_tokenizer
from manticore.errors import BadFile
from tests.helpers.cli import refusal
from tests.helpers.text_hybrids import hybrid_tokenizer

HERE = {"local_files_only": True}


@pytest.mark.parametrize("content", ["{}", "no JSON", '{"version": "1.0", "model": {"type": "BPE"}}', ""])
def test_a_damaged_tokenizer_is_reported(content: str, tmp_path: Path) -> None:
    hybrid_tokenizer().save_pretrained(tmp_path)
    assert read_tokenizer(str(tmp_path), HERE) is not None
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(BadFile, match=r"tokenizer\.json: ") as caught:
        read_tokenizer(str(tmp_path), HERE)
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    assert read_tokenizer(str(tmp_path), HERE) is None


def test_no_hybrid_is_exported_with_a_damaged_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from manticore.utils import assets

    folder = assets.find("models", "mamba-nano")
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "tokenizer.json").write_text("{}")
    arguments = ("export", "--models", f"gpt-neo-nano,{copy}", "--path", "gpt-neo-nano,copy", "--out", tmp_path / "out")
    assert "tokenizer.json: " in refusal(capsys, *arguments)
    assert not (tmp_path / "out").exists()
