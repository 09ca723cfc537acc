"""Calibration passages: their number, spread over the text, whole words, no overlap."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.alignment.calibration import build_calibration, split_passages
from tests.helpers.pico import component
from tests.helpers.trained_tokenizers import sample, small_tokenizer

WORDS = st.lists(st.text("abcdefg", min_size=1, max_size=9), min_size=1, max_size=60).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=30), st.integers(1, 40), st.integers(5, 80))
def test_passages_are_at_most_as_many_and_do_not_overlap(texts: list[str], count: int, width: int) -> None:
    passages = split_passages(texts, count, width)
    assert len(passages) <= count
    assert all(len(passage) <= width for passage in passages)
    remaining, text, end = iter(texts), "", 0
    for passage in passages:  # each after the previous one, in the same text or a later one
        while (start := text.find(passage, end)) < 0:
            text, end = next(remaining), 0
        end = start + len(passage)


def test_short_texts_are_used_whole() -> None:
    texts = [f"text number {index}" for index in range(1000)]
    passages = split_passages(texts, 50, 100)
    assert len(passages) == 50
    assert set(passages) <= set(texts)
    indices = [texts.index(passage) for passage in passages]
    assert indices[0] == 0
    assert indices[-1] > 950


@pytest.mark.parametrize("count", [1, 7])
def test_passages_are_spread_over_a_long_text(count: int) -> None:
    text = " ".join(f"word{index}" for index in range(5000))
    passages = split_passages([text], count, 100)
    assert len(passages) == count
    assert passages[0].startswith("word0 ")
    assert text.index(passages[-1]) >= len(text) * (count - 1) // count


def test_more_of_short_documents_are_used() -> None:
    components = [replace(component(name), tokenizer=small_tokenizer()) for name in ("gpt_neo", "mamba")]
    prose = " ".join(sample()).split()
    short = [" ".join(prose[start : start + 12]) for start in range(0, 12_000, 12)]
    calibration = build_calibration(components, "gpt_neo", short, 2000, 64)
    assert 1800 <= calibration.tokens < 4000
    few = build_calibration(components, "gpt_neo", short[:16], 2000, 64)
    assert (
        few.tokens + sum(int(part.mask_BL.sum()) for part in few.val)
        == sum(  # type: ignore[union-attr]
            len(small_tokenizer()(text)["input_ids"]) for text in short[:16]
        )
    )
