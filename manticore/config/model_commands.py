"""The options of commands that use a finished model: chat and push."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from manticore.components.sources import check_folder, check_model
from manticore.config.generate import SamplingOptions
from manticore.errors import ManticoreError, shown
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


@dataclass(frozen=True, kw_only=True)
class PushCommand(Checked):
    """`manticore push`."""

    model: Path
    """Exported folder, or run folder, whose hybrid is published."""

    repo: str
    """Name on the hub, as user/name."""

    private: bool = False
    """Make a new repository private."""

    license: str | None = None
    """Identifier of the licence for the card, such as apache-2.0. Default: that of the card."""

    message: str = "Upload with manticore"
    """Message of the commit."""

    check: bool = True
    """First run the code in the card that loads the model, and with it the modeling files of the folder."""

    dry_run: bool = False
    """Show every file and the card, and send nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder(self.model, "push publishes a run folder or an exported folder")
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", self.repo):
            raise ManticoreError(f"a model on the hub is called user/name, not {shown(self.repo)}")
