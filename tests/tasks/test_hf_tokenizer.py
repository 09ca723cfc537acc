"""Exported tokenizers give text the ids of the task."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from manticore.tasks import Task, TaskOptions, load_task
from manticore.tasks.classification.char_tokenizer import CharTokenizer
from manticore.tasks.splits import SplitTask, TrainValTest

CUT = 32
TEXTS = [
    "Hello  world\n\n\ttabs é № 😀",
    "<eos> <pad> <unk>",
    "",
    " lead",
    "trail ",
    "<br />A \x85 nel \u2028 line \x00 nul \xad shy",
    "x" * 100,
    "é" * 40,
    "İ ﬁ e\u0301 \r\n",
]


def text_task(unit: str) -> tuple[Task, CharTokenizer]:
    tokenizer = CharTokenizer(unit, CUT, [text.encode() for text in TEXTS * 20])

    def load() -> TrainValTest:
        raise NotImplementedError

    task = SplitTask("t", tokenizer.vocabulary, "ab", CUT, load, 0, "")
    task.text_unit = unit
    return task, tokenizer


@pytest.mark.parametrize("unit", ["bytes", "characters"])
def test_texts_have_the_ids_of_the_task(unit: str, tmp_path: Path) -> None:
    task, char_tokenizer = text_task(unit)
    exported = task.hf_tokenizer()
    exported.save_pretrained(tmp_path)
    for tokenizer in (exported, AutoTokenizer.from_pretrained(tmp_path)):
        for text in [*TEXTS, "Ж is new"]:
            assert tokenizer(text, truncation=True)["input_ids"] == char_tokenizer.encode(text.encode()).tolist(), text
        padded = tokenizer(["a", "bcd"], padding=True)
        assert padded["attention_mask"] == [[1, 1, 0, 0], [1] * 4]
        assert padded["input_ids"][0][2:] == [task.vocabulary.pad] * 2
    assert exported.decode(exported("Hello é\n", add_special_tokens=False)["input_ids"]) == "Hello é\n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_has_the_ids_of_the_task(text: str) -> None:
    for exported, char_tokenizer in CASES:
        assert exported(text, truncation=True)["input_ids"] == char_tokenizer.encode(text.encode()).tolist()


CASES = [(task.hf_tokenizer(), tokenizer) for task, tokenizer in map(text_task, ("bytes", "characters"))]


def test_a_vocabulary_without_special_tokens_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTICORE_CACHE", str(tmp_path / "cache"))
    task = load_task(TaskOptions("mad-in-context-recall", preset="cpu", train=20, val=4, test=4))
    task.hf_tokenizer().save_pretrained(tmp_path / "tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "tokenizer")
    assert tokenizer("0 1 15 3")["input_ids"] == [0, 1, 15, 3]
    assert (tokenizer.special_tokens_map, len(tokenizer)) == ({}, 16)
    example = task.example_text()
    assert example is not None
    assert tokenizer(example)["input_ids"] == task.splits().val[0][0].tolist()
    fields = task.config_fields()
    assert not {"pad_token_id", "eos_token_id"} & fields.keys()
    assert fields["label2id"]["15"] == 15
