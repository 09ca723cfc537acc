"""Output in any encoding, and to a pipe that is closed early; both in processes of their own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from manticore.utils.console import info, make_console
from manticore.utils.streams import PLAIN, allow_any_encoding
from tests.helpers.cli import call


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_signs_and_any_character_are_printed_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    allow_any_encoding()
    print("".join(PLAIN), "世 \udcff")
    sys.stdout.flush()
    text = raw.getvalue().decode(encoding)
    if encoding == "ascii":
        assert text == '+-|x--...->^2"" \\u4e16 \\udcff\n'
    for sign in PLAIN:
        assert (sign in text) == (sign.encode(encoding, "ignore") != b"")


def test_the_users_own_choice_for_such_characters_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="replace"))
    info(make_console(), "1 ± 2")
    sys.stdout.flush()
    assert raw.getvalue() == b"1 ? 2\n"


def test_a_console_prints_to_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    info(make_console(), "loss 1 ± 2 · 3 tokens/s")
    sys.stdout.flush()
    assert raw.getvalue() == b"loss 1 +- 2 | 3 tokens/s\n"


@pytest.mark.parametrize("args", [["ls"], ["show", "recipe"], ["--help"], ["search", "--help"]], ids=" ".join)
def test_a_pipe_that_is_closed_early_is_no_error(args: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)  # as `head` does when it has its lines
    command = [sys.executable, "-m", "manticore.cli", *args]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_console_tells_of_a_closed_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with pytest.raises(BrokenPipeError):
        info(make_console(), "a line")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_an_output_without_room_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "manticore.cli", "ls"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "manticore: error: the output or a file cannot be written: No space left on device\n"


def test_commands_end_with_their_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "ls", "configs")[0] == 0
    assert call(capsys, "ls", "nothing")[0] == 2
    assert call(capsys, "--help")[0] == 0
