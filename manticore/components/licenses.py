"""Licences of pretrained models, as the front matter of their cards has them, and of a hybrid of several models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import hf_hub_download

from manticore.utils.text_files import read_text

CARD = "README.md"
OTHER, UNKNOWN = "other", "unknown"
"""The hub's identifiers of a licence that it has no other identifier for, and of an unknown one."""

_FRONT_MATTER = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class License:
    """The licence of a model.

    Attributes:
        ids: identifiers of the hub, such as `apache-2.0`; several if the model has several licences.
        name, link: of a licence that the hub has no identifier for.
    """

    ids: tuple[str, ...]
    name: str = ""
    link: str = ""

    @property
    def is_identified(self) -> bool:
        """Whether it names one licence; `other` alone may be any."""
        return OTHER not in self.ids or bool(self.name or self.link)

    def markdown(self) -> str:
        """The identifiers, with name and link."""
        text = ", ".join(f"`{part}`" for part in self.ids)
        details = ", ".join(part for part in (self.name, self.link) if part)
        return f"{text} ({details})" if details else text


@dataclass(frozen=True)
class DerivedLicense:
    """The licence of a model with weights of pretrained models.

    Attributes:
        parents: the licence of each, None if it is unknown; empty for random weights.
    """

    parents: Mapping[str, License | None]

    @property
    def unknown(self) -> list[str]:
        """Names of the models whose licence is unknown."""
        return [name for name, license in self.parents.items() if license is None]

    @property
    def shared(self) -> License | None:
        """The licence that all parents have; None if one is unknown, or if they differ."""
        first, *rest = self.parents.values()
        if first is None or any(license != first for license in rest):
            return None
        return first if first.is_identified or not rest else None

    def front_matter(self) -> dict[str, Any]:
        """The keys of a card: `license`, and `license_name` and `license_link` where the hub needs them."""
        if not self.parents:
            return {}
        if self.unknown:
            return {"license": UNKNOWN}
        known = [license for license in self.parents.values() if license is not None]
        if shared := self.shared:
            data = {"license": shared.ids[0] if len(shared.ids) == 1 else list(shared.ids)}
            details = {"license_name": shared.name, "license_link": shared.link}
            return data | {key: value for key, value in details.items() if value}
        names = dict.fromkeys(part for each in known for part in ([each.name] if each.name else each.ids))
        return {"license": OTHER, "license_name": "-and-".join(_slug(name) for name in names)}

    def sentence(self) -> str:
        """What follows for the model from the licences of its parents."""
        if self.unknown:
            return (
                f"The licence of this model is unknown, because that of {' and '.join(self.unknown)} is: no licence is "
                "named in its model card."
            )
        if self.shared:
            return "This model has the licence of the weights that it was made from."
        return (
            "The licences differ. This model has weights of all these components, so the terms of all of them apply "
            "together. Whether they can be met together has not been checked."
        )


def license_of_card(card: str) -> License | None:
    """The licence in the front matter of a model card; None if it names none, or `unknown`."""
    match = _FRONT_MATTER.match(card)
    try:
        data = yaml.safe_load(match[1]) if match else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    value = data.get("license")
    values = value if isinstance(value, list) else [value]
    ids = tuple(sorted({text.strip().lower() for text in values if isinstance(text, str) and text.strip()}))
    if not ids or UNKNOWN in ids:
        return None
    details = [data.get(key) for key in ("license_name", "license_link")]
    return License(ids, *(text.strip() if isinstance(text, str) else "" for text in details))


def read_license(source: str, revision: str | None = None, local_files_only: bool = True) -> License | None:
    """The licence of a model folder or a model on the hub.

    Args:
        source: the folder, or the id on the hub.
        revision: on the hub.
        local_files_only: read only the local cache of the hub.

    Returns None if there is no card, it cannot be read, or it names no licence.
    """
    try:
        folder = Path(source).expanduser()
        if folder.is_dir():
            return license_of_card(read_text(folder / CARD))
        file = hf_hub_download(source, CARD, revision=revision, local_files_only=local_files_only)
        return license_of_card(read_text(file))
    except Exception:  # no card in the folder, on the hub or in its cache: each client library raises its own error
        return None


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-")
