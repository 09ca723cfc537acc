"""Corpora from their published files: what is a document, and that documents are complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.catalog import load_task
from manticore.tasks.language.corpora import alpaca_instruction, alpaca_prompt, wikitext_articles
from manticore.tasks.language.splitting import DocumentSplits
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions

ARTICLE = " = Robert {} = \n \n He @-@ ed .\n \n = = Career = = \n \n = = = 2000 – 2005 = = = \n \n He {} .\n \n"


def texts(name: str, folder: Path, **more: object) -> DocumentSplits:
    task = load_task(TaskOptions(name, data_dir=str(folder), **more))  # type: ignore[arg-type]
    assert isinstance(task, LanguageTask)
    return task.texts()


def test_an_article_is_a_document(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("valid", 2), ("test", 1)):
        text = "".join(ARTICLE.format(f"{split} {index}", "left") for index in range(count))
        (tmp_path / f"wiki.{split}.raw").write_text(text, encoding="utf-8")
    splits = texts("wikitext", tmp_path)
    assert [len(splits.train), len(splits.val), len(splits.test)] == [3, 2, 1]
    assert splits.test[0].startswith("= Robert test 0 =")
    assert splits.test[0].endswith("He left .")
    assert wikitext_articles("no title") == []


def test_sentences_of_the_treebank_are_complete_and_in_order(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        lines = [f" <unk> of {split} message N million \n" for _ in range(150)]
        (tmp_path / f"ptb.{split}.txt").write_text("".join(lines[:-1]) + f" the end of {split} \n\n", encoding="utf-8")
    splits = texts("ptb", tmp_path)
    assert splits.train == [
        "\n".join(["<unk> of train message N million"] * 100),
        "\n".join(["<unk> of train message N million"] * 49 + ["the end of train"]),
    ]


def test_instructions_are_laid_out_as_alpaca_was_trained() -> None:
    assert alpaca_prompt({"instruction": "Add.", "input": "1 2", "output": "3"}) == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3"
    )
    alone = alpaca_prompt({"instruction": "Sing.", "input": "", "output": "La."})
    assert "### Input" not in alone
    assert alone.startswith("Below is an instruction that describes a task. Write")
    assert alpaca_instruction(alone) == "sing."


def test_an_instruction_is_in_one_split_only(tmp_path: Path) -> None:
    records = [
        {"instruction": f"Task {index % 20}.", "input": f"{index}", "output": f"Answer {index}."}
        for index in range(200)
    ]
    (tmp_path / "alpaca_data.json").write_text(json.dumps(records))
    splits = texts("alpaca", tmp_path)
    keys = [{alpaca_instruction(document) for document in split} for split in (splits.train, splits.val, splits.test)]
    assert [len(split) for split in keys] == [16, 2, 2]
    assert len(set.union(*keys)) == 20
    assert len(splits.train) + len(splits.val) + len(splits.test) == 200


def test_all_answers_of_a_question_are_one_document(tmp_path: Path) -> None:
    pairs = [{"question": f"Why {index // 2}? ", "answer": f"Because {index}."} for index in range(40)]
    (tmp_path / "eli5.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    splits = texts("eli5", tmp_path)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 20
    assert "Why 3?\n\nBecause 6.\n\nBecause 7." in {*splits.train, *splits.val, *splits.test}


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("alpaca", "alpaca_data.json", "{}", "expected a list of records"),
        ("alpaca", "alpaca_data.json", '[{"instruction": "a", "input": ""}]', "record 1 has no text in one of"),
        ("alpaca", "alpaca_data.json", "[", "not JSON"),
        ("alpaca", "alpaca_data.json", "[" * 100_000, "JSON that is nested too deeply"),
        (
            "alpaca",
            "alpaca_data.json",
            '[{"instruction": "a", "input": "", "output": "\\ud83d"}]',
            "which is no character",
        ),
        ("eli5", "eli5.jsonl", '{"question": "a", "answer": "\\ud83d"}', "which is no character"),
        ("eli5", "eli5.jsonl", '{"question": "a", "answer": "b"}\n{"question": "a"}', ":2: expected a record with"),
        ("wikitext", "wiki.train.raw", "x", "no such file; expected wiki.train.raw, wiki.valid.raw, wiki.test.raw"),
    ],
)
def test_invalid_files_are_reported_with_the_line(
    tmp_path: Path, name: str, file: str, content: str, message: str
) -> None:
    (tmp_path / file).write_text(content)
    with pytest.raises(BadFile, match=r".") as error:
        texts(name, tmp_path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "identity", "rows"),
    [
        ("ptb", ("ptb-text-only/ptb_text_only", None, "refs/convert/parquet"), {"sentence": ["a b", "c d"]}),
        ("wikitext-103", ("Salesforce/wikitext", "wikitext-103-raw-v1", None), {"text": ["", " b\n"]}),
    ],
)
def test_the_hub_is_asked_for_the_right_dataset(
    monkeypatch: pytest.MonkeyPatch, name: str, identity: tuple[str, ...], rows: dict[str, list[str]]
) -> None:
    requests: list[Any] = []

    def hub(source: str, splits: tuple[str, ...], hint: str, config: str | None, revision: str | None) -> list[Any]:
        requests.append((source, config, revision))
        return [{key: [f"{value} {split}" for value in values] for key, values in rows.items()} for split in splits]

    monkeypatch.setattr("manticore.tasks.language.corpora.load_hub_dataset", hub)
    task = load_task(TaskOptions(name))
    assert isinstance(task, LanguageTask)
    if name == "ptb":
        assert task.texts().val == ["a b validation\nc d validation"]
    else:
        with pytest.raises(ManticoreError, match="there is no document in it"):
            task.texts()
    assert requests == [identity]
