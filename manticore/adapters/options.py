"""Section `adapter` of a recipe: which adapter is trained, where, and what else trains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from manticore.utils.fields import Checked

SEARCHED = "searched-more"
"""Name of the adapter whose size is chosen for each layer."""

TRIALS = "more-trials"
"""Name of the adapter whose size, one for all layers, is chosen by trials."""

LADDER = "ladder"
"""Name of the adapter that is a network beside the model, and changes no weight."""


@dataclass(frozen=True)
class AdapterOptions(Checked):
    """Training of adapters in place of the weights that they change."""

    name: str | None = None
    """Adapter: more (Monarch factors), searched-more (their sizes chosen for each layer), more-trials (one size, chosen
    by trials), lora (low rank), mos (low rank, of shared shards), corda (low rank, from the inputs of the layer),
    neuroada (the largest weights of each row), s2ft (some input channels), sara (the smallest weights), lt-sft (those
    that move most), sparse (some at random) or ladder (a network beside the hybrid). Default: none, all weights are
    trained."""

    targets: tuple[str, ...] = ()
    """Linear layers with an adapter, by the last parts of their names, such as q_proj or mlp.c_fc. Default: every
    linear layer of the components that is large enough; of s2ft, those that write to the stream."""

    options: dict[str, Any] = field(default_factory=dict)
    """Options of the adapter: blocks and rank of more; configurations, cost_weight, lr and share of searched-more; rank
    and alpha of lora; k of neuroada; share and group of s2ft; share, nuclear_weight and refresh_at of sara; share and
    select_at of lt-sft; share of sparse; rank, budget, private and shard of mos; rank and mode of corda; reduction
    and cache_gb of ladder; configurations, max_parameters, steps and baselines of more-trials."""

    freeze: Literal["components", "targets", "all"] = "components"
    """What is not trained: components (all weights of the components; adapters, projectors, ops, new heads and, on
    labelled tasks, embeddings are trained), targets (only the weights that have an adapter) or all (all weights: the
    adapters alone are trained, so that those of several trainings can be added up)."""
