"""How much text models can see at once, and a task's options that ask for no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from transformers import AutoConfig

from manticore.components.families import family_of
from manticore.components.loading import folder_of
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.runs.hybrids import reaches
from manticore.space import ComponentSpec
from manticore.tasks.base import TaskOptions, sheets
from manticore.tasks.catalog import sheet_of


def within(options: TaskOptions, reaches: Iterable[int | None]) -> TaskOptions:
    """The options, with shorter chunks where some model has fewer positions than the preset's chunks have tokens.

    Args:
        options: of any task; only text is cut into chunks, and what the user set stays as it is.
        reaches: positions that models have, None for no limit.

    Raises as `sheet_of` does.
    """
    if options.base not in sheets or "length" in options.settings:  # tasks of text have a sheet before they have data
        return options
    sheet = sheet_of(options)
    if sheet.kind != "lm":
        return options
    least = min((limit for limit in reaches if limit is not None), default=sheet.max_length)
    if least >= sheet.max_length:
        return options
    return replace(options, name=f"{options.name}{',' if options.settings else '@'}length={least}")


def reach_of(spec: ComponentSpec) -> int | None:
    """Absolute positions of a component in a local folder, by its config; None for no limit, or where none can be read.

    What is wrong with the folder is said when it is loaded.
    """
    folder = None if spec.init == "scratch" else folder_of(spec)
    if folder is None:
        return None
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        absolute = family_of(config).anatomy.positions is not None
    except Exception:  # transformers, hub and JSON each have their own
        return None
    limit = getattr(config, "max_position_embeddings", None) if absolute else None
    return limit if isinstance(limit, int) and limit > 1 else None


def reach_of_hybrid(config: HybridConfig) -> int | None:
    """Positions of a hybrid's components that have absolute ones, the least; None for no limit."""
    absolute = {name for name, held in config.components.items() if held["anatomy"]["positions"] is not None}
    return min((limit for name, limit in reaches(config).items() if name in absolute), default=None)
