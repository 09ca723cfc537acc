"""Both sides of a law run the same kernels, so that equal can mean equal to the bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from manticore.kernels import install, uninstall


@pytest.fixture(autouse=True)
def same_kernels(plain_kernels: None) -> Iterator[None]:
    """Installs the kernels in the models of transformers with which hybrids are compared."""
    install()
    yield
    uninstall()
