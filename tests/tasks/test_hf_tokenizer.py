"""Exported tokenizers read text exactly as the task does."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from manticore.tasks import Task, TaskOptions, load_task
from manticore.tasks.classification.char_tokenizer import char_encoder
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


def texts(unit: str) -> tuple[Task, object]:
    vocabulary, spell = char_encoder(unit, CUT, [text.encode() for text in TEXTS * 20])

    def nothing() -> TrainValTest:
        raise NotImplementedError

    return SplitTask("t", vocabulary, "ab", CUT, nothing, 0, "", settings={"unit": unit, "length": CUT}), spell


@pytest.mark.parametrize("unit", ["bytes", "characters"])
def test_texts_are_spelled_as_the_task_spells_them(unit: str, tmp_path: Path) -> None:
    task, spell = texts(unit)
    made = task.hf_tokenizer()
    made.save_pretrained(tmp_path)
    for words in (made, AutoTokenizer.from_pretrained(tmp_path)):
        for text in [*TEXTS, "Ж is new"]:
            assert words(text, truncation=True)["input_ids"] == spell(text.encode()).tolist(), text  # type: ignore[operator]
        padded = words(["a", "bcd"], padding=True)
        assert padded["attention_mask"] == [[1, 1, 0, 0], [1] * 4]
        assert padded["input_ids"][0][2:] == [task.vocabulary.pad] * 2
    assert made.decode(made("Hello é\n", add_special_tokens=False)["input_ids"]) == "Hello é\n"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_spelled_as_the_task_spells_it(text: str) -> None:
    for words, spell in CASES:
        assert words(text, truncation=True)["input_ids"] == spell(text.encode()).tolist()  # type: ignore[operator]


CASES = [(task.hf_tokenizer(), spell) for task, spell in map(texts, ("bytes", "characters"))]


def test_without_special_tokens_none_are_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANTICORE_CACHE", str(tmp_path / "cache"))
    task = load_task(TaskOptions("mad-in-context-recall", preset="cpu", train=20, val=4, test=4))
    task.hf_tokenizer().save_pretrained(tmp_path / "words")
    words = AutoTokenizer.from_pretrained(tmp_path / "words")
    assert words("0 1 15 3")["input_ids"] == [0, 1, 15, 3]
    assert (words.special_tokens_map, len(words)) == ({}, 16)
    told = task.example_text()
    assert told is not None
    assert words(told)["input_ids"] == task.splits().val[0][0].tolist()
    fields = task.config_fields()
    assert not {"pad_token_id", "eos_token_id"} & fields.keys()
    assert fields["label2id"]["15"] == 15
