"""Checks that a user's data loaders, one for each stream of a search, do not read the same examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from types import NoneType
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, Subset

from manticore.errors import ManticoreError


def check_disjoint_loaders(loaders: Any) -> None:
    """Check that the loaders of a search share no example, as far as this is known without reading them.

    Two loaders of one dataset share examples unless samplers or `Subset`s name different indices. Datasets that are
    different objects, samplers that do not list their indices, and loaders of other classes are not compared.

    Raises ManticoreError, which names two streams.
    """
    if not isinstance(loaders, Mapping):
        return
    for (first, loader), (second, later) in combinations(loaders.items(), 2):
        if _overlap(loader, later):
            raise ManticoreError(
                f"the loaders of '{first}' and '{second}' read the same examples; a bilevel search needs disjoint "
                "ones, such as the two halves of torch.utils.data.random_split"
            )


def _overlap(first: Any, second: Any) -> bool:
    if first is second:
        return True
    if not (isinstance(first, DataLoader) and isinstance(second, DataLoader)):
        return False
    if _source(first.dataset) is not _source(second.dataset):
        return False
    return not set(_indices(first)).isdisjoint(_indices(second))


def _source(dataset: Any) -> Any:
    """The dataset that a `Subset` is of."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _indices(loader: DataLoader[Any]) -> Iterable[int]:
    """The indices in its source of the examples that a loader reads; none if its sampler does not say which."""
    dataset: Any = loader.dataset
    sampler: Any = loader.sampler
    if type(loader.batch_sampler) not in (BatchSampler, NoneType):
        return ()
    if isinstance(sampler, SequentialSampler | RandomSampler):
        indices: Iterable[Any] = range(len(dataset))
    else:
        indices = getattr(sampler, "indices", ())
    while isinstance(dataset, Subset):
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    return map(int, indices)
