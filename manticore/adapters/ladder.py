"""Ladder side-tuning (arXiv 2206.06522): a small network beside a frozen hybrid, trained on cached streams.

The gradients end in the side network, so a step needs no backward pass through the stages, and for sequences whose
streams are cached no forward pass either. A ladder cannot be merged into weights: it is kept beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.adapters.base import adapted_layers, adapters
from manticore.adapters.ladder_net import SideNetwork
from manticore.adapters.options import LADDER, AdapterOptions
from manticore.components.head_logits import head_logits
from manticore.errors import ManticoreError
from manticore.modeling.heads import Head
from manticore.modeling.modeling_manticore import HybridForCausalLM, HybridWithHead
from manticore.utils.fields import Checked, NonNegativeFloat, PositiveInt
from manticore.utils.module_state import eval_mode


@dataclass(frozen=True)
class LadderOptions(Checked):
    """Options of a ladder."""

    reduction: PositiveInt = 8
    """Width of the stream as a multiple of the width of the side network."""

    cache_gb: NonNegativeFloat = 1.0
    """Largest memory of cached streams, in GiB; sequences beyond it run through the hybrid again."""


class Ladder:
    """The entry of ladders in the table of adapters."""

    Options: ClassVar[type] = LadderOptions
    needs_inputs: ClassVar[bool] = True


_entry: Any = Ladder
adapters.register(LADDER)(_entry)


def ladder_of(net: nn.Module) -> SideNetwork | None:
    """The ladder of a hybrid; None if it has none."""
    ladder = getattr(getattr(net, "model", None), "ladder", None)
    return ladder if isinstance(ladder, SideNetwork) else None


def attach_ladder(net: nn.Module, options: AdapterOptions, settings: LadderOptions) -> None:
    """Freeze a hybrid, and put a side network beside it. The head of a labelled task is trained unless `freeze` is all.

    Raises ManticoreError if the model is no hybrid with a head, or has adapters or a ladder.
    """
    if not isinstance(net, HybridForCausalLM | HybridWithHead):
        raise ManticoreError("a ladder is for the fine-tuning of hybrids: manticore finetune --adapter ladder")
    if adapted_layers(net) or ladder_of(net) is not None:
        raise ManticoreError("the model has adapters already; merge them first, or take a hybrid without a ladder")
    if options.targets:
        raise ManticoreError("adapter.targets does not go with ladder, which reads the stream of every stage")
    net.requires_grad_(False)
    if options.freeze != "all":
        for part in net.modules():
            if isinstance(part, Head):
                part.requires_grad_(True)
    stream, output = net.config.hidden_size, net.model.base_config.hidden_size
    ladder = SideNetwork(len(net.model.stages), stream, max(1, stream // settings.reduction), output)
    ladder.to(next(net.parameters())).install(net)


def detach_ladder(net: Any) -> SideNetwork:
    """Take the ladder off a hybrid, which then is as it was without it. Returns the ladder."""
    ladder = ladder_of(net)
    assert ladder is not None
    for handle in ladder._handles:
        handle.remove()
    del net.model.ladder
    net.requires_grad_(True)
    return ladder


class CachedLadderLoss:
    """The loss of a training of a ladder: cross-entropy in nats of the scored labels, from cached streams.

    The streams of a sequence are computed once, without gradients and dropout, and kept in memory. A sequence is known
    by its tokens.

    Args:
        limit: largest memory of the streams, in bytes.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.size = 0
        self.misses = 0
        self._streams: dict[bytes, Tensor] = {}

    def __call__(self, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of a batch with `input_ids`, `attention_mask` and `labels`."""
        logits = self.logits(model, batch["input_ids"], batch["attention_mask"]).float()
        return F.cross_entropy(logits.flatten(0, -2), batch["labels"].flatten())

    def logits(self, model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The logits of a hybrid with a ladder, as its forward pass has them without dropout."""
        ladder = ladder_of(model)
        assert ladder is not None
        ladder.states = list(self.streams(model, input_ids, attention_mask).unbind(1))
        h_BLD = model.model.norm(ladder.states[-1][..., : ladder.sizes["output"]])
        ladder.states = []
        return head_logits(model, h_BLD, attention_mask)

    def streams(self, model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The stream before and after every stage, (B, S + 1, L, D), 0 at padding."""
        lengths = attention_mask.sum(1).tolist()
        padded_left = bool((attention_mask[:, 1:] > attention_mask[:, :-1]).any())
        keys = [row[: int(size)].cpu().numpy().tobytes() for row, size in zip(input_ids, lengths, strict=True)]
        missing = [index for index, key in enumerate(keys) if padded_left or key not in self._streams]
        computed: dict[int, Tensor] = {}
        if missing:
            self.misses += len(missing)
            rows = self._compute(model, input_ids[missing], attention_mask[missing])
            computed = dict(zip(missing, rows, strict=True))
        width = input_ids.shape[1]
        streams = []
        for index, (key, size) in enumerate(zip(keys, lengths, strict=True)):
            if index in computed:
                stream = computed[index]
                if not padded_left:
                    self._keep(key, stream[:, : int(size)])
            else:
                stream = self._streams[key].to(input_ids.device)
            streams.append(F.pad(stream, (0, 0, 0, width - stream.shape[1])))
        return torch.stack(streams)

    def _compute(self, model: Any, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        ladder = ladder_of(model)
        assert ladder is not None
        with torch.no_grad(), eval_mode(model):
            model.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        streams, ladder.states = torch.stack(ladder.states, dim=1), []
        return streams

    def _keep(self, key: bytes, stream: Tensor) -> None:
        size = stream.numel() * stream.element_size()
        if key not in self._streams and self.size + size <= self.limit:
            self._streams[key] = stream.cpu().clone()
            self.size += size


def ladder_loss(options: AdapterOptions) -> CachedLadderLoss:
    """The loss of the training of a ladder by the options of a recipe."""
    settings = LadderOptions(**options.options)
    return CachedLadderLoss(settings.cache_gb * 2**30)
