"""Numbers as text."""

from __future__ import annotations

import pytest

from manticore.utils.formatting import byte_size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 MiB"),
        (340 * 2**20, "340 MiB"),
        (1023.4 * 2**20, "1023 MiB"),
        (1023.6 * 2**20, "1.0 GiB"),
        (1.2e9, "1.1 GiB"),
        (12 * 2**30, "12.0 GiB"),
    ],
)
def test_bytes_have_binary_units(value: float, text: str) -> None:
    assert byte_size(value) == text
