"""Data files of every task: compressed or not, with leftovers beside them, and what cannot be read to an end."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import unicodedata
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks import TaskOptions, load_task, write_task
from manticore.tasks.data import TaskData, task
from manticore.tasks.language.decontamination import drop_overlapping
from manticore.tasks.language.task import LanguageTask

pytestmark = pytest.mark.usefixtures("own_cache")

RNG = np.random.default_rng(0)


def lines(folder: Path, names: dict[str, list[Any]]) -> None:
    for name, items in names.items():
        text = "".join((item if isinstance(item, str) else json.dumps(item)) + "\n" for item in items)
        (folder / name).write_text(text, encoding="utf-8")


def labelled(folder: Path) -> None:
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        lines(folder, {f"{split}.jsonl": [{"text": f"{split} {n}", "label": n % 2} for n in range(count)]})


def reviews(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        for index in range(6):
            (folder / name / f"{index}.txt").write_text(f"head\n\n{name} № {index}", encoding="utf-8")


def retrieval(folder: Path) -> None:
    for name, count in (("train", 6), ("eval", 2), ("test", 2)):
        rows = [f"{n % 2}.0\ta\tb\tfirst {name} {n}\tsecond {n}" for n in range(count)]
        lines(folder, {f"new_aan_pairs.{name}.tsv": rows})


def listops(folder: Path) -> None:
    write_task(TaskOptions("lra-listops", preset="cpu", train=6, val=2, test=2), folder)


def cifar(folder: Path) -> None:
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = RNG.integers(0, 10, (2, 3073), dtype=np.uint8)
        records.tofile(folder / f"{name}.bin")


def garments(folder: Path) -> None:
    for stem, count in (("train", 20), ("t10k", 4)):
        head = bytes([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 28, 0, 0, 0, 28])
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(head + RNG.bytes(count * 784))
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1, 0, 0, 0, count, *(n % 10 for n in range(count))])
        )


def puzzle(folder: Path) -> None:
    write_task(TaskOptions("mad-in-context-recall@seq_len=16", train=8, val=2, test=2), folder)


def treebank(folder: Path) -> None:
    for name in ("train", "valid", "test"):
        lines(folder, {f"ptb.{name}.txt": [f"a word of {name} {n}" for n in range(150)]})


def text(folder: Path) -> None:
    for name in ("train", "val", "test"):
        lines(folder, {f"{name}.txt": [f"{name} {n}\n\n<|endoftext|>" for n in range(4)]})


TASKS: dict[str, Callable[[Path], None]] = {
    "labelled": labelled,
    "lra-text": lambda folder: reviews(folder, ["train/pos", "train/neg", "test/pos", "test/neg"]),
    "bytes-spam": lambda folder: reviews(folder, ["easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2"]),
    "lra-retrieval": retrieval,
    "lra-listops": listops,
    "lra-image": cifar,
    "pixels-fashion-mnist": garments,
    "mad-in-context-recall@seq_len=16": puzzle,
    "ptb": treebank,
    "text": text,
}
"""How the files of a task are made, by its name."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (path := tmp_path / "data").mkdir()
    return path


def contents(name: str, folder: Path) -> object:
    loaded = load_task(TaskOptions(name, preset="paper", data_dir=str(folder)))
    if isinstance(loaded, LanguageTask):
        return loaded.documents()
    splits = loaded.splits()
    return [[ids.tolist() for ids, _ in getattr(splits, field.name)] for field in fields(splits)]


def data_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", TASKS)
def test_files_may_be_compressed(name: str, folder: Path) -> None:
    TASKS[name](folder)
    plain = contents(name, folder)
    for index, file in enumerate(data_files(folder)):
        suffix, compress = ((".gz", gzip.compress), (".xz", lzma.compress))[index % 2]
        file.with_name(file.name + suffix).write_bytes(compress(file.read_bytes()))
        file.unlink()
    assert contents(name, folder) == plain
    for file in data_files(folder):
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BadFile, match="damaged, or not compressed with"):
        contents(name, folder)


@pytest.mark.parametrize("name", TASKS)
def test_leftovers_are_passed_over(name: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    TASKS[name](folder)
    plain = contents(name, folder)
    for file in data_files(folder):
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\x16\7")
        file.with_name(f"~${file.name}").write_bytes(b"\0")
        file.with_name(f".#{file.name}").symlink_to("nowhere")
    assert contents(name, folder) == plain
    if name in ("labelled", "lra-text", "bytes-spam", "text"):  # the others read files of certain names alone
        assert "files that a system or an editor has left there" in caplog.text


@pytest.mark.parametrize("name", TASKS)
def test_what_has_no_end_is_refused(name: str, folder: Path) -> None:
    TASKS[name](folder)
    file = data_files(folder)[-1]
    for replace, message in (
        (lambda: os.mkfifo(file), "named pipes and devices are not read"),
        (lambda: file.symlink_to("/dev/zero"), "named pipes and devices are not read"),
        (lambda: file.symlink_to(file.name), "a link that leads to no file"),
    ):
        file.unlink()
        replace()
        with pytest.raises(BadFile, match=message) as error:
            contents(name, folder)
        assert str(file) in str(error.value)


def test_labelled_examples_in_one_file_may_be_compressed_and_never_a_pipe(folder: Path) -> None:
    records = [{"text": f"text {n}", "label": n % 2} for n in range(30)]
    (folder / "all.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(each) + "\n" for each in records).encode()))
    assert len(load_task(TaskOptions("labelled", data_dir=str(folder / "all.jsonl.gz"))).splits().test) == 3
    os.mkfifo(folder / "pipe.jsonl")
    with pytest.raises(BadFile, match="named pipes"):
        load_task(TaskOptions("labelled", data_dir=str(folder / "pipe.jsonl")))


def test_labelled_records_without_content_are_left_out(folder: Path) -> None:
    labelled(folder)
    plain = contents("labelled", folder)
    with (folder / "val.jsonl").open("a") as file:
        file.write('null\n{"text": null, "label": 1}\n')
    assert contents("labelled", folder) == plain
    lines(folder, {"val.jsonl": [{"text": None, "label": 1}]})
    with pytest.raises(ManticoreError, match="val is empty"):
        contents("labelled", folder)


def test_corpora_leave_out_null_as_they_do_from_the_hub(folder: Path) -> None:
    pairs = [{"question": f"Why {n}?", "answer": "So."} for n in range(30)]
    lines(folder, {"eli5.jsonl": [*pairs, {"question": "Who?", "answer": None}, {"question": None, "answer": "He."}]})
    records = [{"instruction": f"Add {n}.", "input": None if n % 2 else "1", "output": "2"} for n in range(30)]
    empty = {"instruction": "Sing.", "input": "", "output": None}
    (folder / "alpaca_data.json").write_text(json.dumps([*records, empty]))
    for name in ("eli5", "alpaca"):
        documents = load_task(TaskOptions(name, data_dir=str(folder))).documents()  # type: ignore[attr-defined]
        texts = [text for split in documents.values() for text in split]
        assert len(texts) == 30
        assert not any("None" in text or "Who" in text or "Sing" in text for text in texts)


COMPOSED = "Zwölf Boxkämpfer jagen Viktor"
VARIANTS = (unicodedata.normalize("NFD", COMPOSED), COMPOSED.replace(" ", "\n"), f"\t{COMPOSED}  ", COMPOSED)


@pytest.mark.parametrize("kind", ["text", "tokens"])
def test_equal_texts_of_labelled_examples_are_in_one_split(kind: str, folder: Path) -> None:
    def record(value: str, label: int) -> dict[str, Any]:
        return {"text": value, "label": label} if kind == "text" else {"tokens": value.split(), "label": label}

    rest = [record(f"another text {n}", n % 2) for n in range(8)]
    for split, texts in (("train", VARIANTS[:2]), ("val", VARIANTS[2:3]), ("test", VARIANTS[3:])):
        own = [record(value, 0) for value in texts]
        lines(folder, {f"{split}.jsonl": [*own, *(rest if split == "train" else [record("text " * len(split), 1)])]})
    splits = load_task(TaskOptions("labelled", data_dir=str(folder))).splits()
    assert [len(getattr(splits, field.name)) for field in fields(splits)] == [4, 4, 1, 2]


def test_equal_texts_are_drawn_into_one_split() -> None:
    items = [(variant, "a") for variant in VARIANTS] + [(f"text {n}", "b") for n in range(26)]
    data = task(items)
    assert isinstance(data, TaskData)
    assert sum(data.sizes.values()) == 27


def test_folders_written_by_a_run_may_have_leftovers(folder: Path) -> None:
    """A copy on another system gets files beside the examples; the hash of the examples stays the same."""
    task([(f"text {n}", n % 2) for n in range(30)]).save(folder / "own")
    (folder / "own" / "._train.jsonl").write_bytes(b"\0")
    assert len(load_task(TaskOptions("labelled", data_dir=str(folder / "own"))).splits().test) == 3
    (folder / "own" / "train-2.jsonl.gz").write_bytes(gzip.compress(b'{"text": "new", "label": 1}'))
    with pytest.raises(BadFile, match="not those that were written"):
        load_task(TaskOptions("labelled", data_dir=str(folder / "own")))


def test_a_marked_review_in_another_encoding_is_read(folder: Path) -> None:
    TASKS["lra-text"](folder)
    plain = contents("lra-text", folder)
    for file in data_files(folder):
        file.write_bytes(b"\xff\xfe" + file.read_text(encoding="utf-8").encode("utf-16-le"))
    assert contents("lra-text", folder) == plain


def test_decontamination_sees_other_compositions_of_characters() -> None:
    shared = "Es war einmal ein müder Wächter, der hörte für König und Länder jeden Tag schöne Lieder"
    assert drop_overlapping([unicodedata.normalize("NFD", shared), "kept"], [shared]) == ["kept"]
