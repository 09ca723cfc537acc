"""What a pretraining is scored on: the last part of every file, of which nothing is learnt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.pipelines.pretrain import hold_out

documents = st.lists(st.integers(1, 60), min_size=2, max_size=40).map(
    lambda sizes: [f"{place:02}".ljust(size, "x") for place, size in enumerate(sizes)]
)
files = st.lists(documents, min_size=1, max_size=4).map(
    lambda held: {f"{place}.txt": one for place, one in enumerate(held)}
)


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


@given(files, st.floats(0.001, 0.999))
def test_every_file_is_parted_once_in_order_as_late_as_it_can_be(texts: dict[str, list[str]], share: float) -> None:
    learnt, held = hold_out(texts, share)
    assert learnt.keys() == held.keys() == texts.keys()
    for name, whole in texts.items():
        assert learnt[name] + held[name] == whole
        assert learnt[name]
        assert held[name]
        assert size(held[name][1:]) < share * size(whole)
        assert size(held[name]) >= share * size(whole) or len(learnt[name]) == 1


def test_the_share_is_each_files_own() -> None:
    texts = {"large.txt": [f"{place:03}" * 10 for place in range(1000)], "small.txt": ["a" * 50] * 100}
    learnt, held = hold_out(texts, 0.01)
    assert {name: len(part) for name, part in held.items()} == {"large.txt": 10, "small.txt": 1}
    assert held["large.txt"] == texts["large.txt"][-10:]
    assert not {*learnt["large.txt"]} & {*held["large.txt"]}


def test_the_share_is_of_bytes() -> None:
    learnt, held = hold_out({"a.txt": [f"中{place:02}" * 100 for place in range(50)] + ["a" * 300] * 50}, 0.1)
    assert size(held["a.txt"]) * 9 < 1.1 * size(learnt["a.txt"])


def test_a_single_document_cannot_be_parted() -> None:
    with pytest.raises(ManticoreError, match=r"b\.txt is a single document, of which no part can be held out"):
        hold_out({"a.txt": ["one", "two"], "b.txt": ["one"]}, 0.01)
