"""Sections and results that are added to a model card after the model was exported."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from manticore.utils.io import write_text

CARD = "README.md"
LAST_SECTIONS = ("Limitations", "Citation")
"""Sections before which new ones are put."""


def update_card(folder: Path, change: Callable[[str], str]) -> bool:
    """Change the card of an exported folder. Returns False, and does nothing, if there is no card."""
    file = folder / CARD
    if not file.exists():
        return False
    write_text(file, change(file.read_text(encoding="utf-8")))
    return True


def put_section(card: str, title: str, body: str) -> str:
    """A card with a section: in place of the one of this title, else before limitations and citation.

    Args:
        card: the card as Markdown.
        title: heading of the second level.
        body: Markdown without headings of that level.
    """
    section = f"## {title}\n\n{body.strip()}\n"
    existing = re.search(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", card, re.MULTILINE | re.DOTALL)
    if existing:
        rest = card[existing.end() :]
        return f"{card[: existing.start()]}{section}{chr(10) if rest else ''}{rest}"
    for following in LAST_SECTIONS:
        if (at := card.find(f"\n## {following}\n")) >= 0:
            return f"{card[: at + 1]}{section}\n{card[at + 1 :]}"
    return f"{card.rstrip()}\n\n{section}"


def put_results(card: str, name: str, results: Sequence[EvalResult]) -> str:
    """A card whose front matter has these results of an evaluation, in place of older ones of the same tests.

    Args:
        card: the card as Markdown.
        name: name of the model in its model index, if the card has none.
        results: scores.
    """
    parsed: Any = ModelCard(card, ignore_metadata_errors=True)
    old = parsed.data.eval_results or []
    new = {(result.dataset_name, result.metric_name or result.metric_type) for result in results}
    parsed.data.model_name = parsed.data.model_name or name
    parsed.data.eval_results = [
        *(result for result in old if (result.dataset_name, result.metric_name or result.metric_type) not in new),
        *results,
    ]
    return str(parsed)
