"""NumPy archives (.npz) as this package writes them: not compressed, without objects."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from manticore.errors import BadFile

Arrays = dict[str, NDArray[Any]]


def read_arrays(file: Path) -> Arrays:
    """The arrays of an archive by name, in at most the memory of the file.

    Raises BadFile if it cannot be read, is damaged or compressed, has objects, or arrays of more bytes than it stores.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                _check_size(archive, entry)
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except Exception as error:  # numpy, zipfile and zlib raise different ones
        raise BadFile(file, f"damaged ({type(error).__name__}: {error})") from None


def _check_size(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Raises ValueError unless an array is stored as it is, with the number of bytes that its header names."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("compressed")
    with archive.open(entry) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
        if math.prod(shape) * dtype.itemsize != entry.file_size - stream.tell():
            raise ValueError(f"an array of the shape {shape} in {entry.file_size:,} bytes")
