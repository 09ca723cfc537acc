"""Documents from files: separators, passages, and errors with file and line."""

from __future__ import annotations

import gzip
import json
import lzma
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.language.decontamination import drop_overlapping
from manticore.tasks.language.documents import passages, read_documents, read_grouped_documents
from manticore.tasks.language.splitting import DocumentSplits


def table(**columns: pyarrow.Array) -> bytes:
    """A parquet file of these columns."""
    out = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), out)
    return out.getvalue().to_pybytes()


NO_UTF8 = pyarrow.Array.from_buffers(
    pyarrow.string(), 1, [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"a\xff")]
)
"""Invalid UTF-8 in a text column."""


def test_only_the_column_of_texts_is_read(tmp_path: Path) -> None:
    far = pyarrow.array([2**60, 0, 1], pyarrow.timestamp("ms"))  # a date that Python cannot represent
    (tmp_path / "a.parquet").write_bytes(table(at=far, document=pyarrow.array(["one", None, "two"])))
    assert read_documents(tmp_path) == {"a.parquet": ["one", "two"]}


def test_records_may_have_a_group(tmp_path: Path) -> None:
    records = [
        {"text": "one", "group": 3},
        {"text": "two"},
        {"document": "three", "group": 3},
        {"text": "four", "group": "x"},
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    (tmp_path / "b.txt").write_text("five", encoding="utf-8")
    documents, groups = read_grouped_documents(tmp_path)
    assert documents == {"a.jsonl": ["one", "two", "three", "four"], "b.txt": ["five"]} == read_documents(tmp_path)
    assert groups == {
        "a.jsonl": {"one": "group 3", "three": "group 3", "four": "group x"},
        "b.txt": {},
    }
    (tmp_path / "a.jsonl").write_text('{"text": "one", "group": ["x"]}', encoding="utf-8")
    with pytest.raises(BadFile, match=r"a\.jsonl:1: 'group' must be a whole number or a text"):
        read_grouped_documents(tmp_path)


def test_a_separator_line_separates_documents(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("one\n\nstill <|endoftext|> one\n<|endoftext|>\n\ntwo\n<|endoftext|>\n \n", encoding="utf-8")
    assert read_documents(file) == {"a.txt": ["one\n\nstill <|endoftext|> one", "two"]}


def test_all_kinds_of_file_give_the_same_documents(tmp_path: Path) -> None:
    texts = ["Zwölf Boxkämpfer.\n\nEnde.", "two"]
    (tmp_path / "a.txt").write_bytes("\ufeffZwölf Boxkämpfer.\r\n\r\nEnde.\r\n<|endoftext|>\r\ntwo".encode())
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n\n" for text in texts), encoding="utf-8")
    (tmp_path / "c.txt.xz").write_bytes(lzma.compress((tmp_path / "a.txt").read_bytes()))
    pyarrow.parquet.write_table(pyarrow.table({"content": texts}), tmp_path / "d.parquet")
    (tmp_path / "f.parquet.xz").write_bytes(lzma.compress((tmp_path / "d.parquet").read_bytes()))
    (tmp_path / "e.png").write_bytes(b"\x89PNG")
    assert read_documents(tmp_path) == dict.fromkeys(
        ("a.txt", "b.jsonl", "c.txt.xz", "d.parquet", "f.parquet.xz"), texts
    )


def test_long_documents_are_cut_between_paragraphs_and_nothing_is_lost() -> None:
    paragraphs = [f"paragraph {number} " + "word " * (number % 7) for number in range(40)]
    text = "\n\n".join(part.strip() for part in paragraphs)
    parts = passages(text, 100)
    assert "\n\n".join(parts) == text
    assert max(len(part) for part in parts) <= 100
    assert passages(text, 0) == [text]
    lines = "\n".join(f"line {number}" for number in range(40))
    assert "\n".join(passages(lines, 50)) == lines
    assert max(map(len, passages(lines, 50))) <= 50


def test_a_json_text_may_contain_other_line_ends(tmp_path: Path) -> None:
    texts = ["one\u2028two\u2029three\x85four", "five"]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts), encoding="utf-8")
    assert read_documents(file) == {"a.jsonl": texts}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "there is no text in it"),
        ("a.txt", b" \n<|endoftext|>\n", "there is no text in it"),
        ("a.txt", b"abc\xff", "byte 3 cannot be read"),
        ("a.txt", b"PK\x03\x04\x00\x00", "a zero byte at character 4"),
        ("a.txt.xz", b"not xz", "damaged, or not compressed with xz"),
        ("a.txt.xz", lzma.compress(b"x" * 999)[:-20], "damaged, or not compressed with xz"),
        ("a.jsonl", b'{"text": "a"}\n{"text": ', ":2: not JSON"),
        ("a.jsonl", b'{"text": "a"}\n{"title": "b"}', ":2: expected a record with a text in one of text, content"),
        ("a.jsonl", b'{"text": 3}', ":1: expected a record"),
        ("a.jsonl", b'{"text": "a"}\n{"text": "b \\ud83d"}', ":2: the text contains \\ud83d, which is no character"),
        ("a.jsonl", b'{"text": "b \\u0000"}', ":1: the text contains \\u0000, which is no character"),
        ("a.jsonl", b"[" * 100_000, ":1: JSON that is nested too deeply"),
        ("a.parquet", b"PAR1", "not a parquet file"),
        ("a.parquet", table(title=pyarrow.array(["a"])), "expected a column text, content, document"),
        ("a.parquet", table(text=pyarrow.array([3])), ":1: expected a record with a text"),
        ("a.parquet", table(text=NO_UTF8), "not a parquet file, or damaged"),
        ("a.parquet", table(text=pyarrow.array([None, None], pyarrow.string())), "there is no text in it"),
        ("a.bin", b"x", "expected a .txt, .md, .jsonl, .parquet file"),
    ],
)
def test_files_without_text_are_refused_with_the_line(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadFile, match=r".") as error:
        read_documents(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert message in str(error.value)


def test_folders_without_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match="no text in it"):
        read_documents(tmp_path)
    with pytest.raises(ManticoreError, match="no such file or folder"):
        read_documents(tmp_path / "nowhere")
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "b" / "note.md").write_text("text", encoding="utf-8")
    with pytest.raises(BadFile, match=r"\.parquet files, and subfolders are not read; \S*b has some"):
        read_documents(tmp_path)


def test_notes_in_markdown_are_text_and_a_readme_beside_others_is_not(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# About", encoding="utf-8")
    assert read_documents(tmp_path) == {"README.md": ["# About"]}
    (tmp_path / "a.md").write_text("# One\n\n- two\n<|endoftext|>\nthree\n", encoding="utf-8")
    assert read_documents(tmp_path) == {"a.md": ["# One\n\n- two", "three"]}


def test_what_systems_and_editors_leave_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.txt").write_text("one")
    for name in ("._a.txt", "~$a.txt", ".b.jsonl", "#c.txt"):
        (tmp_path / name).write_bytes(b"\0\5\x16")
    (tmp_path / ".#a.txt").symlink_to("nowhere")
    for name in (".a.txt.swp", "a.txt~", "a.txt.tmp"):  # of another suffix
        (tmp_path / name).write_bytes(b"\0")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / "folder.txt").mkdir()
    assert read_documents(tmp_path) == {"a.txt": ["one"]}
    assert [record.message for record in caplog.records] == [
        f"{tmp_path}: passed over 5 files that a system or an editor has left there"
    ]


def test_what_has_no_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    (tmp_path / "zero.txt").symlink_to("/dev/zero")
    for name, message in (("pipe.txt", "pipes"), ("loop.txt", "a link that leads to no file"), ("zero.txt", "devices")):
        for path in (tmp_path / name, tmp_path):
            with pytest.raises(BadFile, match=message if path != tmp_path else "pipes|link"):
                read_documents(path)


def test_null_texts_are_left_out_of_records_as_of_tables(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": null, "group": 3}\nnull\n{"text": "b"}\n')
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", None, None, "b"]}), tmp_path / "b.parquet")
    assert read_documents(tmp_path) == {"a.jsonl": ["a", "b"], "b.parquet": ["a", "b"]}


def test_gzip_is_read_as_xz_is(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"one") + gzip.compress(b" and two"))
    assert read_documents(tmp_path) == {"a.txt.gz": ["one and two"]}
    for content in (b"not gzip", gzip.compress(b"x" * 999)[:-12], gzip.compress(b"x")[:10] + b"\xff" * 9):
        (tmp_path / "a.txt.gz").write_bytes(content)
        with pytest.raises(BadFile, match="damaged, or not compressed with gzip"):
            read_documents(tmp_path)


def test_the_same_text_in_other_characters_is_in_one_split(caplog: pytest.LogCaptureFixture) -> None:
    composed, decomposed = "Zwölf Boxkämpfer jagen", "Zwo\u0308lf Boxka\u0308mpfer\n  jagen "
    splits = DocumentSplits(["a", decomposed], ["b"], [composed]).drop_overlap("texts")
    assert (splits.train, splits.val, splits.test) == (["a"], ["b"], [composed])
    assert "dropped 1 documents of train" in caplog.text


def test_paragraphs_of_another_text_are_dropped() -> None:
    shared = "It is a truth universally acknowledged that a single man in possession of a good fortune"
    kept = "It is a truth universally acknowledged, that this is another sentence."
    documents = [f"{kept}\n\nAnd yet: {shared.upper()}, and so on.", shared, kept]
    assert drop_overlapping(documents, [f"Once. {shared}. Twice."]) == [kept, kept]
