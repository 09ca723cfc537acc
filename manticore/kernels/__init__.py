"""Selective scans: one function, several backends, and a switch that lends it to transformers' Mamba.

Knows nothing of models, stages or search. Nothing heavy is imported until a scan runs.
"""

from manticore.kernels.conv import causal_conv1d, causal_conv1d_update
from manticore.kernels.dispatch import BACKENDS
from manticore.kernels.hf_patches.install import install, installed, is_installed, uninstall
from manticore.kernels.scan import selective_scan
from manticore.kernels.ssd import ssd_scan
from manticore.kernels.update import selective_state_update

__all__ = [
    "BACKENDS",
    "causal_conv1d",
    "causal_conv1d_update",
    "install",
    "installed",
    "is_installed",
    "selective_scan",
    "selective_state_update",
    "ssd_scan",
    "uninstall",
]
