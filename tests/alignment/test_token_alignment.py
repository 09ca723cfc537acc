"""Two tokenizers pair only where they have read the same characters; a fuzz over unlike tokenizers finds no other."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from manticore.alignment.token_alignment import OffsetTokenizer, align_spans, align_texts
from manticore.errors import ManticoreError
from tests.helpers.tokenizers import BYTEWISE, NAMES, PROSE, expected, rough, tokenizer, told, unknown

NASTY = [
    *(
        "e\u0301",
        "\u0301",
        "a\u0323\u0301",
        "\u1100\u1161\u11a8",
        "ﬁ",
        "İ",
        "ß",
        "Ⅷ",
        "①",
        "ｶﾞ",
        "中文",
        "\u200d",
        "👩\u200d🚀",
    ),
    *(" ", "  ", "   ", " " * 30, "\n", "\r\n", "\t", "\xa0", "\u3000", "\x00", "\ufeff", "▁", "Ġ", "##", "�", "😀"),
    *("<|endoftext|>", "<unk>", "[UNK]", "truth", " universally", "acknowledged", "Good", "'s", "...", "1234567"),
]
texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=4)), max_size=12).map("".join)


@cache
def reader(name: str) -> OffsetTokenizer:
    return OffsetTokenizer(tokenizer(name))


def check(name: str, text: str, ids: list[int]) -> None:
    if name in (*BYTEWISE, "metaspace"):
        assert told(name, ids) == expected(name, text)
    elif not unknown(name, ids):
        assert rough(told(name, ids).replace("##", "")) == rough(text.replace("##", ""))


@settings(max_examples=400)
@given(st.sampled_from(NAMES), st.sampled_from(NAMES), texts)
@example("neox", "gpt2", "e\u0301x")
@example("neox", "bytes", "a e\u0301")
@example("nfkc", "gpt2", "a  b   c")
@example("nfd", "bytes", "a\u0301\u0323b")
@example("stream", "bytes", "in possession of a good ")
@example("prefix", "neox", "Hello  wo\n\n  rld \u3000 ")
def test_paired_places_have_read_the_same_characters(a: str, b: str, text: str) -> None:
    found = align_texts(text, reader(a), reader(b))
    assert found.ids_a.tolist() == tokenizer(a)(text, add_special_tokens=False)["input_ids"]
    assert found.ids_b.tolist() == tokenizer(b)(text, add_special_tokens=False)["input_ids"]
    assert (found.places.shape, found.ends.shape) == ((len(found.ends), 2), (len(found.places),))
    assert 0 <= found.share <= 1
    for (place_a, place_b), end in zip(found.places.tolist(), found.ends.tolist(), strict=True):
        check(a, text[:end], found.ids_a[: place_a + 1].tolist())
        check(b, text[:end], found.ids_b[: place_b + 1].tolist())
    assert bool((found.places.diff(dim=0) > 0).all())


@pytest.mark.parametrize("b", NAMES)
@pytest.mark.parametrize("a", ["gpt2", "neox"])
def test_most_of_plain_prose_pairs(a: str, b: str) -> None:
    share = align_texts(PROSE, reader(a), reader(b)).share
    assert share > {"metaspace": 0.25, "stream": 0.35, "wordpiece": 0.85}.get(b, 0.9)


def test_every_word_end_pairs_between_gpt2_and_neox() -> None:
    text = "Pretrained hybrids pair naïve readers."
    found = align_spans(text, tokenizer("gpt2"), tokenizer("neox"))
    ends = {place for place in range(1, len(text) + 1) if place == len(text) or text[place] == " "}
    assert ends <= set(found.ends.tolist())
    assert not torch.equal(found.ids_a, found.ids_b)


def test_one_tokenizer_pairs_with_itself_but_for_half_read_characters() -> None:
    plain, split = (
        align_texts(PROSE, reader("gpt2"), reader("gpt2")),
        align_texts("x😀", reader("bytes"), reader("bytes")),
    )
    assert plain.share == 1
    assert plain.places.tolist() == [[place, place] for place in range(len(plain.ids_a))]
    assert (split.places.tolist(), split.share) == ([[0, 0], [4, 4]], 2 / 5)


def test_an_empty_text_pairs_nowhere() -> None:
    found = align_texts("", reader("gpt2"), reader("neox"))
    assert (found.places.shape, found.share) == ((0, 2), 0)


@pytest.mark.parametrize(("name", "text", "ends"), [("wordpiece", "e\u0301 o", [4]), ("wordpiece", "e\u0301", [])])
def test_a_lost_character_belongs_to_neither_side(name: str, text: str, ends: list[int]) -> None:
    assert set(align_texts(text, reader(name), reader("bytes")).ends.tolist()) <= set(ends)


def test_reading_a_hopeless_text_takes_linear_time() -> None:
    text = "x\u0323\u0301  " * 2000
    assert align_texts(text, reader("nfkc"), reader("bytes")).share < 1


def test_special_tokens_are_not_added_and_nothing_is_cut() -> None:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    core = tokenizer("prose").backend_tokenizer.from_str(tokenizer("prose").backend_tokenizer.to_str())
    core.post_processor = processors.TemplateProcessing(single="Q $A Q", special_tokens=[("Q", 5)])
    core.enable_truncation(4)
    core.enable_padding(length=50)
    words = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=4)
    assert (
        align_texts(PROSE, OffsetTokenizer(words), reader("prose")).ids_a.tolist()
        == align_texts(PROSE, reader("prose"), reader("prose")).ids_a.tolist()
    )


def slow() -> PreTrainedTokenizerBase:
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


def test_a_tokenizer_that_does_not_say_where_its_tokens_end() -> None:
    with pytest.raises(ManticoreError, match="tokenizer ByT5Tokenizer is a slow one"):
        align_spans("text", tokenizer("gpt2"), slow())
