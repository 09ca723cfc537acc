"""Data loaders of a user's own, one for each stream of a search: whether two of them read the same examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from torch.utils.data import DataLoader, Subset

from manticore.errors import ManticoreError


def check_disjoint_loaders(loaders: Any) -> None:
    """Check that loaders, a mapping by stream, share no example that can be seen without reading them.

    Two loaders of one dataset share examples unless samplers or `Subset`s name different indices. Datasets that are
    different objects, and loaders of other classes, are not compared.

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
    (first_data, first_indices), (second_data, second_indices) = _examples(first), _examples(second)
    return first_data is second_data and not first_indices.isdisjoint(second_indices)


def _examples(loader: DataLoader[Any]) -> tuple[Any, set[int]]:
    """The dataset that a loader reads in the end, and the indices of its examples; none if it has no length."""
    dataset: Any = loader.dataset
    sampler: Any = getattr(loader, "sampler", None)
    indices: Iterable[int] = getattr(sampler, "indices", None) or _all(dataset)
    while isinstance(dataset, Subset):
        indices = [dataset.indices[index] for index in indices]
        dataset = dataset.dataset
    return dataset, {int(index) for index in indices}


def _all(dataset: Any) -> Iterable[int]:
    return range(len(dataset)) if hasattr(dataset, "__len__") else ()
