"""One color per component, the same in every chart of a page. The values of the CSS variables are in style.css."""

from __future__ import annotations

import re
from collections.abc import Sequence

from manticore.components.spec import SKIP

INK = "var(--ink)"
MUTED = "var(--muted)"
PAPER = "var(--paper)"
ACCENT = "var(--accent)"
GREY = "var(--grey)"
COMPONENT_COLORS = 8


class Palette:
    """The CSS color of each candidate: `var(--c0)` for the first, `var(--c1)` for the second, grey for skip.

    Args:
        candidates: names in the order of the legend, the base model first.
    """

    def __init__(self, candidates: Sequence[str]) -> None:
        self.candidates = tuple(candidates)
        components = [name for name in candidates if name != SKIP]
        self._colors = {name: f"var(--c{index % COMPONENT_COLORS})" for index, name in enumerate(components)}

    def __getitem__(self, name: str) -> str:
        return self._colors.get(name, GREY if name == SKIP else INK)

    def of_phase(self, phase: str) -> str:
        """The color of a phase or table row that trains one component alone, such as `mamba alone`; else ink."""
        alone = re.fullmatch(r"alone[ -](.+)|(.+) alone", phase)
        return self[alone[1] or alone[2]] if alone else INK

    @property
    def legend(self) -> list[tuple[str, str]]:
        """(name, color) of every candidate."""
        return [(name, self[name]) for name in self.candidates]
