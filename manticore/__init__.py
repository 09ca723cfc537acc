"""Take language models that exist, cut them into stages, search who runs each stage, get one Hugging Face checkpoint.

    import manticore as mc
    result = mc.search(mc.SearchSpace(["gpt-neo", "mamba"], stages=4), "lra-listops", out="runs/first")
    result.architecture.words(), result.metrics, result.hybrid, result.path

Importing this package is cheap: names are looked up when first used. From then on
`AutoModelForCausalLM.from_pretrained(folder)` reads hybrids without remote code.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from manticore.autoclasses import announce

if TYPE_CHECKING:
    from manticore import register as register
    from manticore.api import Result as Result
    from manticore.api import load as load
    from manticore.api import search as search
    from manticore.architecture import Architecture as Architecture
    from manticore.errors import ManticoreError as ManticoreError
    from manticore.space import ComponentSpec as ComponentSpec
    from manticore.space import SearchSpace as SearchSpace
    from manticore.supernet import Supernet as Supernet

__version__ = "0.1.0"

_HOMES = {
    "Architecture": "architecture",
    "ComponentSpec": "space",
    "ManticoreError": "errors",
    "Result": "api",
    "SearchSpace": "space",
    "Supernet": "supernet",
    "load": "api",
    "search": "api",
}

announce()


def __getattr__(name: str) -> Any:
    if name == "register":
        return import_module("manticore.register")
    if name not in _HOMES:
        raise AttributeError(f"module 'manticore' has no attribute '{name}'")
    return getattr(import_module(f"manticore.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOMES, "__version__", "register"])
