"""Tokenizers are told apart by content, and ids must have rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from manticore.components.tokenizers import check_vocab_size, fingerprint, same_vocabulary
from manticore.errors import ManticoreError
from tests.helpers.tokenizers import NAMES, tokenizer


def changed(name: str, change: Callable[[dict[str, Any]], object], **options: Any) -> PreTrainedTokenizerFast:
    held = json.loads(tokenizer(name).backend_tokenizer.to_str())
    change(held)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(held)), **options)


def test_no_two_are_taken_for_one() -> None:
    assert len({fingerprint(tokenizer(name)) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_saving_changes_nothing(name: str, tmp_path: Path) -> None:
    tokenizer(name).save_pretrained(tmp_path / "elsewhere")
    again = AutoTokenizer.from_pretrained(tmp_path / "elsewhere")
    assert again is not tokenizer(name)
    assert same_vocabulary(again, tokenizer(name))


def test_names_padding_and_surroundings_play_no_part() -> None:
    other = changed("neox", lambda held: held.update(post_processor=None), pad_token="<|padding|>")
    other.name_or_path, other.padding_side, other.model_max_length = "another/name", "left", 7
    other.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    other("so that truncation and padding are set", truncation=True, max_length=3, padding="max_length")
    assert same_vocabulary(tokenizer("neox"), other)
    assert tokenizer("neox")("text")["input_ids"] != other("text")["input_ids"]


@pytest.mark.parametrize(
    "change",
    [
        lambda held: held["model"]["vocab"].update(a=held["model"]["vocab"]["b"], b=held["model"]["vocab"]["a"]),
        lambda held: held["model"]["merges"].reverse(),
        lambda held: held["model"]["merges"].pop(),
        lambda held: held["model"].update(ignore_merges=True),
        lambda held: held.update(normalizer={"type": "Lowercase"}),
        lambda held: held["pre_tokenizer"].update(add_prefix_space=True),
        lambda held: held["pre_tokenizer"].update(use_regex=False),
        lambda held: held.update(decoder=None),
        lambda held: held["added_tokens"].append({**SPECIAL, "id": 330, "content": "<new>"}),
    ],
    ids=["ids", "order", "merge", "whole words", "normalizer", "prefix", "regex", "decoder", "added"],
)
def test_what_reads_otherwise_is_another(change: Callable[[dict[str, Any]], object]) -> None:
    assert not same_vocabulary(tokenizer("prose"), changed("prose", change))
    assert same_vocabulary(tokenizer("prose"), changed("prose", lambda held: None))


SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def test_a_table_may_be_longer_than_the_vocabulary_but_not_shorter() -> None:
    assert len(tokenizer("neox")) == 50_277
    check_vocab_size(tokenizer("neox"), 50_277, "pythia")
    check_vocab_size(tokenizer("neox"), 50_280, "pythia")
    with pytest.raises(ManticoreError, match=r"'gpt2' has 50,257 embedding rows, fewer than the 50,277 tokens of"):
        check_vocab_size(tokenizer("neox"), 50_257, "gpt2")


def test_ids_may_have_gaps() -> None:
    gappy = changed("bytes", lambda held: held["added_tokens"].clear())
    gappy.add_tokens(["<new>"])
    check_vocab_size(gappy, 257, "exact")
    with pytest.raises(ManticoreError, match="256 embedding rows"):
        check_vocab_size(gappy, 256, "short")
