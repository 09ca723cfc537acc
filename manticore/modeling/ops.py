"""Ops: modules of a user's own that run a stage. Their output is added to the residual stream, `y = h + op(h)`.

An op maps (B, L, D) to an update (B, L, D). It does not see padding: the branch moves the tokens of every sequence
together, to the left, and the update of padding is 0. So an op that counts positions counts tokens alone.

For generation an op may have a state of its own, with the two methods

    init_cache(batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]
    step(x_B1D: Tensor, cache: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]

`init_cache` returns the state before the first token: tensors whose first dimension is the batch and whose shapes never
change. `step` takes the next token of each sequence and returns its update (B, 1, D), equal to that of `forward`, and
the new state. Without these methods the cache keeps the inputs of the stage, and every new token runs the op on all of
them again.

Parameters, Linear and Conv1d modules count in the cost of a path. What an op computes without weights, such as products
of queries and keys, counts if it has a method `mixing_flops(length: int) -> float`, in operations per token.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

from .masking import needed_mask
from .registered import find_registered
from .segments import Context

__all__ = [  # besides the definitions of this file, the names that the source of a user's own op may use
    "OPS",
    "F",
    "OpBranch",
    "OpCache",
    "Tensor",
    "build_op",
    "math",
    "nn",
    "op",
    "torch",
]

OPS: dict[str, Callable[..., nn.Module]] = {}
"""Classes and functions `(width, **options) -> nn.Module` by name."""

Factory = TypeVar("Factory", bound=Callable[..., nn.Module])


def op(name: str) -> Callable[[Factory], Factory]:
    """Decorator that registers a class or function `(width, **options) -> nn.Module` as an op."""

    def register(factory: Factory) -> Factory:
        OPS[name] = factory
        return factory

    return register


def build_op(record: dict[str, Any], width: int) -> nn.Module:
    """The module of an op on a stream of `width` features.

    `record` has `factory`, its name in `OPS`, and `options`. Raises ValueError if the factory is not registered.
    """
    module: nn.Module = find_registered("op", record["factory"], OPS)(width, **record.get("options", {}))
    return module


def has_cache(module: nn.Module) -> bool:
    """Whether an op has a state of its own for generation."""
    return callable(getattr(module, "init_cache", None)) and callable(getattr(module, "step", None))


class OpCache(CacheLayerMixin):
    """What an op's stage keeps for generation, as a layer of a Hugging Face cache.

    Args:
        stepwise: whether the op has a state of its own. Otherwise the inputs of the stage are kept.

    Attributes:
        tensors: the state by name, or `inputs` (B, past, D); empty before the first token.
    """

    def __init__(self, stepwise: bool) -> None:
        super().__init__()
        self.tensors: dict[str, Tensor] = {}
        self.is_croppable = not stepwise

    def extend(self, h_BLD: Tensor) -> Tensor:
        """Keep more inputs, and return all: (B, L, D) -> (B, past + L, D)."""
        past = self.tensors.get("inputs")
        self.tensors["inputs"] = h_BLD if past is None else torch.cat([past, h_BLD], dim=1)
        return self.tensors["inputs"]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Does nothing: the tensors are created from the first input."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Raises NotImplementedError: there are no keys and values."""
        raise NotImplementedError("the cache of an op has no keys and values")

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Number of past and new inputs, and the offset 0. Masks of a hybrid come from its own cache instead."""
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        """Number of inputs that are kept; 0 for a state."""
        return self.tensors["inputs"].shape[1] if "inputs" in self.tensors else 0

    def get_max_length(self) -> int:
        """No maximum: -1."""
        return -1

    def reset(self) -> None:
        """Remove all tensors."""
        self.tensors = {}

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last n inputs, passed as `-n`. Raises ValueError for a state, which does not keep the past."""
        if tokens_to_remove and not self.is_croppable:
            raise ValueError("the state of an op cannot take tokens back: it does not keep the past")
        if tokens_to_remove and self.tensors:
            self.tensors["inputs"] = self.tensors["inputs"][:, :tokens_to_remove]

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keep the rows `beam_idx`, in this order."""
        self.tensors = {name: rows.index_select(0, beam_idx.to(rows.device)) for name, rows in self.tensors.items()}


class OpBranch(nn.Module):
    """`y = h + op(h)`.

    Args:
        module: the op, (B, L, D) -> (B, L, D).
        stage: index of the stage, from 0.
        causal: whether the op's output at a position depends on that position and earlier ones alone. One that is not
            causal sees padding as zeros behind the tokens, and gets the argument `mask`, (B, L) True for tokens or None
            where all are tokens, if its `forward` has it.

    Attributes:
        stepwise: whether generation advances a state of the op, instead of running it on all inputs.
        gradient_checkpointing: keep only the op's input and compute the rest again in the backward pass. False unless
            set.
    """

    def __init__(self, module: nn.Module, stage: int, causal: bool = True) -> None:
        super().__init__()
        self.op = module
        self.stage = stage
        self.causal = causal
        self.stepwise = causal and has_cache(module)
        self.takes_mask = not causal and "mask" in inspect.signature(module.forward).parameters
        self.gradient_checkpointing = False

    def mixing_flops(self, length: int) -> float:
        """Operations per token without those of Linear and Conv1d modules, by the op's own method of this name."""
        count = getattr(self.op, "mixing_flops", None)
        return 0.0 if count is None else float(count(length))

    def new_cache(self) -> Cache:
        """An empty cache of this stage."""
        return Cache(layers=[OpCache(self.stepwise)])

    def forward(self, h_BLD: Tensor, context: Context, weight: Tensor | None = None) -> Tensor:
        cache = context.cache(self.stage)
        if cache is None:
            return h_BLD + self._without_padding(h_BLD, context.attention_mask)
        layer: OpCache = cache.layers[0]
        if self.stepwise:
            return h_BLD + self._steps(h_BLD, context.attention_mask, layer)
        return h_BLD + self._without_padding(layer.extend(h_BLD), context.attention_mask)[:, -h_BLD.shape[1] :]

    def _without_padding(self, h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The op on the tokens of each sequence, moved to the left; the update of padding is 0."""
        mask = needed_mask(attention_mask) if self.causal else attention_mask
        if mask is None or bool(mask.all()):  # a causal op does not see padding on the right
            return self._run(h_BLD, None)
        token_BL = mask.bool()
        order_BL = torch.argsort(~token_BL, dim=-1, stable=True)
        index_BLD = order_BL.unsqueeze(-1).expand_as(h_BLD)
        packed_BL = token_BL.gather(1, order_BL)
        packed_BLD = h_BLD.gather(1, index_BLD).masked_fill(~packed_BL.unsqueeze(-1), 0)
        update_BLD = self._run(packed_BLD, packed_BL).masked_fill(~packed_BL.unsqueeze(-1), 0)
        return torch.zeros_like(update_BLD).scatter(1, index_BLD, update_BLD)

    def _run(self, x_BLD: Tensor, token_BL: Tensor | None) -> Tensor:
        options = {"mask": token_BL} if self.takes_mask else {}
        recompute = self.gradient_checkpointing and torch.is_grad_enabled()
        run: Any = partial(checkpoint, self.op, use_reentrant=False) if recompute else self.op
        update_BLD: Tensor = run(x_BLD, **options)
        return update_BLD

    def _steps(self, h_BLD: Tensor, attention_mask: Tensor | None, layer: OpCache) -> Tensor:
        """Token by token; a sequence whose token is padding keeps its state."""
        module: Any = self.op
        rows, length = h_BLD.shape[:2]
        if not layer.tensors:
            layer.tensors = module.init_cache(rows, h_BLD.device, h_BLD.dtype)
        token_BL = None if attention_mask is None else attention_mask[:, -length:].bool()
        updates = []
        for index in range(length):
            is_token = None if token_BL is None or bool(token_BL[:, index].all()) else token_BL[:, index]
            before = {} if is_token is None else {name: state.clone() for name, state in layer.tensors.items()}
            update_B1D, layer.tensors = module.step(h_BLD[:, index : index + 1], layer.tensors)
            if is_token is not None:
                update_B1D = update_B1D.masked_fill(~is_token.view(-1, 1, 1), 0)
                layer.tensors = {
                    name: torch.where(is_token.view(-1, *[1] * (state.dim() - 1)), state, before[name])
                    for name, state in layer.tensors.items()
                }
            updates.append(update_B1D)
        return torch.cat(updates, dim=1)
