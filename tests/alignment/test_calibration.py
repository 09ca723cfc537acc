"""Passages that models are aligned on: as many as asked for, spread over everything, whole words, no overlap."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.alignment.calibration import build_calibration, split_passages
from tests.helpers.pico import component
from tests.helpers.trained_tokenizers import reader, sample

WORDS = st.lists(st.text("abcdefg", min_size=1, max_size=9), min_size=1, max_size=60).map(" ".join)


@given(st.lists(WORDS, min_size=1, max_size=30), st.integers(1, 40), st.integers(5, 80))
def test_no_more_than_asked_for_and_none_twice(texts: list[str], count: int, width: int) -> None:
    found = split_passages(texts, count, width)
    assert len(found) <= count
    assert all(len(passage) <= width for passage in found)
    text, place, end = iter(texts), "", 0
    for passage in found:  # each after the one before, in the same text or a later one
        while (at := place.find(passage, end)) < 0:
            place, end = next(text), 0
        end = at + len(passage)


def test_many_short_texts_give_some_of_them_whole() -> None:
    texts = [f"text number {place}" for place in range(1000)]
    found = split_passages(texts, 50, 100)
    assert len(found) == 50
    assert set(found) <= set(texts)
    places = [texts.index(passage) for passage in found]
    assert places[0] == 0
    assert places[-1] > 950


@pytest.mark.parametrize("count", [1, 7])
def test_a_long_text_is_read_all_over(count: int) -> None:
    text = " ".join(f"word{place}" for place in range(5000))
    found = split_passages([text], count, 100)
    assert len(found) == count
    assert found[0].startswith("word0 ")
    assert text.index(found[-1]) >= len(text) * (count - 1) // count


def test_of_short_documents_more_are_read() -> None:
    components = [replace(component(name), tokenizer=reader()) for name in ("gpt_neo", "mamba")]
    prose = " ".join(sample()).split()
    short = [" ".join(prose[place : place + 12]) for place in range(0, 12_000, 12)]
    held = build_calibration(components, "gpt_neo", short, 2000, 64)
    assert 1800 <= held.tokens < 4000
    few = build_calibration(components, "gpt_neo", short[:16], 2000, 64)
    assert (
        few.tokens + sum(int(part.mask_BL.sum()) for part in few.val)
        == sum(  # type: ignore[union-attr]
            len(reader()(text)["input_ids"]) for text in short[:16]
        )
    )
