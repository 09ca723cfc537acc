"""One colour per component, the same in every picture. The colours themselves are in page.css."""

from __future__ import annotations

import re
from collections.abc import Sequence

from manticore.components.spec import SKIP
from manticore.report.markup import Html, el, joined

SHADES = 8


class Colours:
    """CSS variables by candidate: `var(--c0)` for base, then one after another, grey for skip.

    Args:
        candidates: names in the order of the legend.
    """

    def __init__(self, candidates: Sequence[str]) -> None:
        self.candidates = tuple(candidates)
        named = [name for name in candidates if name != SKIP]
        self._of = {name: f"var(--c{place % SHADES})" for place, name in enumerate(named)}

    def __getitem__(self, name: str) -> str:
        return self._of.get(name, "var(--skip)" if name == SKIP else "var(--ink)")

    def of_phase(self, phase: str) -> str:
        """The colour of a phase or row that belongs to one component; ink for all others."""
        alone = re.fullmatch(r"alone[ -](.+)|(.+) alone", phase)
        return self[alone[1] or alone[2]] if alone else "var(--ink)"

    def legend(self) -> Html:
        """Names beside their colours."""
        keys = (el("span", el("i", style=f"background:{self[name]}"), name, class_="key") for name in self.candidates)
        return el("p", joined(*keys), class_="legend")
