"""The adapters of this package, registered by importing their files."""

from __future__ import annotations

from manticore.adapters import corda, ladder, lora, lt_sft, more, mos, neuroada, s2ft, sara, searched, sparse  # noqa: F401
from manticore.adapters.base import adapters, check_needs_no_inputs, check_options

__all__ = ["adapters", "check_needs_no_inputs", "check_options"]
