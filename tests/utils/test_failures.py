"""Whatever library meets a full disk, the error names the file that was to be written; others are not changed."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from manticore.errors import CannotWrite, ManticoreError
from manticore.utils.failures import in_words, writing
from manticore.utils.io import atomic_dir, atomic_write, write_json, write_text
from tests.helpers.file_limit import file_limit

ROOM = 1 << 10
TEXT = "x" * 4 * ROOM


def _opened(save: Callable[[IO[bytes]], object]) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with file.open("wb") as stream:
            save(stream)

    return write


FILES: dict[str, Callable[[Path], object]] = {
    "text": lambda file: file.write_text(TEXT),
    "json": lambda file: file.write_text(json.dumps([TEXT])),
    "safetensors": lambda file: save_file({"x": torch.zeros(4 * ROOM)}, file),
    "torch": _opened(lambda stream: torch.save(torch.zeros(4 * ROOM), stream)),
    "numpy": _opened(lambda stream: np.save(stream, np.zeros(4 * ROOM))),
    "numpy archive": _opened(lambda stream: np.savez(stream, x=np.zeros(4 * ROOM))),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_without_room_is_named_and_not_left_behind(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "folder" / "target"
    with file_limit(ROOM), pytest.raises(CannotWrite) as raised, atomic_write(target) as part:
        FILES[kind](part)
    assert str(raised.value).startswith(f"{target} cannot be written: ")
    assert raised.value.exit_status == 1
    assert list((tmp_path / "folder").iterdir()) == []


def _save_tokenizer(folder: Path) -> None:
    core = Tokenizer(models.WordLevel({f"word-{index}": index for index in range(ROOM)}, unk_token="word-0"))
    PreTrainedTokenizerFast(tokenizer_object=core).save_pretrained(folder)


def _copy(folder: Path) -> None:
    source = folder.parent / "source"
    source.mkdir()
    (source / "large").write_bytes(TEXT.encode())
    with file_limit(ROOM):
        shutil.copytree(source, folder, dirs_exist_ok=True)


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "tokenizer": (_save_tokenizer, "target cannot be written: File too large"),
    "file in it": (lambda folder: write_json(folder / "a.json", [TEXT]), "target/a.json cannot be written: File too"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_folder_without_room_is_named_and_not_left_behind(kind: str, tmp_path: Path) -> None:
    write, message = FOLDERS[kind]
    with file_limit(ROOM), pytest.raises(CannotWrite, match=message), atomic_dir(tmp_path / "target") as part:
        write(part)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_without_room_has_the_reason_and_not_the_list_of_files(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite) as raised, atomic_dir(tmp_path / "target") as part:
        _copy(part)
    assert str(raised.value) == f"{tmp_path / 'target'} cannot be written: File too large"


def test_a_place_that_is_no_folder_is_an_error_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="a file has the name of its folder") as raised:
        write_text(tmp_path / "file" / "below.txt", "")
    assert raised.value.exit_status == 2


@pytest.mark.parametrize("error", [ValueError("a fault"), RuntimeError("a fault"), KeyboardInterrupt(), KeyError("x")])
def test_other_errors_are_not_changed(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as raised, writing(tmp_path / "target"):
        raise error
    assert raised.value is error


def test_an_error_of_another_file_is_not_changed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "target") as part:
        part.write_bytes((tmp_path / "nowhere").read_bytes())


def test_errors_of_libraries_and_of_the_machine_are_one_line(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"x" * 100)
    errors: list[tuple[Exception, int]] = [
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"), 2),
        (OSError(errno.ENOSPC, "No space left on device"), 1),
        (MemoryError("Unable to allocate 7 TiB"), 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"), 1),
        (ManticoreError("known"), 2),
    ]
    for read in (lambda: load_file(damaged), lambda: PreTrainedTokenizerFast(tokenizer_file=str(damaged))):
        with pytest.raises(Exception) as raised:
            read()
        errors.append((raised.value, 1))
    for error, status in errors:
        known = in_words(error)
        assert known is not None, error
        assert "\n" not in str(known)
        assert known.exit_status == status, error
    assert in_words(ValueError("a fault")) is None
    assert in_words(RuntimeError("a fault")) is None
    assert in_words(Exception("a fault")) is None
