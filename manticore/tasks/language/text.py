"""The user's own text: local files, a dataset of the hub, or the megabyte of public-domain English in the package."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.hub import load_hub_dataset
from manticore.tasks.info import TaskInfo
from manticore.tasks.language.documents import FIELDS, KINDS, read_grouped_documents
from manticore.tasks.language.splitting import HELD_OUT, DocumentSplits, Groups, group_passages
from manticore.tasks.language.task import SETTING_HELP, LanguageTask, chunk_length
from manticore.tasks.options import TaskOptions, format_settings
from manticore.tasks.saved import check_saved
from manticore.tasks.splits import SPLIT_NAMES, TRAIN_ARCH, split_of_name
from manticore.tasks.task import task_infos, tasks
from manticore.utils import assets

NAME = "text"
SAMPLE = assets.data_folder("samples") / "public_domain.txt.xz"
SAMPLE_DESCRIPTION = "a megabyte of novels and speeches in the public domain"
PASSAGE = 8192
LAYOUT = (
    f"a {', '.join(KINDS)} file (any with .xz or .gz after it), or a folder of them: all in one pool, or train, val "
    "and test by their names; or the hub's name of a data set that has a column "
    f"{' or '.join(FIELDS)}"
)


@tasks.register(NAME)
def text(options: TaskOptions) -> LanguageTask:
    """Predict the next token of your own text: .txt, .md, .jsonl, .parquet or a data set of the hub.

    Without `options.data_dir` the text is a megabyte of novels and speeches in the public domain. Raises
    ManticoreError.
    """
    length, passage = chunk_length(options), options.int_setting("passage", PASSAGE, range(1 << 30))
    paths = (options.data_dir,) if isinstance(options.data_dir, str) else options.data_dir or (str(SAMPLE),)
    source = SAMPLE_DESCRIPTION if options.data_dir is None else " + ".join(paths)

    def load() -> DocumentSplits:
        return load_documents(paths, passage, options.seed).drop_overlap(source).take_first(options, source)

    settings: dict[str, object] = {"length": length, "passage": passage}
    own = {key: value for key, value in settings.items() if key in options.settings}
    name = NAME if options.data_dir is None else f"{NAME}:{'+'.join(Path(path).name for path in paths)}"
    name = f"{name}@{format_settings(own)}" if own else name
    return LanguageTask(name, load, length, options.seed, f"read from {source}", settings)


@task_infos.register(NAME)
def info(options: TaskOptions) -> TaskInfo:
    """The description of the task, without the text."""
    return TaskInfo(
        kind="lm",
        metric="bits_per_byte",
        label_names=(),
        settings={"length": chunk_length(options), "passage": PASSAGE},
        vocabulary=None,
        max_length=chunk_length(options),
        sizes={},
        origin=f"{SAMPLE_DESCRIPTION}, which comes with manticore",
        files=LAYOUT,
        setting_help={
            **SETTING_HELP,
            "passage": "size in bytes from which a document is cut between paragraphs; 0: never",
        },
    )


def load_documents(sources: Sequence[str], passage: int, seed: int) -> DocumentSplits:
    """The documents of files and folders, or of a dataset of the hub, in splits. Raises ManticoreError."""
    if len(sources) == 1 and not Path(sources[0]).expanduser().exists() and _may_be_on_hub(sources[0]):
        return _from_hub(sources[0], passage, seed)
    files, groups, paths = read_files(sources)
    source = " + ".join(map(str, sources))
    split_of = named_by_split(list(files))
    if not split_of:
        named = {text: group for file_groups in groups.values() for text, group in file_groups.items()}
        return _split_files(files, named, passage, seed, source)
    if missing := [split for split in SPLIT_NAMES if split not in split_of.values()]:
        raise BadFile(source, f"has files for some splits and none for {' and '.join(missing)}; name all or none so")
    if unnamed := [name for name, split in split_of.items() if not split]:
        raise BadFile(paths[unnamed[0]], f"is none of {', '.join(SPLIT_NAMES)}, which its folder has; take it out")
    # Every file numbers its own groups.
    named = {text: f"{name}: {group}" for name, file_groups in groups.items() for text, group in file_groups.items()}
    texts: dict[str, list[str]] = {split: [] for split in (*SPLIT_NAMES, TRAIN_ARCH) if split in split_of.values()}
    for name, documents in files.items():
        texts[split_of[name]] += documents
    pools = {split: group_passages(documents, passage, named) for split, documents in texts.items()}
    return DocumentSplits.complete(pools, seed, source)


def read_files(sources: Sequence[str]) -> tuple[dict[str, list[str]], dict[str, dict[str, str]], dict[str, Path]]:
    """The documents, the groups and the path of each file of files and folders, by its name. Raises ManticoreError."""
    files: dict[str, list[str]] = {}
    groups: dict[str, dict[str, str]] = {}
    paths: dict[str, Path] = {}
    for number, source in enumerate(sources, start=1):
        path = Path(source).expanduser()
        if not path.exists():
            raise ManticoreError(f"no such file or folder of text: {source}")
        check_saved(path)
        for name, documents in (read := read_grouped_documents(path))[0].items():
            key = name if name not in files else f"{name} of {source} ({number})"
            files[key], groups[key] = documents, read[1][name]
            paths[key] = path / name if path.is_dir() else path
    return files, groups, paths


def _may_be_on_hub(source: str) -> bool:
    return "/" in source and not source.startswith((".", "/", "~"))


def _split_files(
    files: Mapping[str, Sequence[str]], named: Groups, passage: int, seed: int, source: str
) -> DocumentSplits:
    """Split the documents of each file, or of all files in one pool if a file has few groups or they share groups."""
    pools = [group_passages(texts, passage, named) for texts in files.values()]
    groups = [set(pool.values()) for pool in pools]
    if any(len(names) < HELD_OUT for names in groups) or sum(map(len, groups)) > len(set().union(*groups)):
        pools = [group_passages([text for texts in files.values() for text in texts], passage, named)]
    return DocumentSplits.split(pools, seed, source)


def named_by_split(names: Sequence[str]) -> dict[str, str]:
    """The split of each file by its name, empty for none; {} if the names do not name splits.

    They name splits if a file is called `train` or `test`, or if every file is named like a split and one like train or
    test.
    """
    splits = {name: split_of_name(name) for name in names}
    plain = any(re.fullmatch(r"train|test", re.split(r"[.-]", name, maxsplit=1)[0]) for name in names)
    all_named = all(splits.values()) and not {"train", "test"}.isdisjoint(splits.values())
    return splits if len(names) > 1 and (plain or all_named) else {}


def _from_hub(source: str, passage: int, seed: int) -> DocumentSplits:
    (rows,) = load_hub_dataset(source, ("train",), f"give --data-dir: {LAYOUT}")
    field = next((field for field in FIELDS if field in rows.column_names), None)
    if field is None:
        raise ManticoreError(f"'{source}' has no column {' or '.join(FIELDS)}; it has {', '.join(rows.column_names)}")
    texts = [text for text in rows[field] if text is not None]
    if not all(isinstance(text, str) for text in texts):
        raise ManticoreError(f"'{source}' has something else than text in its column {field}")
    return DocumentSplits.split([group_passages([text for text in texts if text.strip()], passage)], seed, source)
