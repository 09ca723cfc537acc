"""Hand-designed hybrids that a searched one has to beat. Knows nothing of components, stages or search.

A baseline is a `Backbone`, (B, L, D) -> (B, L, D); `BaselineModel` puts an embedding before it and a head behind it.
"""

from manticore.baselines.blocks import Backbone
from manticore.baselines.mambaformer import mambaformer
from manticore.baselines.striped import striped
from manticore.baselines.table import baselines, build
from manticore.baselines.with_head import BaselineModel, TaskHead

__all__ = ["Backbone", "BaselineModel", "TaskHead", "baselines", "build", "mambaformer", "striped"]
