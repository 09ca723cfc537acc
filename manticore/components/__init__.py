"""Components: the table of families, the catalog of names, loading and cutting.

Names are imported when they are first used, so the catalog can be read without importing torch or transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from manticore.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from manticore.components.catalog import CATALOG as CATALOG
    from manticore.components.catalog import CatalogEntry as CatalogEntry
    from manticore.components.component import Component as Component
    from manticore.components.component import layer_boundaries as layer_boundaries
    from manticore.components.families import Family as Family
    from manticore.components.families import family_of as family_of
    from manticore.components.loading import Scratch as Scratch
    from manticore.components.loading import load as load
    from manticore.components.spec import BlockSize as BlockSize
    from manticore.components.spec import ComponentSpec as ComponentSpec

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "catalog": ("CATALOG", "CatalogEntry"),
        "component": ("Component", "layer_boundaries"),
        "families": ("Family", "family_of"),
        "loading": ("Scratch", "load"),
        "spec": ("BlockSize", "ComponentSpec"),
    },
)
