"""Text, JSON and YAML with byte order marks, long numbers and deep nesting: read, or refused in one line."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from manticore.config.loading import from_dotted, read_yaml
from manticore.errors import BadFile, ManticoreError, UnknownName, shown
from manticore.nas.space import SearchSpace
from manticore.tasks.data_files import read_text
from manticore.tasks.language.corpora import _read_eli5
from manticore.tasks.language.documents import read_documents
from manticore.tasks.lra.listops.files import read_file as read_listops
from manticore.tasks.lra.retrieval import read_file as read_retrieval
from manticore.tasks.lra.text import read_folder as read_reviews
from manticore.tasks.options import TaskOptions
from manticore.utils.io import read_json
from manticore.utils.text_files import decode_text, parse_json
from manticore.utils.yaml_loading import load_yaml

MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}

READERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "recipe": ("a.yaml", "task: {name: text}\n", read_yaml),
    "search space": ("a.yaml", "components: [gpt-neo, mamba]\n", SearchSpace.load),
    "json": ("a.json", '{"a": [1, 2.5, null]}', read_json),
    "text": ("a.txt", "caf\u00e9\n", read_documents),
    "lines of JSON": ("a.jsonl", '{"text": "caf\u00e9"}\n{"text": "b"}\n', read_documents),
    "prompt": ("a.md", "caf\u00e9", read_text),
    "questions": ("eli5.jsonl", '{"question": "why", "answer": "so"}\n', _read_eli5),
}
UTF_8_ONLY: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "listops": ("basic_train.tsv", "Source\tTarget\r\n7\t7\r\n", read_listops),
    "retrieval": ("a.tsv", "1.0\t1\t2\ta text\tanother\n", read_retrieval),
}


@pytest.mark.parametrize("kind", READERS | UTF_8_ONLY)
@pytest.mark.parametrize("encoding", MARKS)
def test_a_byte_order_mark_is_no_part_of_the_text(kind: str, encoding: str, tmp_path: Path) -> None:
    if kind in UTF_8_ONLY and encoding != "utf-8":
        pytest.skip("benchmark files are read as UTF-8")
    name, text, read = (READERS | UTF_8_ONLY)[kind]
    plain, marked = tmp_path / "plain" / name, tmp_path / "marked" / name
    for file in (plain, marked):
        file.parent.mkdir()
    plain.write_bytes(text.encode())
    marked.write_bytes(MARKS[encoding] + text.encode(encoding))
    assert read(marked) == read(plain)


def test_a_review_with_a_mark_starts_with_its_text(tmp_path: Path) -> None:
    for label in ("neg", "pos"):
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "0.txt").write_bytes(codecs.BOM_UTF8 + b"fine")
    assert [text for text, _ in read_reviews(tmp_path, "train")] == [b"fine", b"fine"]


def test_bytes_that_are_no_text_are_named_by_their_index(tmp_path: Path) -> None:
    with pytest.raises(BadFile, match=r"a\.txt: not UTF-8 text \(byte 2 cannot be read\)"):
        decode_text(b"ab\xff", "a.txt")
    with pytest.raises(BadFile, match="not UTF-16 text"):
        decode_text(codecs.BOM_UTF16_LE + b"a", "a.txt")
    with pytest.raises(BadFile, match="cannot be read \\(Is a directory"):
        read_yaml(tmp_path)


LONG = "9" * 5000


def test_a_record_with_a_very_long_number_is_json(tmp_path: Path) -> None:
    assert parse_json(f'{{"a": {LONG}, "b": -{LONG}, "c": 12}}', "f") == {"a": math.inf, "b": -math.inf, "c": 12}
    (tmp_path / "a.jsonl").write_text(f'{{"text": "fine", "id": {LONG}}}\n')
    assert read_documents(tmp_path / "a.jsonl") == {"a.jsonl": ["fine"]}
    (tmp_path / "a.json").write_text(f"[{LONG}]")
    assert read_json(tmp_path / "a.json") == [math.inf]


def test_json_that_is_nested_too_deeply_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "fine"}\n' + "[" * 100_000 + "\n")
    with pytest.raises(BadFile, match=r"a\.jsonl:2: JSON that is nested too deeply"):
        read_documents(tmp_path / "a.jsonl")
    (tmp_path / "a.jsonl").write_text("{text}\n")
    with pytest.raises(BadFile, match=r"a\.jsonl:1: not JSON"):
        read_documents(tmp_path / "a.jsonl")


EXTREME = {
    "long number": f"search: {{steps: {LONG}}}",
    "long hexadecimal number": f"search: {{steps: 0x{'f' * 5000}}}",
    "no date": "task: {name: 2026-13-45}",
    "deep list": "search: " + "[" * 1_200,
    "deep mapping": "search: " + "{a: " * 500 + "1" + "}" * 500,
    "endless": "search: &a {steps: *a}",
    "many values": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
}


@pytest.mark.parametrize("kind", EXTREME)
def test_an_extreme_recipe_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(EXTREME[kind])
    for read in (read_yaml, SearchSpace.load):
        with pytest.raises(BadFile, match="not YAML") as raised:
            read(file)
        assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    "setting", [f"search.steps={LONG}", f"search.steps={'[' * 1200}", f"{'a.' * 5000}a=1", "task.name=2026-13-45"]
)
def test_an_extreme_setting_is_refused_in_one_line(setting: str) -> None:
    with pytest.raises(ManticoreError) as raised:
        from_dotted([setting])
    assert len(str(raised.value)) < 300


def test_ordinary_yaml_is_what_pyyaml_reads() -> None:
    text = "a: [1, 2.5, .inf, true, null, text, 2026-11-29]\nb: &b {c: 1}\nd: *b\n"
    assert load_yaml(text) == yaml.safe_load(text)
    assert load_yaml("1e-3") == 0.001


def test_a_long_number_after_at_is_refused() -> None:
    with pytest.raises(ManticoreError, match="'length' of text must be 2 to") as raised:
        TaskOptions(f"text@length={LONG}").int_setting("length", 3, range(2, 10))
    assert len(str(raised.value)) < 200


def test_messages_have_no_number_that_python_cannot_write() -> None:
    assert shown(16**5000) == "a whole number of about 6,021 digits"
    assert "a whole number of about 6,021 digits" in str(UnknownName("key", 16**5000, ["steps"]))
    assert len(str(UnknownName("key", "x" * 100_000, ["steps"]))) < 200
