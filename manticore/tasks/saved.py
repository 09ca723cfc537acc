"""Folders of examples that were in memory: plain files, and `task.json` with a hash that shows whether they changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.data_files import find_data_files
from manticore.utils.io import atomic_dir, read_json, write_json

FILE = "task.json"
"""Name of the file with a hash of the examples, and for labelled examples the names of the labels."""


def save_examples(folder: Path, write: Callable[[Path], object], facts: Mapping[str, Any]) -> bool:
    """Write examples into a new folder, atomically.

    Args:
        folder: the folder; if it has the same examples already, it is not changed.
        write: writes the `.jsonl` files into a folder.
        facts: further entries of `task.json`.

    Returns whether the folder is new. Raises ManticoreError if it holds other examples.
    """
    with atomic_dir(folder) as part:
        write(part)
        digest = digest_of(part)
        if folder.is_dir():
            check_saved(folder)
            if digest_of(folder) != digest:
                raise ManticoreError(
                    f"{folder} holds other examples than these; resume with the same data, or choose another folder"
                )
            return False
        write_json(part / FILE, {"format": 1, "hash": digest, **facts})
    return True


def check_saved(path: Path) -> dict[str, Any]:
    """The entries of `task.json` in a folder; empty if there is none.

    Raises BadFile if it is no such file, or the examples have changed since they were written.
    """
    file = path / FILE
    if not file.is_file():
        return {}
    facts = read_json(file)
    if not isinstance(facts, dict) or facts.get("format") != 1:
        raise BadFile(file, 'expected an object with "format": 1')
    if "hash" in facts and facts["hash"] != digest_of(path):
        raise BadFile(path, f"its files are not those that were written (by the hash in {FILE}); restore them")
    return facts


def digest_of(folder: Path) -> str:
    """BLAKE2b over names and bytes of the `.jsonl` files in a folder, compressed ones included. Raises BadFile."""
    digest = hashlib.blake2b(digest_size=16)
    for file in find_data_files(folder, (".jsonl",), log_others=False):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return f"blake2b:{digest.hexdigest()}"
