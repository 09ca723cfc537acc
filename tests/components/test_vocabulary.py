"""Tokenizers are compared by content, and every token id needs an embedding row."""

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
    content = json.loads(tokenizer(name).backend_tokenizer.to_str())
    change(content)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(content)), **options)


def test_different_tokenizers_have_different_fingerprints() -> None:
    assert len({fingerprint(tokenizer(name)) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_saving_keeps_the_fingerprint(name: str, tmp_path: Path) -> None:
    tokenizer(name).save_pretrained(tmp_path / "elsewhere")
    again = AutoTokenizer.from_pretrained(tmp_path / "elsewhere")
    assert again is not tokenizer(name)
    assert same_vocabulary(again, tokenizer(name))


def test_name_padding_and_post_processor_do_not_matter() -> None:
    other = changed("neox", lambda content: content.update(post_processor=None), pad_token="<|padding|>")
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
        lambda content: content["model"]["vocab"].update(
            a=content["model"]["vocab"]["b"], b=content["model"]["vocab"]["a"]
        ),
        lambda content: content["model"]["merges"].reverse(),
        lambda content: content["model"]["merges"].pop(),
        lambda content: content["model"].update(ignore_merges=True),
        lambda content: content.update(normalizer={"type": "Lowercase"}),
        lambda content: content["pre_tokenizer"].update(add_prefix_space=True),
        lambda content: content["pre_tokenizer"].update(use_regex=False),
        lambda content: content.update(decoder=None),
        lambda content: content["added_tokens"].append({**SPECIAL, "id": 330, "content": "<new>"}),
    ],
    ids=["ids", "order", "merge", "whole words", "normalizer", "prefix", "regex", "decoder", "added"],
)
def test_a_change_of_the_encoding_changes_the_fingerprint(change: Callable[[dict[str, Any]], object]) -> None:
    assert not same_vocabulary(tokenizer("prose"), changed("prose", change))
    assert same_vocabulary(tokenizer("prose"), changed("prose", lambda content: None))


SPECIAL = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def test_an_embedding_table_may_have_more_rows_than_tokens_but_not_fewer() -> None:
    assert len(tokenizer("neox")) == 50_277
    check_vocab_size(tokenizer("neox"), 50_277, "pythia")
    check_vocab_size(tokenizer("neox"), 50_280, "pythia")
    with pytest.raises(ManticoreError, match=r"'gpt2' has 50,257 embedding rows, fewer than the 50,277 tokens of"):
        check_vocab_size(tokenizer("neox"), 50_257, "gpt2")


def test_ids_may_have_gaps() -> None:
    gappy = changed("bytes", lambda content: content["added_tokens"].clear())
    gappy.add_tokens(["<new>"])
    check_vocab_size(gappy, 257, "exact")
    with pytest.raises(ManticoreError, match="256 embedding rows"):
        check_vocab_size(gappy, 256, "short")
