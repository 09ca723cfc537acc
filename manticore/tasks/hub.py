"""Data sets from the Hugging Face hub or its cache, or one line that says what to do instead. Knows no data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manticore.errors import ManticoreError

PATIENCE = 10.0
"""Seconds the hub has to answer before only its cache is looked at."""


def from_hub(
    source: str, splits: tuple[str, ...], ways_out: str, config: str | None = None, revision: str | None = None
) -> list[Any]:
    """The splits of a data set, each a `datasets.Dataset`.

    Args:
        source: the hub's name of the data set.
        splits: names of its splits.
        ways_out: what a user without the hub can do, for the message.
        config: which of the data set's configurations, where it has several.
        revision: branch or commit that is meant.

    Raises ManticoreError, at once rather than after many tries, if no hub that answers has it and nor has the cache.
    """
    reason = ""
    if answers(source) or _cached(source).is_dir():
        import datasets  # here, for it takes a second

        try:
            return [datasets.load_dataset(source, config, split=split, revision=revision) for split in splits]
        except Exception as error:  # every layer below has errors of its own
            reason = f" ({str(error).strip().splitlines()[0][:120]})" if str(error).strip() else ""
    raise ManticoreError(f"cannot get '{source}' from the hub or its cache{reason}; {ways_out}")


def answers(source: str) -> bool:
    """Whether the hub can be asked about a data set."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(source, "README.md", repo_type="dataset"), timeout=PATIENCE)
    except HfHubHTTPError:  # an answer, if not a kind one
        return True
    except Exception:  # offline mode, no route, no such host: each client library has its own
        return False
    return True


def _cached(source: str) -> Path:
    """Where `datasets` keeps what it once downloaded of a data set."""
    import datasets

    return Path(datasets.config.HF_DATASETS_CACHE) / source.replace("/", "___")
