"""A disk cache of generated arrays, keyed by the parameters they were generated from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from manticore.errors import BadFile, CannotWrite
from manticore.utils.arrays import Arrays, read_arrays
from manticore.utils.io import atomic_write

log = logging.getLogger("manticore.tasks")


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
        arrays = read_arrays(path)
    except BadFile as error:
        log.warning("%s; generating the data again", error)
        return None
    return arrays if str(arrays.pop("key", "")) == key else None
