"""Long texts are tokenized in pieces: tokens, their characters and their bytes are those of the whole text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from manticore.errors import ManticoreError
from manticore.tasks.language import chunking, pieces
from manticore.utils.memory import reset_resident_peak, resident_bytes
from tests.helpers.tokenizers import CODE, NAMES, PROSE, tokenizer
from tests.helpers.trained_tokenizers import sample, small_tokenizer

MODELS = Path(__file__).parents[3] / "models"
SHIPPED = tuple(sorted(folder.name for folder in MODELS.iterdir() if (folder / "tokenizer.json").exists()))
READ_WHOLE = ("metaspace", "stream", "bytes")
"""Tokenizers that put a character before every text, or do not split it into words."""

TEXT = (
    f"{PROSE}  \n\n{CODE}\r\n caf\u00e9 cafe\u0301, \u4f60\u597d\u3002 \u0915\u094d\u0937 <|endoftext|> 12345 's \n" * 4
)


def load(name: str) -> Any:
    """A tokenizer of the tests or a shipped one."""
    if name in NAMES:
        return tokenizer(name)
    return PreTrainedTokenizerFast(tokenizer_file=str(MODELS / name / "tokenizer.json"))


def encode(text: str, reader: Any) -> list[tuple[int, int, int]]:
    """The ids of a text, each with its start and end."""
    encoded = reader(text, add_special_tokens=False, return_offsets_mapping=True)
    return [(token, *span) for token, span in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)]


def encode_pieces(text: str, reader: Any) -> tuple[list[tuple[int, int, int]], int]:
    """The same piece by piece, and the number of pieces."""
    parts = list(pieces.pieces(text, reader))
    assert "".join(parts) == text
    tokens, start = [], 0
    for part in parts:
        tokens += [(token, start + begin, start + end) for token, begin, end in encode(part, reader)]
        start += len(part)
    return tokens, len(parts)


@pytest.mark.parametrize("name", [*NAMES, *SHIPPED])
def test_tokens_of_pieces_are_those_of_the_text(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 150)
    monkeypatch.setattr(pieces, "WINDOW", 60)
    tokens, count = encode_pieces(TEXT, load(name))
    assert tokens == encode(TEXT, load(name))
    assert (count == 1) == (name in READ_WHOLE)


@settings(max_examples=30, deadline=None)
@given(st.text(" \n\r\t.,a1'\u00e9\u0301\u4f60\u2003<|", min_size=30, max_size=200))
def test_tokens_of_any_text(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", 15)
        patch.setattr(pieces, "WINDOW", 10)
        assert encode_pieces(text, load(SHIPPED[0]))[0] == encode(text, load(SHIPPED[0]))


def test_examples_of_a_document_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [TEXT, "short", "  \n ", TEXT[::-1]]
    expected = chunking.chunk(documents, small_tokenizer(), 16)
    monkeypatch.setattr(pieces, "PIECE", 100)
    monkeypatch.setattr(pieces, "WINDOW", 40)
    monkeypatch.setattr(chunking, "BATCH_CHARACTERS", 150)
    actual = chunking.chunk(documents, small_tokenizer(), 16)
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(actual, name), value, err_msg=name)


def test_a_document_of_megabytes_is_tokenized_within_bounds_of_memory() -> None:
    reader = small_tokenizer()
    text = " ".join(sample()[:20]) * 20
    assert len(text) > 1_500_000
    before = resident_bytes() or 0
    reset_resident_peak()
    examples = chunking.chunk([text], reader, 1024)
    assert examples.num_bytes is not None
    assert examples.num_bytes.sum() == len(text.encode())
    peak = (resident_bytes("VmHWM") or 0) - before
    assert peak < 300_000_000, "read as a whole, it needs 490 MB"


def test_a_tokenizer_that_reads_too_much_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE", 50)
    monkeypatch.setattr(pieces, "MOST_LINE", 200)
    core = Tokenizer.from_str(tokenizer("metaspace").backend_tokenizer.to_str())
    reader = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<unk>")
    assert len(chunking.chunk(["one two " * 25], reader, 16))
    with pytest.raises(ManticoreError, match=r"a text of 400 characters, .* more than 200 at once; .*passage=8192"):
        chunking.chunk(["one two " * 50], reader, 16)
