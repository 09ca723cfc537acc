"""Lend our kernels to transformers' own models, and take them back.

transformers picks its kernels once, at import, from an installed `mamba_ssm` or from the `kernels` package, and has no
other door: so the names its layers look up are replaced while ours are lent. What is replaced, and by what, is said
by one file for each family (`mamba`, `gpt_neo`), the only ones that know transformers' names.
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
_lenders = 0
_always = False
_originals: list[tuple[Any, str, Callable[..., Any]]] = []


@cache
def _patches() -> tuple[Patch, ...]:
    return (*mamba.patches(), *gpt_neo.patches())


@lru_cache(maxsize=64)
def _replacement(patch: Patch, original: Callable[..., Any]) -> Callable[..., Any]:
    """Ours in place of `original`; made once, since every segment of a hybrid borrows anew."""
    return patch.replace(original)


def _lend() -> None:
    global _lenders
    with _lock:
        if not _lenders:
            for patch in _patches():
                original = patch.original()
                setattr(patch.owner, patch.name, _replacement(patch, original))
                _originals.append((patch.owner, patch.name, original))
        _lenders += 1


def _give_back() -> None:
    global _lenders
    with _lock:
        _lenders -= 1
        while not _lenders and _originals:
            owner, name, original = _originals.pop()
            setattr(owner, name, original)


def is_installed() -> bool:
    """Whether transformers' layers now run our kernels."""
    return bool(_originals)


def install() -> None:
    """Make every Mamba, Mamba-2 and GPT-Neo of transformers, built before or after, run our kernels.

    A second call changes nothing. Raises ManticoreError where transformers lacks a name that is to be replaced.
    """
    global _always
    if not _always:
        _lend()
        _always = True


def uninstall() -> None:
    """Give transformers its own kernels back. Without `install` before it, changes nothing."""
    global _always
    if _always:
        _always = False
        _give_back()


@contextmanager
def installed() -> Iterator[None]:
    """Our kernels inside a `with` block; after it, whatever was before. Blocks may overlap in several threads."""
    _lend()
    try:
        yield
    finally:
        _give_back()
