"""Two tokenizers pair only at positions where both represent the same characters (property test over ten kinds)."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from manticore.alignment.token_alignment import OffsetTokenizer, align_texts
from manticore.errors import ManticoreError
from tests.helpers.tokenizers import (
    BYTE_LEVEL,
    NAMES,
    PROSE,
    base_letters,
    decode,
    expected_decoding,
    has_unknown,
    tokenizer,
)

DIFFICULT = [
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
TEXTS = st.lists(st.one_of(st.sampled_from(DIFFICULT), st.text(max_size=4)), max_size=12).map("".join)


@cache
def offset_tokenizer(name: str) -> OffsetTokenizer:
    return OffsetTokenizer(tokenizer(name))


def check(name: str, text: str, ids: list[int]) -> None:
    if name in (*BYTE_LEVEL, "metaspace"):
        assert decode(name, ids) == expected_decoding(name, text)
    elif not has_unknown(name, ids):
        assert base_letters(decode(name, ids).replace("##", "")) == base_letters(text.replace("##", ""))


@settings(max_examples=400)
@given(st.sampled_from(NAMES), st.sampled_from(NAMES), TEXTS)
@example("neox", "gpt2", "e\u0301x")
@example("neox", "bytes", "a e\u0301")
@example("nfkc", "gpt2", "a  b   c")
@example("nfd", "bytes", "a\u0301\u0323b")
@example("stream", "bytes", "in possession of a good ")
@example("prefix", "neox", "Hello  wo\n\n  rld \u3000 ")
def test_paired_positions_represent_the_same_characters(a: str, b: str, text: str) -> None:
    aligned = align_texts(text, offset_tokenizer(a), offset_tokenizer(b))
    assert aligned.ids_a.tolist() == tokenizer(a)(text, add_special_tokens=False)["input_ids"]
    assert aligned.ids_b.tolist() == tokenizer(b)(text, add_special_tokens=False)["input_ids"]
    assert (aligned.pairs_M2.shape, aligned.ends_M.shape) == ((len(aligned.ends_M), 2), (len(aligned.pairs_M2),))
    assert 0 <= aligned.share <= 1
    for (position_a, position_b), end in zip(aligned.pairs_M2.tolist(), aligned.ends_M.tolist(), strict=True):
        check(a, text[:end], aligned.ids_a[: position_a + 1].tolist())
        check(b, text[:end], aligned.ids_b[: position_b + 1].tolist())
    assert bool((aligned.pairs_M2.diff(dim=0) > 0).all())


@pytest.mark.parametrize("b", NAMES)
@pytest.mark.parametrize("a", ["gpt2", "neox"])
def test_most_of_plain_prose_pairs(a: str, b: str) -> None:
    share = align_texts(PROSE, offset_tokenizer(a), offset_tokenizer(b)).share
    assert share > {"metaspace": 0.25, "stream": 0.35, "wordpiece": 0.85}.get(b, 0.9)


def test_every_word_end_pairs_between_gpt2_and_neox() -> None:
    text = "Pretrained hybrids pair naïve readers."
    aligned = align_texts(text, offset_tokenizer("gpt2"), offset_tokenizer("neox"))
    ends = {end for end in range(1, len(text) + 1) if end == len(text) or text[end] == " "}
    assert ends <= set(aligned.ends_M.tolist())
    assert not torch.equal(aligned.ids_a, aligned.ids_b)


def test_a_tokenizer_pairs_with_itself_except_at_split_characters() -> None:
    plain, split = (
        align_texts(PROSE, offset_tokenizer("gpt2"), offset_tokenizer("gpt2")),
        align_texts("x😀", offset_tokenizer("bytes"), offset_tokenizer("bytes")),
    )
    assert plain.share == 1
    assert plain.pairs_M2.tolist() == [[index, index] for index in range(len(plain.ids_a))]
    assert (split.pairs_M2.tolist(), split.share) == ([[0, 0], [4, 4]], 2 / 5)


def test_an_empty_text_has_no_pairs() -> None:
    aligned = align_texts("", offset_tokenizer("gpt2"), offset_tokenizer("neox"))
    assert (aligned.pairs_M2.shape, aligned.share) == ((0, 2), 0)


@pytest.mark.parametrize(("name", "text", "ends"), [("wordpiece", "e\u0301 o", [4]), ("wordpiece", "e\u0301", [])])
def test_a_lost_character_is_in_no_pair(name: str, text: str, ends: list[int]) -> None:
    assert set(align_texts(text, offset_tokenizer(name), offset_tokenizer("bytes")).ends_M.tolist()) <= set(ends)


def test_a_text_without_pairs_takes_linear_time() -> None:
    text = "x\u0323\u0301  " * 2000
    assert align_texts(text, offset_tokenizer("nfkc"), offset_tokenizer("bytes")).share < 1


def test_special_tokens_are_not_added_and_nothing_is_truncated() -> None:
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    core = tokenizer("prose").backend_tokenizer.from_str(tokenizer("prose").backend_tokenizer.to_str())
    core.post_processor = processors.TemplateProcessing(single="Q $A Q", special_tokens=[("Q", 5)])
    core.enable_truncation(4)
    core.enable_padding(length=50)
    truncating = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=4)
    assert (
        align_texts(PROSE, OffsetTokenizer(truncating), offset_tokenizer("prose")).ids_a.tolist()
        == align_texts(PROSE, offset_tokenizer("prose"), offset_tokenizer("prose")).ids_a.tolist()
    )


def slow() -> PreTrainedTokenizerBase:
    from transformers import ByT5Tokenizer

    return ByT5Tokenizer()


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(ManticoreError, match="tokenizer ByT5Tokenizer is a slow one"):
        OffsetTokenizer(slow())
