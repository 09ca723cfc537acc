"""Your own text: local files, a data set of the hub, or the megabyte of public-domain English that comes along."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.hub import from_hub
from manticore.tasks.info import TaskInfo
from manticore.tasks.language.documents import FIELDS, KINDS, read_documents, read_groups
from manticore.tasks.language.splitting import SHARE, DocumentSplits, Groups, grouped
from manticore.tasks.language.task import HELPS, LanguageTask, length_of
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import PARTS, number
from manticore.tasks.task import task_infos, tasks
from manticore.utils import assets

NAME = "text"
SAMPLE = assets.root("samples") / "public_domain.txt.xz"
PASSAGE = 8192
LAYOUT = (
    f"a {', '.join(KINDS)} file (any with .xz after it), or a folder of them: all in one pool, or train, val and test "
    "by their names; or the hub's name of a data set that has a column "
    f"{' or '.join(FIELDS)}"
)
VAL = ("val", "valid", "validation", "dev")
"""What validation files are called."""


@tasks.register(NAME)
def text(options: TaskOptions) -> LanguageTask:
    """Tell the next token of your own text: .txt, .jsonl, .parquet or a data set of the hub.

    Without `options.data_dir` the text is a megabyte of novels and speeches in the public domain. Raises
    ManticoreError.
    """
    length, passage = length_of(options), number(options, "passage", PASSAGE, range(1 << 30))
    given = str(SAMPLE) if options.data_dir is None else options.data_dir
    where = "a megabyte of novels and speeches in the public domain" if options.data_dir is None else given

    def get() -> DocumentSplits:
        return read_texts(given, passage, options.seed).apart(where).first(options, where)

    held: dict[str, object] = {"length": length, "passage": passage}
    own = "".join(f",{key}={value}" for key, value in held.items() if key in options.settings)
    name = f"{NAME}@{own[1:]}" if own else NAME
    if options.data_dir is not None:
        name = name.replace(NAME, f"{NAME}:{Path(given).name}", 1)
    return LanguageTask(name, get, length, options.seed, f"read from {where}", held)


@task_infos.register(NAME)
def sheet(options: TaskOptions) -> TaskInfo:
    """What is known without the text."""
    return TaskInfo(
        kind="lm",
        metric="bits_per_byte",
        label_names=(),
        settings={"length": length_of(options), "passage": PASSAGE},
        vocabulary=None,
        max_length=length_of(options),
        sizes={},
        origin="a megabyte of novels and speeches in the public domain, which comes with manticore",
        files=LAYOUT,
        helps={**HELPS, "passage": "bytes beyond which a document is cut between paragraphs, 0 for never"},
    )


def read_texts(given: str, passage: int, seed: int) -> DocumentSplits:
    """The documents of a file, a folder or a data set in three parts. Raises ManticoreError."""
    place = Path(given).expanduser()
    if not place.exists():
        if "/" not in given or given.startswith((".", "/", "~")):
            raise ManticoreError(f"no such file or folder of text: {given}")
        return _from_hub(given, passage, seed)
    files, named = read_documents(place), read_groups(place)
    parts = _parts(list(files))
    if not parts:
        return _divided(
            files, {text: group for held in named.values() for text, group in held.items()}, passage, seed, given
        )
    if missing := [part for part in PARTS if part not in parts.values()]:
        raise BadFile(place, f"has files for some parts and none for {' and '.join(missing)}; name all or none so")
    if others := [name for name, part in parts.items() if not part]:
        raise BadFile(place / others[0], f"is none of {', '.join(PARTS)}, which its folder has; take it out")
    own = {
        text: f"{name}: {group}" for name, held in named.items() for text, group in held.items()
    }  # each counts its own
    train, val, test = (
        grouped([text for name in files if parts[name] == part for text in files[name]], passage, own) for part in PARTS
    )
    return DocumentSplits(list(train), list(val), list(test), train | val | test)


def _divided(files: Mapping[str, Sequence[str]], named: Groups, passage: int, seed: int, given: str) -> DocumentSplits:
    """The documents of files in three parts; each file by itself, if all have enough for that and share nothing."""
    each = [grouped(texts, passage, named) for texts in files.values()]
    groups = [set(pool.values()) for pool in each]
    if any(len(held) < SHARE for held in groups) or sum(map(len, groups)) > len(set().union(*groups)):
        each = [grouped([text for texts in files.values() for text in texts], passage, named)]
    return DocumentSplits.divided(each, seed, given)


def _parts(names: Sequence[str]) -> dict[str, str]:
    """Which part each file is, empty for none, if some are called train or test, or all like a part; else nothing."""
    parts = {name: _part_of(name) for name in names}
    plain = any(re.fullmatch(r"train|test", re.split(r"[.-]", name, maxsplit=1)[0]) for name in names)
    alike = all(parts.values()) and not {"train", "test"}.isdisjoint(parts.values())
    return parts if len(names) > 1 and (plain or alike) else {}


def _part_of(name: str) -> str:
    """Which part a file is called like, by the first word of its name; empty if none."""
    stem = re.split(r"[-_.\d]", name.lower(), maxsplit=1)[0]
    return "val" if stem in VAL else stem if stem in PARTS else ""


def _from_hub(source: str, passage: int, seed: int) -> DocumentSplits:
    (rows,) = from_hub(source, ("train",), f"give --data-dir: {LAYOUT}")
    field = next((field for field in FIELDS if field in rows.column_names), None)
    if field is None:
        raise ManticoreError(f"'{source}' has no column {' or '.join(FIELDS)}; it has {', '.join(rows.column_names)}")
    texts = [text for text in rows[field] if text is not None]
    if not all(isinstance(text, str) for text in texts):
        raise ManticoreError(f"'{source}' has something else than text in its column {field}")
    return DocumentSplits.divided([grouped([text for text in texts if text.strip()], passage)], seed, source)
