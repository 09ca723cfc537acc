"""Data sets of the field from the files they are handed out in: what becomes a document, and that words stay whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.catalog import load_task
from manticore.tasks.language import corpus
from manticore.tasks.language.alpaca import instruction, prompt
from manticore.tasks.language.splitting import DocumentSplits
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.language.wikitext import articles
from manticore.tasks.options import TaskOptions

ARTICLE = " = Robert {} = \n \n He @-@ ed .\n \n = = Career = = \n \n = = = 2000 – 2005 = = = \n \n He {} .\n \n"


def texts(name: str, folder: Path, **more: object) -> DocumentSplits:
    task = load_task(TaskOptions(name, data_dir=str(folder), **more))  # type: ignore[arg-type]
    assert isinstance(task, LanguageTask)
    return task.texts()


def test_an_article_is_a_document(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("valid", 2), ("test", 1)):
        text = "".join(ARTICLE.format(f"{part} {index}", "left") for index in range(count))
        (tmp_path / f"wiki.{part}.raw").write_text(text, encoding="utf-8")
    held = texts("wikitext", tmp_path)
    assert [len(held.train), len(held.val), len(held.test)] == [3, 2, 1]
    assert held.test[0].startswith("= Robert test 0 =")
    assert held.test[0].endswith("He left .")
    assert articles("no title") == []


def test_sentences_of_the_treebank_stay_whole_and_in_order(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        lines = [f" <unk> of {part} said N million \n" for _ in range(150)]
        (tmp_path / f"ptb.{part}.txt").write_text("".join(lines[:-1]) + f" the end of {part} \n\n", encoding="utf-8")
    held = texts("ptb", tmp_path)
    assert held.train == [
        "\n".join(["<unk> of train said N million"] * 100),
        "\n".join(["<unk> of train said N million"] * 49 + ["the end of train"]),
    ]


def test_instructions_are_laid_out_as_alpaca_was_trained() -> None:
    assert prompt({"instruction": "Add.", "input": "1 2", "output": "3"}) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3"
    )
    alone = prompt({"instruction": "Sing.", "input": "", "output": "La."})
    assert "### Input" not in alone
    assert alone.startswith("Below is an instruction that describes a task. Write")
    assert instruction(alone) == "sing."


def test_an_instruction_is_in_one_part_only(tmp_path: Path) -> None:
    records = [
        {"instruction": f"Task {index % 20}.", "input": f"{index}", "output": f"Answer {index}."}
        for index in range(200)
    ]
    (tmp_path / "alpaca_data.json").write_text(json.dumps(records))
    held = texts("alpaca", tmp_path)
    keys = [{instruction(document) for document in part} for part in (held.train, held.val, held.test)]
    assert [len(part) for part in keys] == [16, 2, 2]
    assert len(set.union(*keys)) == 20
    assert len(held.train) + len(held.val) + len(held.test) == 200


def test_all_answers_of_a_question_are_one_document(tmp_path: Path) -> None:
    pairs = [{"question": f"Why {index // 2}? ", "answer": f"Because {index}."} for index in range(40)]
    (tmp_path / "eli5.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    held = texts("eli5", tmp_path)
    assert len(held.train) + len(held.val) + len(held.test) == 20
    assert "Why 3?\n\nBecause 6.\n\nBecause 7." in {*held.train, *held.val, *held.test}


@pytest.mark.parametrize(
    ("name", "file", "content", "said"),
    [
        ("alpaca", "alpaca_data.json", "{}", "expected a list of records"),
        ("alpaca", "alpaca_data.json", '[{"instruction": "a", "input": ""}]', "record 1 has no text in one of"),
        ("alpaca", "alpaca_data.json", "[", "not JSON"),
        ("alpaca", "alpaca_data.json", "[" * 100_000, "not JSON"),
        (
            "alpaca",
            "alpaca_data.json",
            '[{"instruction": "a", "input": "", "output": "\\ud83d"}]',
            "which is no letter",
        ),
        ("eli5", "eli5.jsonl", '{"question": "a", "answer": "\\ud83d"}', "which is no letter"),
        ("eli5", "eli5.jsonl", '{"question": "a", "answer": "b"}\n{"question": "a"}', ":2: expected a record with"),
        ("wikitext", "wiki.train.raw", "x", "no such file; expected wiki.train.raw, wiki.valid.raw, wiki.test.raw"),
    ],
)
def test_what_is_amiss_is_said_with_its_place(tmp_path: Path, name: str, file: str, content: str, said: str) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(BadFile, match=r".") as told:
        texts(name, tmp_path)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("name", "asked", "rows"),
    [
        ("ptb", ("ptb-text-only/ptb_text_only", None, "refs/convert/parquet"), {"sentence": ["a b", "c d"]}),
        ("wikitext-103", ("Salesforce/wikitext", "wikitext-103-raw-v1", None), {"text": ["", " b\n"]}),
    ],
)
def test_the_hub_is_asked_for_the_right_thing(
    monkeypatch: pytest.MonkeyPatch, name: str, asked: tuple[str, ...], rows: dict[str, list[str]]
) -> None:
    seen: list[Any] = []

    def hub(source: str, splits: tuple[str, ...], ways_out: str, config: str | None, revision: str | None) -> list[Any]:
        seen.append((source, config, revision))
        return [{key: [f"{value} {split}" for value in held] for key, held in rows.items()} for split in splits]

    monkeypatch.setattr(corpus, "from_hub", hub)
    task = load_task(TaskOptions(name))
    assert isinstance(task, LanguageTask)
    if name == "ptb":
        assert task.texts().val == ["a b validation\nc d validation"]
    else:
        with pytest.raises(ManticoreError, match="there is no document in it"):
            task.texts()
    assert seen == [asked]
