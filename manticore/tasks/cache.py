"""A disk cache of generated arrays, keyed by the parameters they were generated from."""

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

from manticore.errors import CannotWrite
from manticore.utils.io import atomic_write

log = logging.getLogger("manticore.tasks")

Arrays = dict[str, NDArray[Any]]


def cached_arrays(folder: Path, name: str, parameters: Mapping[str, Any], generate: Callable[[], Arrays]) -> Arrays:
    """The arrays of `generate`, read from `folder` if they were generated from equal parameters before.

    A file that fails its checksums is generated again. If the folder cannot be written to, a warning is logged.
    """
    key = json.dumps(parameters, sort_keys=True)
    path = folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
    cached = _read(path, key)
    if cached is not None:
        return cached
    arrays = generate()
    content: dict[str, Any] = {"key": np.array(key), **arrays}
    try:
        with atomic_write(path) as unfinished, unfinished.open("wb") as stream:
            np.savez(stream, **content)
    except (OSError, CannotWrite) as error:
        log.warning("generated data is not cached: %s", error)
    return arrays


def _read(path: Path, key: str) -> Arrays | None:
    if not path.is_file():
        return None
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if str(arrays.pop("key")) == key:
            return arrays
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        log.warning("%s is damaged (%s); generating the data again", path, error)
    return None
