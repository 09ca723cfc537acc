"""The options of commands that use a finished model: chat."""

from __future__ import annotations

from dataclasses import dataclass

from manticore.components.sources import check_model
from manticore.config.generate import SamplingOptions
from manticore.utils.fields import Checked


@dataclass(frozen=True, kw_only=True)
class ChatCommand(Checked):
    """`manticore chat`."""

    model: str
    """Exported folder, run folder, or a component (manticore ls models)."""

    sampling: SamplingOptions = SamplingOptions(max_new_tokens=256, temperature=0.8, top_p=0.95)
    """How tokens are chosen; /params changes it."""

    trust_code: bool = False
    """Run the code that the hybrid's folder holds for ops and other parts of your own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model(self.model)
