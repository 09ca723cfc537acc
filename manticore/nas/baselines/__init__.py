"""Hand-designed hybrids, to compare searched hybrids with. They have no components and no stages.

A baseline is a `Backbone`, (B, L, D) -> (B, L, D); `BaselineModel` adds an embedding and a head.
"""

from manticore.nas.baselines.blocks import Backbone
from manticore.nas.baselines.mambaformer import mambaformer
from manticore.nas.baselines.model import BaselineModel, TaskHead
from manticore.nas.baselines.registry import baselines, build
from manticore.nas.baselines.striped import striped

__all__ = ["Backbone", "BaselineModel", "TaskHead", "baselines", "build", "mambaformer", "striped"]
