"""Closed-form projectors between pretrained components: calibration text, ridge regressions, projector sets."""

from manticore.alignment.calibration import Calibration, CalibrationBatch, DonorTokens, build_calibration
from manticore.alignment.fit import StageFit, fit_projectors

__all__ = ["Calibration", "CalibrationBatch", "DonorTokens", "StageFit", "build_calibration", "fit_projectors"]
