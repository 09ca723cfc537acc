"""Closed-form translators between pretrained components: which text, which regressions, which kinds of projector."""

from manticore.alignment.batches import CalibrationBatch, DonorTokens
from manticore.alignment.fit import CalibrationBatches, StageFit, fit_projectors

__all__ = ["CalibrationBatch", "CalibrationBatches", "DonorTokens", "StageFit", "fit_projectors"]
