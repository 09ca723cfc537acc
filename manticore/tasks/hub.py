"""Datasets from the Hugging Face hub or its cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manticore.errors import ManticoreError
from manticore.utils.hub import hub_answers


def load_hub_dataset(
    source: str, splits: tuple[str, ...], hint: str, config: str | None = None, revision: str | None = None
) -> list[Any]:
    """The splits of a dataset, each a `datasets.Dataset`.

    Args:
        source: id of the dataset on the hub.
        splits: names of its splits.
        hint: advice for a user without the hub, for the error message.
        config: name of the configuration, for datasets with several.
        revision: branch or commit.

    Raises ManticoreError, without retries, if neither the hub nor the cache has the dataset.
    """
    reason = ""
    if hub_answers(source, "README.md", "dataset") or _cached(source).is_dir():
        import datasets  # here, because it takes a second

        try:
            return [datasets.load_dataset(source, config, split=split, revision=revision) for split in splits]
        except Exception as error:  # every layer below raises errors of its own
            reason = f" ({str(error).strip().splitlines()[0][:120]})" if str(error).strip() else ""
    raise ManticoreError(f"cannot get '{source}' from the hub or its cache{reason}; {hint}")


def _cached(source: str) -> Path:
    """The folder in which `datasets` keeps what it downloaded of a dataset."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / source.replace("/", "___")
