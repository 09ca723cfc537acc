"""The official files: byte for byte as released; malformed lines are reported with their number."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.lra.listops.files import FILES, find_files, read_file, write_files
from manticore.tasks.lra.listops.generate import generate
from manticore.tasks.lra.listops.grammar import Grammar

HEADER = b"Source\tTarget\r\n"
GOOD = b"( ( ( ( [MAX 4 ) 9 ) 5 ) ] )\t9\r\n"


def splits(count: int = 30) -> dict[str, list[tuple[bytes, int]]]:
    drawn = generate(Grammar(4, 40), count)
    return {"train": drawn[: count // 3], "val": drawn[count // 3 : 2 * count // 3], "test": drawn[2 * count // 3 :]}


def test_the_released_format_is_written_byte_for_byte(tmp_path: Path) -> None:
    expression = (bytes([11, 4, 9, 5, 14]), 9)
    paths = write_files(tmp_path / "new", {split: [expression] for split in FILES})
    assert [path.name for path in paths] == ["basic_train.tsv", "basic_val.tsv", "basic_test.tsv"]
    assert all(path.read_bytes() == HEADER + GOOD for path in paths)
    assert sorted(entry.name for entry in (tmp_path / "new").iterdir()) == sorted(FILES.values())


def test_reading_and_writing_are_inverse(tmp_path: Path) -> None:
    written = splits()
    write_files(tmp_path / "a", written)
    read = {split: read_file(path) for split, path in find_files(tmp_path / "a").items()}
    assert read == written
    write_files(tmp_path / "b", read)
    for name in FILES.values():
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_unix_line_ends_and_a_last_line_without_one_are_read(tmp_path: Path) -> None:
    file = tmp_path / "basic_test.tsv"
    file.write_bytes((HEADER + GOOD).replace(b"\r\n", b"\n").rstrip())
    assert read_file(file) == [(bytes([11, 4, 9, 5, 14]), 9)]


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "header"),
        (b"Source,Target\r\n" + GOOD, 1, "header"),
        (GOOD, 1, "header"),
        (HEADER + GOOD + b"3\r\n", 3, "2 columns Source<tab>Target, found 1"),
        (HEADER + b"3\t3\t3\r\n", 2, "2 columns Source<tab>Target, found 3"),
        (HEADER + b"\r\n", 2, "2 columns"),
        (HEADER + GOOD + GOOD + b"( ( ( [FIRST 4 ) 9 ) ] )\t4\r\n", 4, r"expected one of .*found '\[FIRST'"),
        (HEADER + b"( ( ( [MAX 4 ) 9 )\t9\r\n", 2, "balanced"),
        (HEADER + b"( ( ( [MAX 4 ) 9 ) ] ) )\t9\r\n", 2, "parentheses"),
        (HEADER + b"\t9\r\n", 2, "one expression"),
        (HEADER + b"7\t10\r\n", 2, "digit 0-9, found '10'"),
        (HEADER + b"7\t\r\n", 2, "digit 0-9"),
        (HEADER + b"7\tx\r\n", 2, "digit 0-9, found 'x'"),
        (HEADER + b"7\t\xc2\xb2\r\n", 2, "digit 0-9"),
        (HEADER + GOOD + b"( ( ( [MED 3 ) 4 ) ] )\t4\r\n", 3, "expected the Target 3, .*found 4"),
    ],
)
def test_a_malformed_line_is_reported(tmp_path: Path, content: bytes, line: int, message: str) -> None:
    file = tmp_path / "basic_val.tsv"
    file.write_bytes(content)
    with pytest.raises(BadFile, match=message) as failure:
        read_file(file)
    assert str(failure.value).startswith(f"{file}:{line}: ")
    assert "\n" not in str(failure.value)


def test_unreadable_files_are_reported(tmp_path: Path) -> None:
    file = tmp_path / "basic_val.tsv"
    with pytest.raises(BadFile, match=r"basic_val\.tsv: cannot be read"):
        read_file(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadFile, match="UTF-8"):
        read_file(file)
    file.write_bytes(HEADER)
    with pytest.raises(BadFile, match="at least 1 examples, found 0"):
        read_file(file)


def test_a_limit_reads_from_the_top_and_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "basic_val.tsv"
    file.write_bytes(HEADER + b"7\t7\r\n" + b"not read\r\n")
    assert read_file(file, limit=1) == [(b"\x07", 7)]
    file.write_bytes(HEADER + b"7\t7\r\n")
    with pytest.raises(BadFile, match="at least 2 examples, found 1"):
        read_file(file, limit=2)


def test_the_archive_layout_is_found_and_a_missing_file_reported(tmp_path: Path) -> None:
    inside = tmp_path / "lra_release" / "lra_release" / "listops-1000"
    write_files(inside, splits())
    assert find_files(tmp_path)["test"] == inside / "basic_test.tsv"
    (inside / "basic_val.tsv").unlink()
    with pytest.raises(BadFile, match=r"basic_val\.tsv: no such file"):
        find_files(tmp_path)
    with pytest.raises(BadFile, match=r"basic_train\.tsv: no such file"):
        find_files(tmp_path / "nowhere")


def test_nothing_is_overwritten_or_left_half_written(tmp_path: Path) -> None:
    (tmp_path / "basic_test.tsv").write_text("mine")
    with pytest.raises(ManticoreError, match=r"basic_test\.tsv exists"):
        write_files(tmp_path, splits())
    assert [entry.name for entry in tmp_path.iterdir()] == ["basic_test.tsv"]
    with pytest.raises(ManticoreError, match="is not a folder"):
        write_files(tmp_path / "basic_test.tsv", splits())
    with pytest.raises(ManticoreError, match="cannot be written: Not a directory"):
        write_files(tmp_path / "basic_test.tsv" / "below", splits())
    broken = {**splits(), "test": [(b"\x0e", 1)]}
    with pytest.raises(ManticoreError, match="balanced"):
        write_files(tmp_path / "new", broken)
    assert list((tmp_path / "new").iterdir()) == []
