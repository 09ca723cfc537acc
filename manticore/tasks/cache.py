"""Keeps generated arrays on disk under the parameters that made them. Knows nothing of what they mean."""

from __future__ import annotations

import hashlib
import json
import logging
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.utils.io import atomic_write

log = logging.getLogger("manticore.tasks")

Arrays = dict[str, NDArray[Any]]


def cached_arrays(folder: Path, name: str, parameters: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
    """The arrays that `make` returns, from disk if they were made with these parameters before.

    A file that cannot be read in full (its checksums are verified) is made again. A folder that cannot be written to
    costs a warning and the time to make the arrays next time.
    """
    key = json.dumps(parameters, sort_keys=True)
    path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    held = _read(path, key)
    if held is not None:
        return held
    arrays = make()
    kept: dict[str, Any] = {"key": np.array(key), **arrays}
    try:
        with atomic_write(path) as part, part.open("wb") as stream:
            np.savez(stream, **kept)
    except OSError as error:
        log.warning("generated data is not kept, %s cannot be written: %s", path, error)
    return arrays


def _read(path: Path, key: str) -> Arrays | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        if str(arrays.pop("key")) == key:
            return arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        log.warning("%s is damaged (%s); generating the data again", path, error)
    return None
