"""Tests an op before a search: shapes, independence of sequences, causality, its cache, and that it can be saved.

A module that does not meet one of these requirements would train well and then fail, or compute wrong outputs, in the
exported model. All tests run on random inputs, once with the weights of a new module and once with random weights,
since weights that start at zero hide which inputs an op reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from manticore.errors import ManticoreError
from manticore.modeling.ops import has_cache
from manticore.nas.op import Op
from manticore.nas.op_modules import build_module, register_ops

ROWS = 2
MAX_LENGTH = 128
"""Largest number of tokens of the random sequences; an op that reads further ahead than this is not detected."""

TOLERANCE = 1e-4
"""Largest difference between outputs that must be equal, relative to the largest output."""


def check_ops(ops: Sequence[Op], widths: Sequence[int], head_kind: str, length: int) -> None:
    """Check the ops of a search space.

    Args:
        ops: the ops.
        widths: widths of the streams that they may run on.
        head_kind: kind of the task; `lm` needs causal ops.
        length: tokens of the task's longest sequence.

    Raises ManticoreError with the name of the op and the requirement that it does not meet. The random state of torch
    is restored.
    """
    for op in register_ops(ops, head_kind).values():
        for width in sorted(set(widths)):
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                torch.manual_seed(0)
                _check(op, width, max(4, min(length, MAX_LENGTH)))


def _check(op: Op, width: int, length: int) -> None:
    label = f"op '{op.name}'"
    module = _built(op, width, label)
    _check_state(module, label)
    for weights in ("new", "random"):
        if weights == "random":
            for parameter in module.parameters():
                if parameter.is_floating_point():
                    parameter.add_(0.2 * torch.randn_like(parameter))
        x_BLD = torch.randn(ROWS, length, width)
        y_BLD = _run(module, x_BLD, label)
        if not bool(y_BLD.isfinite().all()):
            if weights == "new":
                raise ManticoreError(f"the output of {label} is not finite")
            continue  # random weights may be out of the range of an op
        _check_rows(module, x_BLD, y_BLD, label)
        if op.causal:
            _check_causal(module, x_BLD, y_BLD, label)
            _check_cache(module, x_BLD, y_BLD, label)
    if not op.causal and has_cache(module):
        raise ManticoreError(f"{label} has a cache and is not causal; a state cannot know later tokens")


def _built(op: Op, width: int, label: str) -> nn.Module:
    try:
        module = build_module(op, width)
    except ManticoreError:
        raise
    except Exception as error:  # the code of a user may raise anything
        raise ManticoreError(f"{label} cannot be built for width {width}: {_reason(error)}") from None
    try:
        with torch.device("meta"):
            build_module(op, width)
    except Exception as error:
        raise ManticoreError(
            f"{label} cannot be built without data, on torch's meta device, as transformers does to load a "
            f"checkpoint: {_reason(error)}"
        ) from None
    return module.eval()


def _check_state(module: nn.Module, label: str) -> None:
    """Raises ManticoreError if a tensor of the module would not be saved: transformers then cannot load it."""
    saved = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}  # which nn.LSTM also keeps in a list
    for name, part in module.named_modules():
        attributes = (key for key, value in vars(part).items() if _has_tensor(value, saved))
        lost = [*part._non_persistent_buffers_set, *attributes]
        if lost:
            path = ".".join(filter(None, [name, lost[0]]))
            raise ManticoreError(
                f"{label} keeps a tensor that is not saved with its weights ({path}), and so is lost in a checkpoint; "
                "make it a parameter, a persistent buffer, or compute it in forward"
            )


def _has_tensor(value: Any, saved: set[int]) -> bool:
    """Whether a value is, or a list contains, a tensor that is not among the saved ones."""
    if isinstance(value, list | tuple):
        return any(_has_tensor(item, saved) for item in value)
    return isinstance(value, Tensor) and id(value) not in saved


def _run(module: nn.Module, x_BLD: Tensor, label: str) -> Tensor:
    for inputs in (x_BLD[:, :1].clone(), x_BLD.clone()):
        before = inputs.clone()
        try:
            y_BLD = module(inputs)
        except Exception as error:
            shape = tuple(inputs.shape)
            raise ManticoreError(f"{label} fails on an input of shape {shape}: {_reason(error)}") from None
        if not torch.equal(before, inputs):
            raise ManticoreError(f"{label} changes its input in place, and all candidates of a stage read it")
        if not isinstance(y_BLD, Tensor) or y_BLD.shape != inputs.shape:
            what = tuple(y_BLD.shape) if isinstance(y_BLD, Tensor) else type(y_BLD).__name__
            raise ManticoreError(f"{label} maps {tuple(inputs.shape)} to {what}; its update must have the same shape")
    out: Tensor = y_BLD
    return out


def _check_rows(module: nn.Module, x_BLD: Tensor, y_BLD: Tensor, label: str) -> None:
    if not _equal(module(x_BLD), y_BLD):
        raise ManticoreError(f"{label} gives another output each time, also in evaluation mode (module.eval())")
    if not _equal(module(x_BLD[:1]), y_BLD[:1], y_BLD):
        raise ManticoreError(f"the output of {label} for a sequence depends on the other sequences of the batch")


def _check_causal(module: nn.Module, x_BLD: Tensor, y_BLD: Tensor, label: str) -> None:
    length = x_BLD.shape[1]
    for start in sorted({1, 2, length // 4, length // 2, length - 1}):
        changed_BLD = x_BLD.clone()
        changed_BLD[:, start:] = 3 * torch.randn_like(changed_BLD[:, start:])
        if not _equal(module(changed_BLD)[:, :start], y_BLD[:, :start], y_BLD):
            raise ManticoreError(
                f"{label} is not causal: its output at a position depends on inputs at later positions. A language "
                "model needs a causal op; for tasks with labels say mc.Op(..., causal=False)"
            )


def _check_cache(module: Any, x_BLD: Tensor, y_BLD: Tensor, label: str) -> None:
    if not has_cache(module):
        if any(hasattr(module, name) for name in ("init_cache", "step")):
            raise ManticoreError(f"{label} has one of init_cache and step; a cache needs both methods")
        return
    updates, shapes = [], None
    try:
        cache = module.init_cache(ROWS, x_BLD.device, x_BLD.dtype)
        for x_B1D in x_BLD.split(1, dim=1):
            shapes = {name: state.shape for name, state in cache.items()}
            update_B1D, cache = module.step(x_B1D, cache)
            updates.append(update_B1D)
            if {name: state.shape for name, state in cache.items()} != shapes:
                raise ManticoreError(f"the cache of {label} changes its shapes in step; they must stay as they are")
    except ManticoreError:
        raise
    except Exception as error:
        raise ManticoreError(f"the cache of {label} fails: {_reason(error)}") from None
    if any(shape[:1] != (ROWS,) for shape in (shapes or {}).values()):
        raise ManticoreError(f"the first dimension of every tensor in the cache of {label} must be the batch")
    if any(update.shape != x_BLD[:, :1].shape for update in updates) or not _equal(torch.cat(updates, 1), y_BLD):
        raise ManticoreError(f"step of {label} gives another output than forward; with a cache both must agree")


def _equal(first: Tensor, second: Tensor, scale: Tensor | None = None) -> bool:
    reference = (second if scale is None else scale).abs().max()
    return bool((first - second).abs().max() <= TOLERANCE * reference)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
