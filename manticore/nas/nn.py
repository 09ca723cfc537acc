"""Mixture layers for any torch model: `mc.nn.MixedOp`, `mc.nn.Projected` and `mc.nn.discretize`.

    mixer = mc.nn.MixedOp({"attention": Attention, "mamba": Mamba, "convolution": Convolution}, width=64)
    h_BLD = h_BLD + mixer(norm(h_BLD))

The alphas are parameters of the layer, so they are trained, saved and moved with the model. Notation: B batch, L
length, D width, K candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from manticore.errors import ManticoreError, UnknownName, shown
from manticore.modeling.projectors import build_projector
from manticore.nas.grouped import rows_of, run_grouped
from manticore.nas.mixed_op import weighted_sum
from manticore.nas.projector_checks import check_projector
from manticore.nas.relaxations import RelaxationContext, relaxations
from manticore.nas.supernet import Supernet
from manticore.utils.fields import PositiveInt, convert
from manticore.utils.rng import random_source

__all__ = ["MixedOp", "Projected", "discretize"]

Candidate = nn.Module | Callable[[int], nn.Module]
"""A module, or a function or class that makes one from a width."""


class MixedOp(nn.Module):
    """`y = sum_k w_k op_k(x)`, with `w = relax(alpha)` on the simplex (DARTS, arXiv 1806.09055, eq. 2).

    The layer trains by itself in any loop: `mc.alphas(model)` and `mc.weights(model)` are the two groups of parameters.
    `mc.SearchModule(model, strategy)` trains a model of such layers with the strategies of the package.

    Args:
        ops: the candidates by name, or a sequence of them. A candidate is a module, a class or function that makes one
            from `width`, or an object such as `mc.Op` with `name`, `factory` (such a class or function) and `options`.
            In a sequence a candidate is called `candidate.name`, or else by the name of its class or function.
        width: D, the width that candidates are made with, and that they return. Not needed if all are modules; without
            it they may return another width than that of their input.
        relaxation: name of the map from alphas to mixing weights.

    Attributes:
        ops: the candidates by name.
        alpha: (K,), 0 at the start, which is the uniform mixture; None after `discretize`.
        temperature: divides the alphas in the relaxation.
        progress: share of the search that is done, 0 to 1, for relaxations that depend on it.

    All arguments of a call go to every candidate. If a candidate returns a tuple, as layers of transformers do, its
    first item is the output. All outputs must have the same shape; `Projected` gives an op of another width the width
    of the stream.

    Raises:
        UnknownName: no such relaxation.
        ManticoreError: no candidate, two of the same name, or one that cannot be built with the width.
    """

    alpha: nn.Parameter | None

    def __init__(
        self,
        ops: Mapping[str, Candidate] | Sequence[Any],
        width: int | None = None,
        relaxation: str = "softmax",
    ) -> None:
        super().__init__()
        if isinstance(ops, str) or not isinstance(ops, Iterable):
            raise ManticoreError(f"the candidates of a MixedOp are a mapping from names, or a list, not {shown(ops)}")
        named = list(ops.items()) if isinstance(ops, Mapping | nn.ModuleDict) else [(_name_of(op), op) for op in ops]
        names = [name for name, _ in named]
        if not names:
            raise ManticoreError("a MixedOp needs at least one candidate")
        if repeated := {name for name in names if names.count(name) > 1}:
            raise ManticoreError(f"two candidates of a MixedOp are called '{min(repeated)}'; name them in a mapping")
        modules = {name: _built(name, op, width) for name, op in named}
        try:
            self.ops = nn.ModuleDict(modules)
        except (KeyError, TypeError) as error:  # a name with a dot, the name of a method, or no text
            raise ManticoreError(f"not the name of a candidate: {error.args[0]}") from None
        self.width = None if width is None else convert(width, PositiveInt, "width")
        self.alpha = nn.Parameter(torch.zeros(len(names)))
        self.relax = relaxations[relaxation]
        self.temperature = 1.0
        self.progress = 0.0
        self._weights: Tensor | None = None
        self._choice: str | None = None
        self._choices: Tensor | None = None

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the candidates, in the order of the alphas."""
        return tuple(self.ops)

    @property
    def choice(self) -> str:
        """The candidate with the largest mixing weight; of equal ones the first."""
        return self.candidates[int(self.weights().argmax())]

    def weights(self, generator: torch.Generator | None = None) -> Tensor:
        """Mixing weights on the simplex, (K,), differentiable in the alphas.

        `generator` is the source of randomness of a random relaxation; None reads the weights without randomness.
        """
        if self.alpha is None:
            return torch.ones(1)
        context = RelaxationContext(self.temperature, self.progress, generator)
        return self.relax(self.alpha[None], context)[0]

    def use(self, weights: Tensor | None = None, choice: str | None = None, choices: Tensor | None = None) -> None:
        """Fix what the next calls compute; without arguments they read the alphas again.

        Args:
            weights: mixing weights, (K,), or (B, K), one set for each sequence.
            choice: the only candidate that runs.
            choices: index of the candidate of each sequence, (B,). Arguments of a call that are tensors of B rows are
                split in the same way as the first argument.
        """
        if choice is not None and choice not in self.ops:
            raise UnknownName("candidate", choice, self.ops)
        self._weights, self._choice, self._choices = weights, choice, choices

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        choice = self.candidates[0] if self.alpha is None else self._choice
        if choice is not None:
            return self._run(choice, (x, *args), kwargs)
        if self._choices is not None:
            choices_B = self._choices.repeat(len(x) // len(self._choices))
            return run_grouped(choices_B, partial(self._run_rows, (x, *args), kwargs))
        weights = self._weights
        if weights is None:
            weights = self.weights(random_source(x.device) if self.training else None)
        outputs = {}
        for name in self.ops:
            version = _version(x)
            outputs[name] = self._run(name, (x, *args), kwargs)
            if _version(x) != version:
                raise ManticoreError(
                    f"candidate '{name}' changes its input in place, and all candidates read it: use inplace=False"
                )
        _check_shapes(outputs)
        return weighted_sum(list(zip(weights.unbind(-1), outputs.values(), strict=True)))

    def _run_rows(self, args: Sequence[Any], kwargs: Mapping[str, Any], index: int, rows: Tensor | None) -> Tensor:
        """The output of a candidate for some sequences of the batch."""

        def select(value: Any) -> Any:
            return rows_of(value, rows) if isinstance(value, Tensor) and value.shape[:1] == args[0].shape[:1] else value

        selected = {key: select(value) for key, value in kwargs.items()}
        return self._run(self.candidates[index], [*map(select, args)], selected)

    def _run(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
        """The output of a candidate. Raises ManticoreError if the width of the stream becomes another."""
        x, out = args[0], _first(self.ops[name](*args, **kwargs))
        if x.shape[-1:] == (self.width,) and x.shape[:-1] == out.shape[:-1] and out.shape[-1] != self.width:
            raise ManticoreError(
                f"candidate '{name}' maps the width {self.width} to {out.shape[-1]}; mc.nn.Projected gives an op the "
                "width of the stream, and a MixedOp without width= may change it"
            )
        return out

    def discretize(self, choice: str | None = None) -> str:
        """Keep one candidate, in place, and remove the other candidates and the alphas from the layer.

        Optimizers created before this call still hold the removed parameters; create new ones.

        Args:
            choice: name of the candidate. Default: the one with the largest mixing weight.

        Returns the name. Raises UnknownName if there is no such candidate.
        """
        name = self.choice if choice is None else choice
        self.use(choice=name)
        self.use()
        self.ops = nn.ModuleDict({name: self.ops[name]})
        self.alpha = None
        return name

    def extra_repr(self) -> str:
        return "" if self.alpha is None else f"candidates={', '.join(self.candidates)}"


class Projected(nn.Module):
    """`y = Q op(P x)`: an op of another width between two projectors, so that it fits the stream.

    Args:
        module: the op, or a class or function that makes it from `d_out`.
        d_in: width of the stream, (B, L, d_in) -> (B, L, d_in).
        d_out: width of the op.
        projector: kind of the projectors; all kinds start as close to the identity as they can.
        residual: the op returns its input plus an update, as whole layers of transformers do. Then the result is the
            update alone, `Q (op(u) - u)` with `u = P x`.
        options: options of the projectors, such as `rank`.

    Raises UnknownName for a projector that does not exist, and ManticoreError for options that it does not take.
    """

    def __init__(
        self,
        module: Candidate,
        d_in: int,
        d_out: int,
        projector: str = "linear",
        residual: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        check_projector(projector, options)
        d_in, d_out = convert(d_in, PositiveInt, "d_in"), convert(d_out, PositiveInt, "d_out")
        self.proj_in = build_projector({"kind": projector, **options}, d_in, d_out)
        self.module = _built("module", module, d_out)
        self.proj_out = build_projector({"kind": projector, **options}, d_out, d_in)
        self.residual = residual

    def forward(self, x_BLD: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        u_BLD = self.proj_in(x_BLD)
        y_BLD = _first(self.module(u_BLD, *args, **kwargs))
        out: Tensor = self.proj_out(y_BLD - u_BLD if self.residual else y_BLD)
        return out


def mixed_ops(model: nn.Module) -> Iterator[tuple[str, MixedOp]]:
    """The MixedOps of a model that have alphas, with their names, in the order of the model's modules.

    A layer that is used several times is one MixedOp: its uses share a choice.
    """
    for name, module in model.named_modules():
        if isinstance(module, MixedOp) and module.alpha is not None:
            yield name, module


def discretize(model: nn.Module, path: Sequence[str] | None = None) -> list[str]:
    """Keep one candidate of every MixedOp of a model, in place; see `MixedOp.discretize`.

    Args:
        model: any module.
        path: a candidate for each MixedOp, in the order of the model's modules. Default: those with the largest mixing
            weights.

    Returns the path. A MixedOp inside a candidate that is not kept disappears with it. Raises ManticoreError, before
    anything is changed, if the model has no MixedOp or the path does not fit, and UnknownName for a candidate that does
    not exist.
    """
    if isinstance(model, Supernet) or not isinstance(model, nn.Module):
        raise ManticoreError(
            f"mc.nn.discretize takes a torch module with MixedOps, not {shown(model)}; mc.discretize takes a supernet"
        )
    layers = dict(mixed_ops(model))
    if not layers:
        raise ManticoreError("there is nothing to discretize: the model has no MixedOp with alphas")
    chosen = [op.choice for op in layers.values()] if path is None else path
    check_path(layers, chosen)
    for op, name in zip(layers.values(), chosen, strict=True):
        op.discretize(name)
    return list(chosen)


def check_path(layers: Mapping[str, MixedOp], path: Sequence[str]) -> None:
    """Raises ManticoreError unless `path` has a candidate for each of the layers; names the layer."""
    if isinstance(path, str) or not isinstance(path, Sequence) or len(path) != len(layers):
        raise ManticoreError(
            f"a path has a candidate for each of the {len(layers)} MixedOps of the model "
            f"({', '.join(layers)}), got {shown(path)}"
        )
    for (layer, op), name in zip(layers.items(), path, strict=True):
        if name not in op.ops:
            raise UnknownName(f"candidate of {layer or 'the MixedOp'}", name, op.ops)


def _name_of(op: Any) -> str:
    """The name of a candidate in a sequence: its own, or that of its class or function."""
    name = getattr(op, "name", None)
    if isinstance(name, str):
        return name
    kind = type(op) if isinstance(op, nn.Module) else op
    return str(getattr(kind, "__name__", type(op).__name__))


def _built(name: str, op: Any, width: int | None) -> nn.Module:
    """The module of a candidate. Raises ManticoreError if it cannot be made."""
    if isinstance(op, nn.Module):
        return op
    factory, options = (op, {}) if callable(op) else (getattr(op, "factory", None), getattr(op, "options", {}))
    if not callable(factory):
        raise ManticoreError(f"candidate '{name}' must be a module, or a class or function of a width, not {shown(op)}")
    if width is None:
        raise ManticoreError(f"candidate '{name}' is made from a width: pass MixedOp(ops, width=...)")
    convert(width, PositiveInt, "width")
    try:
        module = factory(width, **options)
    except Exception as error:  # the code of a user may raise anything
        reason = str(error) or type(error).__name__
        raise ManticoreError(f"candidate '{name}' cannot be made from the width {width}: {reason[:160]}") from error
    if not isinstance(module, nn.Module):
        raise ManticoreError(f"candidate '{name}' must return a module, not a {type(module).__name__}")
    return module


def _version(x: Tensor) -> int | None:
    """How often a tensor was changed in place; None where torch does not count."""
    return None if x.is_inference() else x._version


def _first(out: Any) -> Tensor:
    """The output of an op: a tensor, or the first item of a tuple, as layers of transformers return it.

    Raises ManticoreError if it is neither.
    """
    tensor = out[0] if isinstance(out, tuple) and out else out
    if not isinstance(tensor, Tensor):
        raise ManticoreError(f"a candidate must return a tensor, or a tuple that begins with one, not {shown(out)}")
    return tensor


def _check_shapes(outputs: Mapping[str, Tensor]) -> None:
    (first, expected), *rest = outputs.items()
    for name, value in rest:
        if value.shape != expected.shape:
            raise ManticoreError(
                f"candidates of a MixedOp must return the same shape: '{first}' returned {tuple(expected.shape)}, "
                f"'{name}' {tuple(value.shape)}; mc.nn.Projected gives an op the width of the stream"
            )
