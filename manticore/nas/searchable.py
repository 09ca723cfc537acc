"""What a search needs of a network: alphas, mixing weights, paths. `MixedOpModel` gives it to models of MixedOps.

Strategies, the search module and the record of alphas use this interface alone, so they search a `Supernet` and any
model that holds MixedOps alike. Notation: S stages, K candidates. A stage of a model is one of its MixedOps; K is the
number of different names of candidates, and a candidate that a stage does not have has the weight 0 there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from manticore.adapters.searched import size_parameters
from manticore.errors import ManticoreError, shown
from manticore.nas.choices import Choices
from manticore.nas.nn import MixedOp, check_path, mixed_ops
from manticore.nas.relaxations import Relaxation
from manticore.nas.supernet import Supernet
from manticore.utils.rng import random_source
from manticore.utils.transfers import numbers_on


@runtime_checkable
class Searchable(Protocol):
    """A network with S stages, each of which mixes up to K candidates.

    Its forward pass has the options `weights`, mixing weights (S, K); `path`, the only candidates that run; and
    `paths`, the index of the candidate of each sequence at each stage (B, S).

    Attributes:
        relax: the map from alphas to mixing weights.
        temperature: divides the alphas in the relaxation.
        progress: share of the search that is done, 0 to 1.
    """

    relax: Any
    temperature: float
    progress: float

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the candidates: the columns of the mixing weights."""
        ...

    @property
    def alphas(self) -> list[nn.Parameter]:
        """The parameters that the mixing weights are computed from: (S, K), or one tensor (K,) for each stage."""
        ...

    @property
    def alpha_table(self) -> Tensor:
        """The values of the alphas, (S, K), 0 for a candidate that a stage does not have."""
        ...

    @property
    def choices(self) -> Choices:
        """Which paths there are."""
        ...

    @property
    def trains_single_paths(self) -> bool:
        """Whether a path can be trained by itself."""
        ...

    def weights(self, generator: torch.Generator | None = None) -> Tensor:
        """Mixing weights on the simplex, (S, K), differentiable in the alphas."""
        ...

    def sample(self, weights: Tensor | None = None) -> list[str]:
        """A path drawn stage by stage from the mixing weights, or from `weights` (S, K) on the CPU."""
        ...

    def one_hot(self, path: Sequence[str]) -> Tensor:
        """The mixing weights (S, K) of a single path."""
        ...

    def log_probability(self, path: Sequence[str]) -> Tensor:
        """Log of the product of the mixing weights of a path, each choice once; a differentiable scalar."""
        ...


class MixedOpModel(nn.Module):
    """A model that holds MixedOps, with the interface of a search.

    The alphas and the weights stay parameters of the model. A forward pass reads the alphas once, so that all uses of
    a MixedOp in one pass have the same weights, also where they are random.

    Args:
        model: the model.

    Raises ManticoreError if it has no MixedOp with two candidates.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._layers = dict(mixed_ops(model))
        if all(len(op.candidates) < 2 for op in self._layers.values()):
            raise ManticoreError(
                f"there is nothing to search: {type(model).__name__} has no mc.nn.MixedOp with two candidates; "
                "a supernet, or a model with such layers, can be searched"
            )
        self._candidates = tuple(dict.fromkeys(name for op in self._layers.values() for name in op.candidates))

    @property
    def layers(self) -> list[str]:
        """Names of the MixedOps in the model, in the order of the stages."""
        return list(self._layers)

    @property
    def candidates(self) -> tuple[str, ...]:
        """Names of the candidates of all stages: the columns of the mixing weights."""
        return self._candidates

    @property
    def alphas(self) -> list[nn.Parameter]:
        """The alphas of each MixedOp."""
        return alphas(self.model)

    @property
    def alpha_table(self) -> Tensor:
        """The values of the alphas, (S, K), 0 for a candidate that a stage does not have."""
        return torch.stack([self._row(op, op.alpha.detach()) for op in self.mixed_ops if op.alpha is not None])

    @property
    def choices(self) -> Choices:
        """Which paths there are: each MixedOp is a stage that chooses among its own candidates."""
        own = {stage: op.candidates for stage, op in enumerate(self.mixed_ops, start=1)}
        return Choices.of(self._candidates, len(own), own, ())

    @property
    def trains_single_paths(self) -> bool:
        """Whether a path can be trained by itself: yes."""
        return True

    @property
    def relax(self) -> Relaxation:
        """The map from alphas to mixing weights of the first MixedOp; assigning it sets that of all MixedOps."""
        return self.mixed_ops[0].relax

    @relax.setter
    def relax(self, relaxation: Relaxation) -> None:
        """Set the relaxation of all MixedOps."""
        for op in self.mixed_ops:
            op.relax = relaxation

    @property
    def temperature(self) -> float:
        """Divisor of the alphas in the relaxation of the first MixedOp; assigning it sets that of all MixedOps."""
        return self.mixed_ops[0].temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        """Set the temperature of all MixedOps."""
        for op in self.mixed_ops:
            op.temperature = value

    @property
    def progress(self) -> float:
        """Share of the search that is done, 0 to 1; assigning it sets that of all MixedOps."""
        return self.mixed_ops[0].progress

    @progress.setter
    def progress(self, value: float) -> None:
        """Set the progress of all MixedOps."""
        for op in self.mixed_ops:
            op.progress = value

    @property
    def mixed_ops(self) -> list[MixedOp]:
        """The MixedOps of the model, in the order of the stages."""
        return list(self._layers.values())

    def _row(self, op: MixedOp, values_K: Tensor) -> Tensor:
        """Values of the candidates of an op in the columns of all candidates."""
        if op.candidates == self._candidates:
            return values_K
        indices = [self._candidates.index(name) for name in op.candidates]
        columns = numbers_on(indices, values_K.device, torch.long)
        return values_K.new_zeros(len(self._candidates)).scatter(0, columns, values_K)

    def weights(self, generator: torch.Generator | None = None) -> Tensor:
        """Mixing weights on the simplex, (S, K), differentiable in the alphas; see `MixedOp.weights`."""
        return torch.stack([self._row(op, op.weights(generator)) for op in self.mixed_ops])

    def sample(self, weights: Tensor | None = None) -> list[str]:
        """A path drawn stage by stage from the mixing weights, or from `weights` (S, K) on the CPU."""
        weights_SK = self.weights().detach().cpu() if weights is None else weights
        drawn = torch.multinomial(weights_SK, 1, generator=random_source(weights_SK.device)).squeeze(-1)
        return [self._candidates[choice] for choice in drawn.tolist()]

    def one_hot(self, path: Sequence[str]) -> Tensor:
        """The mixing weights (S, K) of a single path. Raises ManticoreError if the path does not fit."""
        check_path(self._layers, path)
        index = torch.tensor([self._candidates.index(name) for name in path], device=self.alphas[0].device)
        return nn.functional.one_hot(index, len(self._candidates)).float()

    def log_probability(self, path: Sequence[str]) -> Tensor:
        """Log of the product of the mixing weights of a path; differentiable in the alphas, a scalar."""
        return (self.weights().clamp_min(1e-30).log() * self.one_hot(path)).sum()

    @contextmanager
    def use(
        self, weights: Tensor | None = None, path: Sequence[str] | None = None, paths: Tensor | None = None
    ) -> Iterator[nn.Module]:
        """Fix what the MixedOps compute while the context is open; yields the model.

        Args:
            weights: mixing weights, (S, K), or (B, S, K), one set for each sequence. Default: read from the alphas,
                once.
            path: the only candidates that run.
            paths: a path for each sequence, as indices of candidates, (B, S).

        Raises ManticoreError if the path does not fit.
        """
        if paths is not None:
            for op, choices_B in zip(self.mixed_ops, paths.unbind(1), strict=True):
                names = [self._candidates[index] for index in choices_B.tolist()]
                op.use(choices=torch.tensor([op.candidates.index(name) for name in names], device=paths.device))
        elif path is not None:
            check_path(self._layers, path)
            for op, choice in zip(self.mixed_ops, path, strict=True):
                op.use(choice=choice)
        else:
            if weights is None:
                weights = self.weights(random_source(self.alphas[0].device) if self.training else None)
            for op, row in zip(self.mixed_ops, weights.unbind(-2), strict=True):
                columns = [self._candidates.index(name) for name in op.candidates]
                op.use(weights=row if op.candidates == self._candidates else row[..., columns])
        try:
            yield self.model
        finally:
            for op in self.mixed_ops:
                op.use()

    def forward(
        self,
        *args: Any,
        weights: Tensor | None = None,
        path: Sequence[str] | None = None,
        paths: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        with self.use(weights, path, paths) as model:
            return model(*args, **kwargs)


def as_searchable(model: nn.Module) -> nn.Module:
    """A `Searchable`: the model itself if it is one, such as a supernet, or else a `MixedOpModel` of it.

    Raises ManticoreError if the model has nothing to search.
    """
    if not isinstance(model, nn.Module):
        raise ManticoreError(f"a search takes a supernet, or a torch module with MixedOps, not {shown(model)}")
    return model if isinstance(model, Searchable) else MixedOpModel(model)


@contextmanager
def callable_with(net: nn.Module, **options: Any) -> Iterator[Callable[..., Any]]:
    """The model to call while the context is open, so that its forward pass has the options `weights` or `path`.

    For a model of MixedOps it is the model itself, for a supernet its forward pass with the options.
    """
    if isinstance(net, MixedOpModel):
        with net.use(**options) as model:
            yield model
    else:
        yield partial(net, **options) if options else net


def alphas(model: nn.Module) -> list[nn.Parameter]:
    """The alphas of a model, each once: those of its supernets and MixedOps. Empty if it has none.

        optimizer = torch.optim.Adam(mc.alphas(model), lr=0.1, betas=(0.5, 0.999))

    Raises ManticoreError for an object that is no torch module.
    """
    if not isinstance(model, nn.Module):
        raise ManticoreError(f"alphas and weights are those of a torch module, not of {shown(model)}")
    parts = [part for part in model.modules() if isinstance(part, MixedOp | Supernet)]
    tables = [table for part in parts for table in (part.alpha, getattr(part, "group_alpha", None))]
    return list(dict.fromkeys(table for table in tables if table is not None))


def weights(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of a model that require gradients, without the alphas and the sizes of adapters.

        optimizer = torch.optim.AdamW(mc.weights(model), lr=1e-3)

    Raises ManticoreError for an object that is no torch module.
    """
    return [parameter for _, parameter in named_weights(model)]


def named_weights(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """`weights`, each with its name in the model."""
    excluded = {id(alpha) for alpha in (*alphas(model), *size_parameters(model))}
    return [(name, p) for name, p in model.named_parameters() if p.requires_grad and id(p) not in excluded]


def likeliest_path(net: Searchable) -> list[str]:
    """The candidate with the largest mixing weight at each stage; of equal ones the first."""
    return [net.candidates[choice] for choice in net.weights().argmax(-1).tolist()]


@torch.no_grad()
def assign_alphas(net: Searchable, values_SK: Tensor) -> None:
    """Set the alphas to the values (S, K). Raises ManticoreError if their shape is another."""
    if values_SK.shape != net.alpha_table.shape:
        raise ManticoreError(f"expected alphas of shape {tuple(net.alpha_table.shape)}, got {tuple(values_SK.shape)}")
    if isinstance(net, MixedOpModel):
        for op, row in zip(net.mixed_ops, values_SK, strict=True):
            assert op.alpha is not None
            op.alpha.copy_(row[[net.candidates.index(name) for name in op.candidates]])
        return
    if isinstance(net, Supernet):
        net.set_alphas(values_SK)
        return
    (alpha,) = net.alphas
    alpha.copy_(values_SK)
