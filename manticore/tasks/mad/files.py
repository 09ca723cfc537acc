"""Reads, checks and atomically writes the files of the MAD benchmark.

`t-CR_vs-16_sl-128_..._s-12345/{train,test}/{inputs,targets}.npy`; the name of the folder has the settings of its
content. A third split, `val`, is written here but not needed to read a folder.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.data_files import read_bytes, stored_file
from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Ids, Puzzle
from manticore.tasks.options import format_settings
from manticore.utils.io import atomic_dir, atomic_write

INPUTS, TARGETS = "inputs.npy", "targets.npy"

ABBREVIATIONS = {
    "vocab_size": ("vs", None),
    "seq_len": ("sl", None),
    "train": ("ntr", None),
    "test": ("nte", None),
    "k_motif_size": ("km", 1),
    "v_motif_size": ("vm", 1),
    "multi_query": ("mq", True),
    "frac_noise": ("fn", 0.0),
    "noise_vocab_size": ("nvs", 0),
    "num_tokens_to_copy": ("ntc", 0),
    "map_seed": ("s", None),
}
"""The abbreviation of each setting in the name of a folder, and its value there for tasks without it, in their
order."""

InputsTargets = tuple[Ids, Ids]
"""Inputs and targets, (N, L) each."""


def folder_name(code: str, puzzle: Puzzle, test: int, seed: int) -> str:
    """The name of the folder with a puzzle's files.

    Args:
        code: MAD's short name of the task.
        puzzle: its settings.
        test: number of test examples.
        seed: seed of the examples; a puzzle with a `map_seed` has that in the name instead.
    """
    settings = {"map_seed": seed, **asdict(puzzle), "test": test}
    values = {short: settings.get(key, default) for key, (short, default) in ABBREVIATIONS.items()}
    plain = {short: int(value) if isinstance(value, bool) else value for short, value in values.items()}
    return "_".join([f"t-{code}", *(f"{short}-{value}".replace(".", "#") for short, value in plain.items())])


def read_name(name: str) -> dict[str, str]:
    """The task (`t`) and the settings in the name of a folder, as text; empty for the name of another folder.

    MAD writes `mq-1` for every task, so it is not read as a setting.
    """
    if not name.startswith("t-"):
        return {}
    values = dict(pair.split("-", 1) for pair in name.split("_") if "-" in pair)
    settings = {key: values[short].replace("#", ".") for key, (short, _) in ABBREVIATIONS.items() if short in values}
    if settings.get("multi_query") == "1":
        del settings["multi_query"]
    return {"t": values["t"], **settings}


def find_folders(folder: Path, code: str) -> list[Path]:
    """`folder` if it contains the splits, else the folders of the task below it. Raises BadFile if there are none."""
    if (folder / "train").is_dir() or (folder / "test").is_dir():
        named_code = read_name(folder.name).get("t", code)
        if named_code != code:
            raise BadFile(folder, f"expected the task t-{code}, found t-{named_code}")
        return [folder]
    folders = sorted(path for path in folder.glob(f"t-{code}_*") if path.is_dir())
    if not folders:
        raise BadFile(folder, f"expected train and test with {INPUTS} and {TARGETS} in it, or a folder t-{code}_...")
    return folders


def write_splits(folder: Path, name: str, splits: Mapping[str, InputsTargets]) -> list[Path]:
    """Write inputs and targets of each split below `folder / name`; all files appear, or none.

    Returns the paths. Raises ManticoreError if the folder exists, and CannotWrite.
    """
    if folder.exists() and not folder.is_dir():
        raise ManticoreError(f"{folder} is not a folder")
    if (folder / name).exists():
        raise ManticoreError(f"{folder / name} exists and is not overwritten; choose another folder")
    with atomic_dir(folder / name) as unfinished:
        files = [
            _save(unfinished / split / file, array)
            for split, arrays in splits.items()
            for file, array in zip((INPUTS, TARGETS), arrays, strict=True)
        ]
    return [folder / name / file.relative_to(unfinished) for file in files]


def _save(path: Path, array: Ids) -> Path:
    with atomic_write(path) as unfinished, unfinished.open("wb") as stream:
        np.save(stream, array)
    return path


def read_split(folder: Path, puzzle: Puzzle, training: bool, limit: int | None = None) -> InputsTargets:
    """Inputs and targets (N, L) of one split. Each target is checked against the one that follows from the inputs.

    Args:
        folder: the folder of the two files.
        puzzle: the settings of the files.
        training: whether the targets are those of training.
        limit: number of examples to read from the top. Default: all.

    Raises:
        BadFile: an entry is not as expected (the message has its position), or there are fewer than `limit` examples.
    """
    inputs_NL = _read(folder / INPUTS, puzzle, limit)
    targets_NL = _read(folder / TARGETS, puzzle, limit, IGNORE)
    if len(inputs_NL) != len(targets_NL):
        raise BadFile(folder / TARGETS, f"expected {len(inputs_NL)} examples as in {INPUTS}, found {len(targets_NL)}")
    if puzzle.next_token and targets_NL[:, -1].min() == IGNORE:
        row = int(targets_NL[:, -1].argmin())
        raise BadFile(
            folder / TARGETS, f"at [{row}, {puzzle.length - 1}]: expected the last token's id, found {IGNORE}"
        )
    expected_NL = puzzle.inputs_and_targets(puzzle.full_sequences(inputs_NL, targets_NL), training)[1]
    for row, column in np.argwhere(expected_NL != targets_NL)[:1]:
        settings = format_settings(asdict(puzzle))
        expected = f"expected {expected_NL[row, column]}, which follows from the inputs with {settings}"
        raise BadFile(folder / TARGETS, f"at [{row}, {column}]: {expected}; found {targets_NL[row, column]}")
    return inputs_NL, targets_NL


def _read(path: Path, puzzle: Puzzle, limit: int | None, also: int | None = None) -> Ids:
    """An array of ids (N, L), in which `also` is valid too."""
    array, least = _load(path), limit or 1
    if array.ndim != 2 or array.shape[1] != puzzle.length:
        expected = f"(examples, {puzzle.length}), the shape with {format_settings(asdict(puzzle))}"
        raise BadFile(path, f"expected {expected}; found {array.shape}")
    if len(array) < least:
        raise BadFile(path, f"expected at least {least} examples, found {len(array)}")
    array = array[:limit]
    invalid_NL = ((array < 0) | (array >= puzzle.vocab_size)) & ((array != also) if also is not None else True)
    for row, column in np.argwhere(invalid_NL)[:1]:
        expected = f"an id of 0..{puzzle.vocab_size - 1}" + ("" if also is None else f" or {also}")
        raise BadFile(path, f"at [{row}, {column}]: expected {expected}, found {array[row, column]}")
    return array.astype(np.int64)


def _load(path: Path) -> NDArray[np.integer[Any]]:
    content = read_bytes(stored_file(path))
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # numpy, its parser of headers and zipfile raise different ones
        raise BadFile(path, f"expected a NumPy array ({' '.join(str(error).split())})") from None
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
        kind = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise BadFile(path, f"expected an array of integers, found {kind}")
    return array
