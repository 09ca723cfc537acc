"""`manticore push`: publish an exported model on the Hugging Face hub, with its card."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, ModelCard, constants, get_token
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils.tqdm import disable_progress_bars
from rich.console import Console

from manticore.components.catalog import CATALOG
from manticore.components.licenses import OTHER, UNKNOWN
from manticore.config.model_commands import PushCommand
from manticore.errors import ManticoreError
from manticore.export.load import check_config_exists, hybrid_folder
from manticore.report.card_sections import CARD
from manticore.utils.console import info
from manticore.utils.formatting import counted, listed
from manticore.utils.io import read_json

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
LOCAL = {'folder = "."  # the folder of this card': 'folder = "{}"', 'from_pretrained(".",': 'from_pretrained("{}",'}
"""Code in cards that names the folder, and the same with a name on the hub."""

PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
USAGE_SECONDS = 600
REFUSALS = {401: "it does not accept the token", 403: "the token may not write there", 409: "there is a conflict"}


def run(options: PushCommand, console: Console) -> str:
    """Publish a model and return its address; with `options.dry_run` show what would be sent, and send nothing.

    Before anything is sent, the code in the card that loads the model is run in the folder, without this package.

    Raises ManticoreError if the folder has no model or no card, its code fails, the licences of its parents differ or
    are unknown and the options name none, there is no token, or the hub cannot be reached or refuses.
    """
    path = options.model.expanduser()
    check_config_exists(path)
    folder = hybrid_folder(path)
    if not (folder / CARD).is_file():
        raise ManticoreError(f"{folder} has no card {CARD}; manticore export writes one")
    card = (folder / CARD).read_text(encoding="utf-8")
    if options.check:
        run_usage(card, folder)
    published = complete_card(card, folder, options.repo, options.license)
    files = [file for file in files_of(folder) if file != CARD]
    problem = license_problem(published)
    if options.dry_run:
        show(options, folder, files, published, console)
        info(console, f"{f'it would be refused: {problem}; ' if problem else ''}nothing was sent (--dry-run)")
        return ""
    if problem:
        raise ManticoreError(
            f"{problem}, so nothing is published; see section Licence of {folder / CARD}, and name with --license the "
            "licence under which you may publish it"
        )
    if not console.is_terminal:
        disable_progress_bars()
    token = get_token()
    if not token:
        raise ManticoreError("there is no token of the hub: hf auth login, or set HF_TOKEN; --dry-run needs none")
    operations = [CommitOperationAdd(file, folder / file) for file in files]
    operations.append(CommitOperationAdd(CARD, published.encode()))
    address = send(options, operations, token)
    info(console, f"published {counted(len(operations), 'file')}: {address}")
    return address


def files_of(folder: Path) -> Iterator[str]:
    """Paths of the files of a folder that are published, relative to it, in order; hidden ones are left out."""
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if file.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in relative.parts):
            yield relative.as_posix()


def run_usage(card: str, folder: Path) -> None:
    """Run the first code of a card that loads a model in the folder, offline, in a process without this package.

    Raises ManticoreError if there is no such code, or if it fails.
    """
    code = next((block for block in PYTHON.findall(card) if "from_pretrained" in block), None)
    if code is None:
        raise ManticoreError(f"the card {folder / CARD} has no Python code that loads the model; --no-check skips this")
    script = f"import sys\nsys.modules['manticore'] = None\n{code}"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=USAGE_SECONDS,
    )
    if process.returncode:
        reason = (process.stderr.strip().splitlines() or ["no message"])[-1][:200]
        raise ManticoreError(
            f"the Python code of {folder / CARD} fails ({reason}), so nothing is published; --no-check skips this"
        )


def complete_card(card: str, folder: Path, repo: str, license_name: str | None = None) -> str:
    """The card as it is published: with the base models, the library, a licence if one is named, and the hub id.

    Args:
        card: the card of the folder.
        folder: exported folder.
        repo: `user/name` on the hub.
        license_name: identifier of a licence; None keeps that of the card.
    """
    for local, published in LOCAL.items():
        card = card.replace(local, published.format(repo))
    parsed: Any = ModelCard(card, ignore_metadata_errors=True)
    data = parsed.data
    named = [data.base_model] if isinstance(data.base_model, str) else list(data.base_model or ())
    parents = list(dict.fromkeys([*named, *parents_on_hub(folder)]))
    if parents:
        data.base_model = parents
        if len(parents) > 1:
            data.base_model_relation = "merge"
    data.library_name = data.library_name or "transformers"
    if license_name is not None:
        data.license, data.license_name, data.license_link = license_name, None, None
    return str(parsed)


def license_problem(card: str) -> str:
    """Why a card's licence, as it follows from the parents, does not allow to publish; empty if it does."""
    data: Any = ModelCard(card, ignore_metadata_errors=True).data
    if data.license == UNKNOWN:
        return "the licence of a parent is unknown"
    names = str(data.get("license_name") or "").split("-and-")
    if data.license == OTHER and len(names) > 1:
        return f"the licences of the parents differ ({listed(names)})"
    return ""


def parents_on_hub(folder: Path) -> Iterator[str]:
    """Hub ids of the pretrained components that a hybrid was made of."""
    config = read_json(folder / "config.json")
    components = config.get("components") if isinstance(config, dict) else None
    for component in (components or {}).values():
        source = str(component.get("source") or "")
        if not component.get("pretrained"):
            continue
        if source in CATALOG:
            entry = CATALOG[source]
            if entry.packaged is None:
                yield entry.source
        elif HUB_ID.fullmatch(source) and component.get("revision"):
            yield source


def show(options: PushCommand, folder: Path, files: list[str], card: str, console: Console) -> None:
    """Print every file with its size, and the card."""
    sizes = {CARD: len(card.encode()), **{file: (folder / file).stat().st_size for file in files}}
    width = max(map(len, sizes))
    visibility = "private" if options.private else "public"
    info(console, f"{constants.ENDPOINT}/{options.repo}, {visibility}: {counted(len(sizes), 'file')} of {folder}")
    for file, size in sizes.items():
        info(console, f"  {file:{width}}  {size:>14,} bytes")
    info(console, f"\n{CARD}:\n\n{card}")


def send(options: PushCommand, operations: list[CommitOperationAdd], token: str) -> str:
    """Create the repository and commit all files at once. Returns its address. Raises ManticoreError."""
    api = HfApi(token=token)
    try:
        api.create_repo(options.repo, private=options.private, exist_ok=True)
        api.create_commit(options.repo, operations, commit_message=options.message)
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = REFUSALS.get(status, str(error.server_message or error).strip().splitlines()[0][:160])
        raise ManticoreError(f"{api.endpoint} refuses {options.repo}: {reason} (HTTP {status})") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise _unreachable(api, error) from None
    except Exception as error:  # of the HTTP library: no route, unknown host, timeout
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpcore", "httpx2"):
            raise
        raise _unreachable(api, error) from None
    return f"{api.endpoint}/{options.repo}"


def _unreachable(api: HfApi, error: Exception) -> ManticoreError:
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return ManticoreError(f"{api.endpoint} cannot be reached ({reason}), so nothing is published; manticore doctor")
