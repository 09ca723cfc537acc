"""Lend our selective scan to transformers' own Mamba, and take it back. The only file that knows transformers' names.

transformers picks a scan once, at import, from an installed `mamba_ssm` or from the `kernels` package, and offers no
other door; so the module global that `MambaMixer.forward` looks up (5.17 to 5.23) is replaced. On anything but the CPU,
and while torch traces or compiles, the call goes on to the function found there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.jit._trace import is_tracing

from manticore.errors import ManticoreError
from manticore.kernels.scan import selective_scan

_MODULE = "transformers.models.mamba.modeling_mamba"


def _scan(u: Tensor, *args: Any, use_mambapy: bool = False, use_associative_scan: bool = False, **kwargs: Any) -> Any:
    """Ours under transformers' signature; its two extra flags choose among its own scans and mean nothing here."""
    return selective_scan(u, *args, **kwargs)


_REPLACEMENTS: dict[str, Callable[..., Any]] = {"mamba_selective_scan": _scan}
_is_tracing: Callable[[], bool] = is_tracing
_originals: dict[str, Callable[..., Any]] = {}


def _on_cpu(ours: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is `ours` for CPU tensors and `original` for the rest; the first argument decides."""

    @wraps(original)
    def route(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        traced = torch.compiler.is_compiling() or _is_tracing()
        return (original if x.device.type != "cpu" or traced else ours)(x, *args, **kwargs)

    return route


def _mamba() -> ModuleType:
    module = import_module(_MODULE)
    for name in _REPLACEMENTS:
        if not hasattr(module, name):
            raise ManticoreError(f"{_MODULE} has no '{name}'; allowed: transformers 5.17 to 5.23.")
    return module


def is_installed() -> bool:
    """Whether transformers' Mamba now runs our scan."""
    return bool(_originals)


def install() -> None:
    """Make every Mamba of transformers, built before or after, scan with ours on the CPU. Again changes nothing."""
    if _originals:
        return
    module = _mamba()
    for name, ours in _REPLACEMENTS.items():
        _originals[name] = getattr(module, name)
        setattr(module, name, _on_cpu(ours, _originals[name]))


def uninstall() -> None:
    """Give transformers its own scan back. Without `install` before it, changes nothing."""
    module = import_module(_MODULE) if _originals else None
    while _originals:
        setattr(module, *_originals.popitem())


@contextmanager
def installed() -> Iterator[None]:
    """`install` inside a `with` block; after it, whatever was before."""
    before = is_installed()
    install()
    try:
        yield
    finally:
        if not before:
            uninstall()
