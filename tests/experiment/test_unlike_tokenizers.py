"""Whoever compares what two models read, calibration, alignment or hub, never takes unlike tokenizers for one."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerBase

from manticore.alignment import calibration as calibrating
from manticore.alignment import fit_projectors
from manticore.alignment.calibration import BATCH, HELD_OUT, Calibration, build_calibration
from manticore.alignment.token_alignment import OffsetTokenizer
from manticore.components import Component, tokenizers
from manticore.errors import ManticoreError
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.model_images import text
from tests.helpers.pico import component
from tests.helpers.tokenizers import BYTEWISE, NAMES, PROSE, TWINS, expected, rough, tokenizer, told, unknown

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
    monkeypatch.setattr(tokenizers, "fingerprint", fingerprint)
    monkeypatch.setattr(calibrating, "OffsetTokenizer", reader)


fingerprint, reader = cache(tokenizers.fingerprint), cache(OffsetTokenizer)


def reading(family: str, name: str, words: PreTrainedTokenizerBase) -> Component:
    """A pico model that reads with a tokenizer."""
    made = component(family, name)
    made.tokenizer = words
    return made


def pair(own: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> list[Component]:
    return [reading("gpt_neo", "base", own), reading("mamba", "donor", other)]


def supernet(parts: list[Component], topology: str) -> Supernet:
    return Supernet(parts, SearchSpace(["base", "donor"], stages=2, topology=topology), "base", HeadSpec())


def calibrated(parts: list[Component], base: str) -> Calibration:
    """On every text several times, so that each of them is fitted on."""
    assert len(TEXTS) % HELD_OUT
    return build_calibration(parts, base, TEXTS * HELD_OUT, MANY, LENGTH)


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


@pytest.mark.parametrize("base", NAMES)
def test_calibration_pairs_unlike_ones_where_they_have_read_the_same(base: str) -> None:
    others = [name for name in NAMES if name != base]
    parts = [reading("mamba", name, tokenizer(name)) for name in NAMES]
    held = calibrated(parts, base)
    assert set(held.shares) == set(others)
    used = [passage for place, passage in enumerate(TEXTS * HELD_OUT) if place % HELD_OUT != HELD_OUT - 1]
    for batch, got in enumerate(held.seen):
        assert set(got.donor) == set(others)
        for name, other in got.donor.items():
            for row, here, there in other.places_M3.tolist():
                passage = used[batch * BATCH + row]
                own = ends(base, tuple(got.ids_BL[row, : here + 1].tolist()), passage)
                assert own & ends(name, tuple(other.ids_BL[row, : there + 1].tolist()), passage), (name, passage)
    for name, share in held.shares.items():
        places = sum(len(got.donor[name].places_M3) for got in held.seen)
        assert 0 < share == pytest.approx(places / held.tokens)


@pytest.mark.parametrize("base", NAMES)
def test_alignment_asks_for_pairs_of_unlike_ones(base: str) -> None:
    parts = pair(tokenizer(base), tokenizer(base))
    net = supernet(parts, "residual")
    for name in NAMES:
        parts[1].tokenizer = tokenizer(name)
        if name != base:
            with pytest.raises(ManticoreError, match="'donor' has another tokenizer than 'base'; its text must be"):
                fit_projectors(net, lambda: text(0), lambda: text(1))


@pytest.mark.parametrize("base", NAMES)
def test_a_hub_takes_no_unlike_ones(base: str) -> None:
    parts = pair(tokenizer(base), tokenizer(base))
    for name in NAMES:
        parts[1].tokenizer = tokenizer(name)
        if name != base:
            with pytest.raises(ManticoreError, match="all components must have the same tokenizer"):
                supernet(parts, "hub")


def test_one_tokenizer_in_two_files_is_one(tmp_path: Path) -> None:
    tokenizer("prose").save_pretrained(tmp_path)
    parts = pair(tokenizer("prose"), AutoTokenizer.from_pretrained(tmp_path))
    held = calibrated(parts, "base")
    assert (held.shares, [got.donor for got in held.seen]) == ({}, [{}] * len(held.seen))
    assert fit_projectors(supernet(parts, "residual"), lambda: text(0), lambda: text(1))
    assert not supernet(parts, "hub").topology.has_base


def test_what_cannot_be_compared_is_refused() -> None:
    parts = pair(tokenizer("prose"), ByT5Tokenizer())
    for refused in (
        lambda: calibrated(parts, "base"),
        lambda: fit_projectors(supernet(parts, "residual"), lambda: text(0), lambda: text(1)),
        lambda: supernet(parts, "hub"),
    ):
        with pytest.raises(ManticoreError, match="tokenizer ByT5Tokenizer is a slow one"):
            refused()
