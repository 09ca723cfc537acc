"""Whether the Hugging Face hub can be reached, in one request with a short timeout."""

from __future__ import annotations

HUB_TIMEOUT_SECONDS = 10.0
"""Seconds to wait for an answer of the hub; without one, only its local cache is read."""


def hub_answers(source: str, file: str, repo_type: str = "model", revision: str | None = None) -> bool:
    """Whether the hub answers a request for `file` of a repository, even with an error.

    One request takes at most `HUB_TIMEOUT_SECONDS`; client libraries retry for half a minute.

    Args:
        source: id of the repository.
        file: a file that such a repository usually has.
        repo_type: `model` or `dataset`.
        revision: branch or commit.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url  # here, so that tasks can be listed without it
    from huggingface_hub.errors import HfHubHTTPError

    try:
        url = hf_hub_url(source, file, repo_type=repo_type, revision=revision)
        get_hf_file_metadata(url, timeout=HUB_TIMEOUT_SECONDS)
    except HfHubHTTPError:  # the hub answers, with an error
        return True
    except Exception:  # offline mode, no route, unknown host, no valid id: each client library raises its own error
        return False
    return True
