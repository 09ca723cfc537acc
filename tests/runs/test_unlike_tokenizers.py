"""Whoever compares what two models read, calibration, alignment or hub, never takes unlike tokenizers for one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerBase

from manticore.alignment import align
from manticore.components import Component, vocabulary
from manticore.components.pairing import Reader
from manticore.errors import ManticoreError
from manticore.runs import calibration as calibrating
from manticore.runs.calibration import BATCH, HELD_OUT, Calibration, calibration
from manticore.space import SearchSpace
from manticore.supernet import Readout, Supernet
from tests.alignment.images import text
from tests.pico import component
from tests.wordings import BYTEWISE, NAMES, PROSE, TWINS, expected, rough, tokenizer, told, unknown

TEXTS = [
    "It is a truth universally acknowledged, naïve or not.",
    "The Minds of the surrounding Families 😀 were fixed",
    "def add(first, second):\n\treturn first + second",
    "a e\u0301 b a\u0323\u0301 c",
    "  In possession  of a good\u3000fortune ",
    "ﬁne İnk Ⅷ 中文",
    "x",
    "Hello  wo\n\n  rld \u3000 ",
    "Such a man's first entering a neighbourhood...",
]
LENGTH = 32
MANY = 1 << 17
"""Tokens to ask for, so that no text is left out."""


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large vocabularies are read once."""
    monkeypatch.setattr(vocabulary, "fingerprint", fingerprint)
    monkeypatch.setattr(calibrating, "Reader", reader)


fingerprint, reader = cache(vocabulary.fingerprint), cache(Reader)


def reading(family: str, name: str, words: PreTrainedTokenizerBase) -> Component:
    """A pico model that reads with a tokenizer."""
    made = component(family, name)
    made.tokenizer = words
    return made


def pair(own: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> list[Component]:
    return [reading("gpt_neo", "home", own), reading("mamba", "foreign", other)]


def supernet(parts: list[Component], topology: str) -> Supernet:
    return Supernet(parts, SearchSpace(["home", "foreign"], stages=2, topology=topology), "home", Readout())


def calibrated(parts: list[Component], home: str) -> Calibration:
    """On every text several times, so that each of them is fitted on."""
    assert len(TEXTS) % HELD_OUT
    return calibration(parts, home, TEXTS * HELD_OUT, MANY, LENGTH)


@cache
def ends(name: str, ids: tuple[int, ...], text: str) -> frozenset[int]:
    """Every number of characters of `text` that these first tokens of it may stand for."""
    whole = [*range(1, len(text) + 1)]
    if name in (*BYTEWISE, "metaspace"):
        return frozenset(end for end in whole if told(name, [*ids]) == expected(name, text[:end]))
    said = rough(told(name, [*ids]).replace("##", ""))
    return frozenset(end for end in whole if unknown(name, [*ids]) or said == rough(text[:end]))


def test_twins_have_one_vocabulary_and_read_otherwise() -> None:
    for twin in TWINS:
        assert tokenizer(twin).get_vocab() == tokenizer("prose").get_vocab()
        assert tokenizer(twin)(PROSE)["input_ids"] != tokenizer("prose")(PROSE)["input_ids"]


@pytest.mark.parametrize("home", NAMES)
def test_calibration_pairs_unlike_ones_where_they_have_read_the_same(home: str) -> None:
    others = [name for name in NAMES if name != home]
    parts = [reading("mamba", name, tokenizer(name)) for name in NAMES]
    held = calibrated(parts, home)
    assert set(held.shares) == set(others)
    used = [passage for place, passage in enumerate(TEXTS * HELD_OUT) if place % HELD_OUT != HELD_OUT - 1]
    for batch, got in enumerate(held.seen):
        assert set(got.foreign) == set(others)
        for name, other in got.foreign.items():
            for row, here, there in other.places_M3.tolist():
                passage = used[batch * BATCH + row]
                own = ends(home, tuple(got.ids_BL[row, : here + 1].tolist()), passage)
                assert own & ends(name, tuple(other.ids_BL[row, : there + 1].tolist()), passage), (name, passage)
    for name, share in held.shares.items():
        places = sum(len(got.foreign[name].places_M3) for got in held.seen)
        assert 0 < share == pytest.approx(places / held.tokens)


@pytest.mark.parametrize("home", NAMES)
def test_alignment_asks_for_pairs_of_unlike_ones(home: str) -> None:
    parts = pair(tokenizer(home), tokenizer(home))
    net = supernet(parts, "residual")
    for name in NAMES:
        parts[1].tokenizer = tokenizer(name)
        if name != home:
            with pytest.raises(ManticoreError, match="'foreign' has another tokenizer than 'home'; its text must be"):
                align(net, lambda: text(0), lambda: text(1))


@pytest.mark.parametrize("home", NAMES)
def test_a_hub_takes_no_unlike_ones(home: str) -> None:
    parts = pair(tokenizer(home), tokenizer(home))
    for name in NAMES:
        parts[1].tokenizer = tokenizer(name)
        if name != home:
            with pytest.raises(ManticoreError, match="all components must have the same tokenizer"):
                supernet(parts, "hub")


def test_one_tokenizer_in_two_files_is_one(tmp_path: Path) -> None:
    tokenizer("prose").save_pretrained(tmp_path)
    parts = pair(tokenizer("prose"), AutoTokenizer.from_pretrained(tmp_path))
    held = calibrated(parts, "home")
    assert (held.shares, [got.foreign for got in held.seen]) == ({}, [{}] * len(held.seen))
    assert align(supernet(parts, "residual"), lambda: text(0), lambda: text(1))
    assert supernet(parts, "hub").hub


def test_what_cannot_be_compared_is_refused() -> None:
    parts = pair(tokenizer("prose"), ByT5Tokenizer())
    for refused in (
        lambda: calibrated(parts, "home"),
        lambda: align(supernet(parts, "residual"), lambda: text(0), lambda: text(1)),
        lambda: supernet(parts, "hub"),
    ):
        with pytest.raises(ManticoreError, match="tokenizer ByT5Tokenizer is a slow one"):
            refused()
