"""What `manticore align` is asked to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class AlignOptions:
    """What `manticore align` is asked for.

    Attributes:
        models: aliases, hub ids or local folders.
        base: who lends embedding, stream, norm and head; None: the first model.
        stages: number of stages.
        text: files, or folders of files, as the `text` task reads them.
        tokens: base tokens to fit on, about.
        length: base tokens of a passage.
        steps: gradient steps after the closed form.
        projector: linear or low-rank.
        projector_options: such as `rank`, and `bypass`.
        seed: of the paths that gradient steps draw.
    """

    models: Sequence[str]
    text: Sequence[Path]
    base: str | None = None
    stages: int = 4
    tokens: int = 16384
    length: int = 256
    steps: int = 0
    projector: str = "linear"
    projector_options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
