"""Install the kernels in transformers, and uninstall them.

transformers chooses its kernels once, at import, from an installed `mamba_ssm` or from the `kernels` package, and has
no option for others. The names that its layers look up are therefore replaced while the kernels are installed. The
replacements are in one file for each family (`mamba`, `gpt_neo`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from threading import Lock
from typing import Any

from manticore.kernels.hf_patches import gpt_neo, mamba
from manticore.kernels.hf_patches.patch import Patch

_lock = Lock()
_users = 0  # open `installed` blocks, plus one for `install`
_by_install = False
_originals: list[tuple[Any, str, Callable[..., Any]]] = []


@cache
def _patches() -> tuple[Patch, ...]:
    return (*mamba.patches(), *gpt_neo.patches())


@lru_cache(maxsize=64)
def _replacement(patch: Patch, original: Callable[..., Any]) -> Callable[..., Any]:
    """The function that replaces `original`. It is cached because every segment of a hybrid installs the kernels."""
    return patch.replace(original)


def _acquire() -> None:
    """Add a user; the first one patches transformers."""
    global _users
    with _lock:
        if not _users:
            for patch in _patches():
                original = patch.original()
                setattr(patch.owner, patch.name, _replacement(patch, original))
                _originals.append((patch.owner, patch.name, original))
        _users += 1


def _release() -> None:
    """Remove a user; after the last one transformers has its own functions again."""
    global _users
    with _lock:
        _users -= 1
        while not _users and _originals:
            owner, name, original = _originals.pop()
            setattr(owner, name, original)


def is_installed() -> bool:
    """Whether transformers' layers run this package's kernels now."""
    return bool(_originals)


def remains_installed() -> bool:
    """Whether `install` was called, so that the kernels stay installed after all `installed` blocks have ended."""
    return _by_install


def install() -> None:
    """Make all Mamba layers of transformers, also those of hybrids, and GPT-Neo run the kernels, existing models too.

    A second call has no effect. Raises ManticoreError if transformers lacks a name that is replaced.
    """
    global _by_install
    if not _by_install:
        _acquire()
        _by_install = True


def uninstall() -> None:
    """Undo `install`. Without it, the call has no effect."""
    global _by_install
    if _by_install:
        _by_install = False
        _release()


@contextmanager
def installed() -> Iterator[None]:
    """Install the kernels in a `with` block. Blocks may overlap in several threads."""
    _acquire()
    try:
        yield
    finally:
        _release()
