"""A pretraining is scored on the last part of every file, which is never trained on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.tasks.language.pretraining import hold_out

DOCUMENTS = st.lists(st.integers(1, 60), min_size=2, max_size=40).map(
    lambda sizes: [f"{index:02}".ljust(size, "x") for index, size in enumerate(sizes)]
)
FILES = st.lists(DOCUMENTS, min_size=1, max_size=4).map(
    lambda files: {f"{index}.txt": documents for index, documents in enumerate(files)}
)


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


@given(FILES, st.floats(0.001, 0.999))
def test_every_file_is_split_once_in_order_as_late_as_possible(texts: dict[str, list[str]], share: float) -> None:
    train, held_out = hold_out(texts, share)
    assert train.keys() == held_out.keys() == texts.keys()
    for name, documents in texts.items():
        assert train[name] + held_out[name] == documents
        assert train[name]
        assert held_out[name]
        assert size(held_out[name][1:]) < share * size(documents)
        assert size(held_out[name]) >= share * size(documents) or len(train[name]) == 1


def test_the_share_is_of_each_file() -> None:
    texts = {"large.txt": [f"{index:03}" * 10 for index in range(1000)], "small.txt": ["a" * 50] * 100}
    train, held_out = hold_out(texts, 0.01)
    assert {name: len(part) for name, part in held_out.items()} == {"large.txt": 10, "small.txt": 1}
    assert held_out["large.txt"] == texts["large.txt"][-10:]
    assert not {*train["large.txt"]} & {*held_out["large.txt"]}


def test_the_share_is_of_bytes() -> None:
    train, held_out = hold_out({"a.txt": [f"中{index:02}" * 100 for index in range(50)] + ["a" * 300] * 50}, 0.1)
    assert size(held_out["a.txt"]) * 9 < 1.1 * size(train["a.txt"])


def test_a_single_document_cannot_be_split() -> None:
    with pytest.raises(ManticoreError, match=r"b\.txt is a single document, of which no part can be held out"):
        hold_out({"a.txt": ["one", "two"], "b.txt": ["one"]}, 0.01)
