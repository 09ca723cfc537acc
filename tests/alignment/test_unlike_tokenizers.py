"""Calibration, alignment and the hub topology never treat different tokenizers as the same."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerBase

from manticore.alignment import calibration as calibration_module
from manticore.alignment import fit_projectors
from manticore.alignment.calibration import BATCH_SIZE, VAL_EVERY, Calibration, build_calibration
from manticore.alignment.token_alignment import OffsetTokenizer
from manticore.components import Component, tokenizers
from manticore.errors import ManticoreError
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.model_images import text
from tests.helpers.pico import component
from tests.helpers.tokenizers import (
    BYTE_LEVEL,
    NAMES,
    PROSE,
    TWINS,
    base_letters,
    decode,
    expected_decoding,
    has_unknown,
    tokenizer,
)

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
"""More tokens than the texts have, so that all of them are used."""


@pytest.fixture(autouse=True)
def cached_tokenizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the offsets of large vocabularies once."""
    monkeypatch.setattr(tokenizers, "fingerprint", fingerprint)
    monkeypatch.setattr(calibration_module, "OffsetTokenizer", offset_tokenizer)


fingerprint, offset_tokenizer = cache(tokenizers.fingerprint), cache(OffsetTokenizer)


def with_tokenizer(family: str, name: str, tokenizer: PreTrainedTokenizerBase) -> Component:
    """A pico model with a tokenizer."""
    model = component(family, name)
    model.tokenizer = tokenizer
    return model


def pair(base: PreTrainedTokenizerBase, donor: PreTrainedTokenizerBase) -> list[Component]:
    return [with_tokenizer("gpt_neo", "base", base), with_tokenizer("mamba", "donor", donor)]


def supernet(parts: list[Component], topology: str) -> Supernet:
    return Supernet(parts, SearchSpace(["base", "donor"], stages=2, topology=topology), "base", HeadSpec())


def calibrated(parts: list[Component], base: str) -> Calibration:
    """Calibration on several copies of every text, so that each is in the training batches."""
    assert len(TEXTS) % VAL_EVERY
    return build_calibration(parts, base, TEXTS * VAL_EVERY, MANY, LENGTH)


@cache
def ends(name: str, ids: tuple[int, ...], text: str) -> frozenset[int]:
    """Every number of characters of `text` that these first tokens of it may represent."""
    lengths = [*range(1, len(text) + 1)]
    if name in (*BYTE_LEVEL, "metaspace"):
        return frozenset(end for end in lengths if decode(name, [*ids]) == expected_decoding(name, text[:end]))
    letters = base_letters(decode(name, [*ids]).replace("##", ""))
    return frozenset(end for end in lengths if has_unknown(name, [*ids]) or letters == base_letters(text[:end]))


def test_twins_have_the_same_vocabulary_and_encode_differently() -> None:
    for twin in TWINS:
        assert tokenizer(twin).get_vocab() == tokenizer("prose").get_vocab()
        assert tokenizer(twin)(PROSE)["input_ids"] != tokenizer("prose")(PROSE)["input_ids"]


@pytest.mark.parametrize("base", NAMES)
def test_calibration_pairs_positions_that_represent_the_same_characters(base: str) -> None:
    donors = [name for name in NAMES if name != base]
    components = [with_tokenizer("mamba", name, tokenizer(name)) for name in NAMES]
    calibration = calibrated(components, base)
    assert set(calibration.paired) == set(donors)
    texts = [text for index, text in enumerate(TEXTS * VAL_EVERY) if index % VAL_EVERY != VAL_EVERY - 1]
    for index, batch in enumerate(calibration.train):
        assert set(batch.donors) == set(donors)
        for name, tokens in batch.donors.items():
            for row, position, donor_position in tokens.pairs_M3.tolist():
                passage = texts[index * BATCH_SIZE + row]
                base_ends = ends(base, tuple(batch.ids_BL[row, : position + 1].tolist()), passage)
                donor_ends = ends(name, tuple(tokens.ids_BL[row, : donor_position + 1].tolist()), passage)
                assert base_ends & donor_ends, (name, passage)
    for name, share in calibration.paired.items():
        pairs = sum(len(batch.donors[name].pairs_M3) for batch in calibration.train)
        assert 0 < share == pytest.approx(pairs / calibration.tokens)


@pytest.mark.parametrize("base", NAMES)
def test_alignment_needs_paired_text_for_different_tokenizers(base: str) -> None:
    parts = pair(tokenizer(base), tokenizer(base))
    net = supernet(parts, "residual")
    for name in NAMES:
        parts[1].tokenizer = tokenizer(name)
        if name != base:
            with pytest.raises(ManticoreError, match="'donor' has another tokenizer than 'base'; its text must be"):
                fit_projectors(net, text(0), text(1))


@pytest.mark.parametrize("base", NAMES)
def test_the_hub_topology_refuses_different_tokenizers(base: str) -> None:
    parts = pair(tokenizer(base), tokenizer(base))
    for name in NAMES:
        parts[1].tokenizer = tokenizer(name)
        if name != base:
            with pytest.raises(ManticoreError, match="all components must have the same tokenizer"):
                supernet(parts, "hub")


def test_a_tokenizer_saved_and_loaded_is_the_same(tmp_path: Path) -> None:
    tokenizer("prose").save_pretrained(tmp_path)
    parts = pair(tokenizer("prose"), AutoTokenizer.from_pretrained(tmp_path))
    train = calibrated(parts, "base").train
    assert [batch.donors for batch in train] == [{}] * len(train)
    assert fit_projectors(supernet(parts, "residual"), text(0), text(1))
    assert not supernet(parts, "hub").topology.has_base


def test_slow_tokenizers_are_refused() -> None:
    parts = pair(tokenizer("prose"), ByT5Tokenizer())
    for use in (
        lambda: calibrated(parts, "base"),
        lambda: fit_projectors(supernet(parts, "residual"), text(0), text(1)),
        lambda: supernet(parts, "hub"),
    ):
        with pytest.raises(ManticoreError, match="tokenizer ByT5Tokenizer is a slow one"):
            use()
