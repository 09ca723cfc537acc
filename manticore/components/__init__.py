"""Components: the table of families, the catalog of names, loading and cutting.

Names are looked up when first used, so that a look at the catalog imports neither torch nor transformers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manticore.components.catalog import CATALOG as CATALOG
    from manticore.components.catalog import Entry as Entry
    from manticore.components.component import Component as Component
    from manticore.components.component import cuts as cuts
    from manticore.components.families import Family as Family
    from manticore.components.families import Size as Size
    from manticore.components.families import family_of as family_of
    from manticore.components.loading import Scratch as Scratch
    from manticore.components.loading import load as load

_HOMES = {
    "catalog": ("CATALOG", "Entry"),
    "component": ("Component", "cuts"),
    "families": ("Family", "Size", "family_of"),
    "loading": ("Scratch", "load"),
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_WHERE)
