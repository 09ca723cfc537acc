"""Selective scans: one function, several backends, and a switch that lends it to transformers' Mamba.

Knows nothing of models, stages or search. Nothing heavy is imported until a scan runs.
"""

from manticore.kernels.dispatch import BACKENDS
from manticore.kernels.install import install, installed, is_installed, uninstall
from manticore.kernels.scan import selective_scan

__all__ = ["BACKENDS", "install", "installed", "is_installed", "selective_scan", "uninstall"]
