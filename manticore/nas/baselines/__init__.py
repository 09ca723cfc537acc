"""Hand-designed hybrids that a searched one has to beat. Knows nothing of components, stages or search.

A baseline is a `Backbone`, (B, L, D) -> (B, L, D); `BaselineModel` puts an embedding before it and a head behind it.
"""

from manticore.nas.baselines.blocks import Backbone
from manticore.nas.baselines.mambaformer import mambaformer
from manticore.nas.baselines.model import BaselineModel, TaskHead
from manticore.nas.baselines.registry import baselines, build
from manticore.nas.baselines.striped import striped

__all__ = ["Backbone", "BaselineModel", "TaskHead", "baselines", "build", "mambaformer", "striped"]
