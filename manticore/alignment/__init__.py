"""Closed-form translators between pretrained components: which text, which regressions, which kinds of projector."""

from manticore.alignment.closed_form import Readings, StageFit, align
from manticore.alignment.reading import Foreign, Reading

__all__ = ["Foreign", "Reading", "Readings", "StageFit", "align"]
