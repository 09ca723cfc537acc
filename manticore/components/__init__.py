"""Components: the table of families, the catalog of names, loading and cutting."""

from manticore.components.catalog import CATALOG, Entry
from manticore.components.component import Component, cuts
from manticore.components.families import Family, Size, families, family_of
from manticore.components.loading import Scratch, load

__all__ = ["CATALOG", "Component", "Entry", "Family", "Scratch", "Size", "cuts", "families", "family_of", "load"]
