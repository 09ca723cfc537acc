"""MAD's files: writes them whole or not at all, reads and checks them.

`t-CR_vs-16_sl-128_..._s-12345/{train,test}/{inputs,targets}.npy`, a folder's name being the settings of what it holds.
To the two parts of the release we add `val`, which is not needed to read. Knows nothing of splits, nor of models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Puzzle, Whole, told
from manticore.utils.io import atomic_write

PARTS = ("train", "val", "test")
INPUTS, TARGETS = "inputs.npy", "targets.npy"

# In the order of a folder's name, after the task; with what stands there for a task without such a setting.
SHORT = {
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

Posed = tuple[Whole, Whole]


def folder_name(code: str, puzzle: Puzzle, test: int, seed: int) -> str:
    """The name of the folder with a puzzle's files; `code` is MAD's short name of the task.

    The seed is that of the examples, except where a puzzle has one that decides more (its `map_seed`).
    """
    held = {"map_seed": seed, **asdict(puzzle), "test": test}
    words = {short: held.get(key, default) for key, (short, default) in SHORT.items()}
    plain = {short: int(value) if isinstance(value, bool) else value for short, value in words.items()}
    return "_".join([f"t-{code}", *(f"{short}-{value}".replace(".", "#") for short, value in plain.items())])


def read_name(name: str) -> dict[str, str]:
    """The task (`t`) and the settings that a folder's name tells, as a user writes them; none if it is not such a name.

    MAD writes `mq-1` whether it is so or not, so that 1 tells nothing.
    """
    if not name.startswith("t-"):
        return {}
    words = dict(part.split("-", 1) for part in name.split("_") if "-" in part)
    found = {key: words[short].replace("#", ".") for key, (short, _) in SHORT.items() if short in words}
    if found.get("multi_query") == "1":
        del found["multi_query"]
    return {"t": words["t"], **found}


def find_folders(folder: Path, code: str) -> list[Path]:
    """`folder` if it has the parts in it, else the folders of the task below it. Raises BadFile if there are none."""
    if (folder / "train").is_dir() or (folder / "test").is_dir():
        told_code = read_name(folder.name).get("t", code)
        if told_code != code:
            raise BadFile(folder, f"expected the task t-{code}, found t-{told_code}")
        return [folder]
    found = sorted(path for path in folder.glob(f"t-{code}_*") if path.is_dir())
    if not found:
        raise BadFile(folder, f"expected train and test with {INPUTS} and {TARGETS} in it, or a folder t-{code}_...")
    return found


def write_parts(folder: Path, name: str, parts: Mapping[str, Posed]) -> list[Path]:
    """Write inputs and targets of each part below `folder / name`; all files appear, or none.

    Returns the paths. Raises ManticoreError if the folder exists or cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ManticoreError(f"{folder} is not a folder")
    if (folder / name).exists():
        raise ManticoreError(f"{folder / name} exists and is not overwritten; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".t-") as unfinished:
            files = [
                _save(Path(unfinished) / name / part / file, array)
                for part, arrays in parts.items()
                for file, array in zip((INPUTS, TARGETS), arrays, strict=True)
            ]
            (Path(unfinished) / name).rename(folder / name)
    except OSError as error:
        raise ManticoreError(f"cannot write to {folder}: {error}") from None
    return [folder / file.relative_to(unfinished) for file in files]


def _save(path: Path, array: Whole) -> Path:
    with atomic_write(path) as part, part.open("wb") as stream:
        np.save(stream, array)
    return path


def read_part(folder: Path, puzzle: Puzzle, training: bool, limit: int | None = None) -> Posed:
    """Inputs and targets (N, L) of one part, each target checked against what follows from the inputs.

    Args:
        folder: with the two files.
        puzzle: what they hold.
        training: whether targets are those of training.
        limit: number of examples to read from the top; all by default.

    Raises:
        BadFile: with the place and what was expected there; also if there are fewer than `limit` examples.
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
    expected_NL = puzzle.pose(puzzle.whole(inputs_NL, targets_NL), training)[1]
    for row, column in np.argwhere(expected_NL != targets_NL)[:1]:
        wanted = f"expected {expected_NL[row, column]}, which follows from the inputs with {told(asdict(puzzle))}"
        raise BadFile(folder / TARGETS, f"at [{row}, {column}]: {wanted}; found {targets_NL[row, column]}")
    return inputs_NL, targets_NL


def _read(path: Path, puzzle: Puzzle, limit: int | None, beside: int | None = None) -> Whole:
    """An array of ids (N, L); `beside` may stand in it too."""
    array, least = _load(path), limit or 1
    if array.ndim != 2 or array.shape[1] != puzzle.length:
        wanted = f"(examples, {puzzle.length}), the shape with {told(asdict(puzzle))}"
        raise BadFile(path, f"expected {wanted}; found {array.shape}")
    if len(array) < least:
        raise BadFile(path, f"expected at least {least} examples, found {len(array)}")
    array = array[:limit]
    wrong_NL = ((array < 0) | (array >= puzzle.vocab_size)) & ((array != beside) if beside is not None else True)
    for row, column in np.argwhere(wrong_NL)[:1]:
        wanted = f"an id of 0..{puzzle.vocab_size - 1}" + ("" if beside is None else f" or {beside}")
        raise BadFile(path, f"at [{row}, {column}]: expected {wanted}, found {array[row, column]}")
    return array.astype(np.int64)


def _load(path: Path) -> NDArray[np.integer[Any]]:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise BadFile(path, "no such file") from None
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise BadFile(path, f"expected a NumPy array ({' '.join(str(error).split())})") from None
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.integer):
        kind = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise BadFile(path, f"expected an array of integers, found {kind}")
    return array
