"""The adapters of this package, registered by importing their files."""

from __future__ import annotations

from manticore.adapters import lora, more, neuroada, s2ft, sara, searched  # noqa: F401
from manticore.adapters.base import adapters, check_options

__all__ = ["adapters", "check_options"]
