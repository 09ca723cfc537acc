"""Tasks from data in memory, which Python functions take in place of the name of a task.

    mc.task(["a text", "another", ...])                            language modelling
    mc.task([("a text", "good"), ("another", "bad"), ...])         classification, of texts or of tokens
    mc.task(train=pairs, val=more_pairs, test=others, labels=["bad", "good"])
    mc.task(datasets.load_dataset("imdb"))

Before a run begins, the examples are written as plain files in four disjoint splits, which the recipe names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from manticore.errors import ManticoreError, UnknownName, shown
from manticore.tasks.catalog import task_info, tasks
from manticore.tasks.classification import labelled
from manticore.tasks.items import COLUMNS, Columns, describe_type, label_names, read_items
from manticore.tasks.language import text as language_text
from manticore.tasks.language.splitting import DocumentSplits, group_passages
from manticore.tasks.options import TaskOptions, format_settings, plain_paths
from manticore.tasks.saved import save_examples
from manticore.tasks.splits import SPLIT_NAMES, TRAIN_ARCH, split_of_name
from manticore.utils.console import info
from manticore.utils.fields import field_types
from manticore.utils.io import slug

SPLITS = (*SPLIT_NAMES, TRAIN_ARCH)

_SCALARS = int | float | bytes | Path
"""Types that are no task."""


@dataclass(frozen=True, eq=False)
class TaskData:
    """Examples in memory.

    Attributes:
        name: name of the data in results.
        options: other options of the task: seed, preset, numbers of examples.
        settings: settings that follow after @ in the name of a task.
        documents: texts in splits, for language modelling; else None.
        examples: labelled examples in splits; else None.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    documents: DocumentSplits | None = None
    examples: labelled.LabelledSplits | None = None

    def __repr__(self) -> str:
        return f"TaskData({self.task_name}, '{self.name}': {format_counts(self.sizes)})"

    @property
    def task_name(self) -> str:
        """The task that reads the files, with its settings."""
        name = language_text.NAME if self.examples is None else labelled.NAME
        return f"{name}@{format_settings(self.settings)}" if self.settings else name

    @property
    def sizes(self) -> dict[str, int]:
        """Texts or examples in each file that is written."""
        splits = self.examples or self.documents
        return {} if splits is None else {name: len(items) for name, items in splits.by_name.items()}

    def save(self, folder: Path) -> bool:
        """Write the examples into `folder`; returns whether it is new. Raises ManticoreError if it holds others."""
        if self.examples is not None:
            return save_examples(folder, self.examples.write, {"labels": list(self.examples.label_names)})
        assert self.documents is not None
        return save_examples(folder, self.documents.write, {})


def task(
    train: Any,
    *,
    val: Any = None,
    test: Any = None,
    train_arch: Any = None,
    labels: Sequence[str] | None = None,
    name: str = "own",
    text: str | None = None,
    label: str | None = None,
    seed: int | None = None,
    preset: str | None = None,
    **settings: object,
) -> TaskData:
    """A task from data in memory, for every function that takes the name of a task.

    Each split is a list of items, a DataFrame, a `datasets.Dataset` or a torch `Dataset`. An item is a text, for
    language modelling; (text, label), for classification by bytes; or (tokens, label), where tokens are whole numbers
    or words and the label is one for the sequence or a list of one for each token. Missing splits are drawn from
    `train` with `seed`: a tenth each for `val` and `test`, then half of the rest for `train_arch`. Duplicates are
    dropped, never from test.

    Args:
        train: the examples that weights are trained on; or all splits as a `datasets.DatasetDict` or a mapping.
        val: examples that models and paths are selected on.
        test: examples of the final evaluation.
        train_arch: examples that architecture weights are trained on.
        labels: names of the classes, by class index. Default: those of the dataset, or of the examples.
        name: name of the data in results.
        text, label: names of the columns of a dataset. Default: text, content, document, tokens or input_ids; label,
            labels or tags.
        seed: seed of the splits. Default: 0.
        preset: `cpu` or `paper`, the default length of chunks and texts. Default: paper where there is a GPU.
        settings: `length`, the largest number of tokens of an example; for language modelling `passage`, for texts with
            labels `unit`.

    Raises ManticoreError if an item is none of these, or there are too few.
    """
    columns = Columns(text, label)
    if isinstance(labels, str) or (labels is not None and len(set(map(str, labels))) < len(labels)):
        raise ManticoreError(f"labels is a list of different names of classes, not {shown(labels)}")
    sources = _sources(train, {"val": val, "test": test, TRAIN_ARCH: train_arch})
    names = tuple(labels or next(filter(None, (label_names(source, columns) for source in sources.values())), ()))
    splits = {split: read_items(source, split, columns) for split, source in sources.items()}
    kinds = {tuple(records[0]) for records in splits.values()}
    if len(kinds) > 1:
        raise ManticoreError("the splits have items of unlike kinds; " + " and ".join(sorted(map(str, kinds))))
    options: dict[str, Any] = {key: value for key, value in (("seed", seed), ("preset", preset)) if value is not None}
    task_options = TaskOptions("text" if not settings else f"text@{format_settings(settings)}", **options)
    if not name or slug(name) != name:
        raise ManticoreError(f"the name of a task must be letters, digits, - or _, got '{name}'")
    kind = language_text.NAME if kinds == {("text",)} else labelled.NAME
    _ = task_info(replace(task_options, name=task_options.name.replace(language_text.NAME, kind, 1)))  # of settings
    if kind == labelled.NAME:
        examples = labelled.complete(splits, names, task_options.seed)
        return TaskData(name, options, settings, examples=examples)
    if labels:
        raise ManticoreError("labels are given, but the items are texts without a label")
    passage = task_options.int_setting("passage", language_text.PASSAGE, range(1 << 30))
    pools = {
        split: group_passages([record["text"] for record in records if record["text"].strip()], passage)
        for split, records in splits.items()
    }
    documents = DocumentSplits.complete(pools, task_options.seed, f"the texts of '{name}'").drop_overlap(name)
    return TaskData(name, options, settings, documents=documents)


def _sources(train: Any, more: Mapping[str, Any]) -> dict[str, Any]:
    """The objects of the splits by name, from one mapping or from arguments."""
    sources = {split: source for split, source in more.items() if source is not None}
    if not isinstance(train, Mapping):
        return {"train": train, **sources}
    check_splits(train)
    named = {split_of_name(str(name)): source for name, source in train.items()}
    unknown = [str(name) for name in train if not split_of_name(str(name))]
    ignored = [name for name in unknown if name == "unsupervised"]  # of IMDb: examples without labels
    if len(unknown) > len(ignored):
        raise UnknownName("split", next(name for name in unknown if name not in ignored), SPLITS)
    named.pop("", None)
    if twice := named.keys() & sources.keys():
        raise ManticoreError(f"{min(twice)} is given twice, in the mapping and as an argument")
    if "train" not in named:
        raise ManticoreError(f"there is no split train among {', '.join(map(str, train)) or 'none'}")
    return {**named, **sources}


def check_splits(mapping: Mapping[str, Any]) -> None:
    """Raises ManticoreError if a mapping has the columns of a table where splits or options are expected."""
    columns = [str(key) for key in mapping if str(key) in COLUMNS]
    if columns:
        raise ManticoreError(
            f"a mapping with '{columns[0]}' is a table of columns; pass its rows, such as "
            "datasets.Dataset.from_dict(...), or a mapping of splits"
        )


@dataclass(frozen=True, eq=False)
class TaskSource:
    """A task as Python functions take it: a name, a mapping of options, `TaskOptions`, or data in memory.

    Attributes:
        keys: options of the task, as a recipe has them.
        data: examples in memory, if the task was given as such.
    """

    keys: dict[str, Any]
    data: TaskData | None = None

    @classmethod
    def of(cls, task_like: Any) -> TaskSource:
        """The source of a task; None has no options. Raises ManticoreError for an object that is no task."""
        if task_like is None:
            return cls({})
        if isinstance(task_like, str):
            return cls({"name": task_like})
        if isinstance(task_like, TaskOptions):
            defaults = {key: getattr(TaskOptions, key) for key in field_types(TaskOptions)}
            return cls({key: value for key, value in vars(task_like).items() if value != defaults[key]})
        if isinstance(task_like, Mapping) and not _is_data(task_like):
            check_splits(task_like)
            keys = dict(task_like)
            return cls({**keys, "data_dir": plain_paths(keys["data_dir"])} if "data_dir" in keys else keys)
        data = task_like if isinstance(task_like, TaskData) else _task_of(task_like)
        return cls({"name": data.task_name, **data.options}, data)

    @property
    def name(self) -> str:
        """A name for a run folder: that of the task, or of the data."""
        return str(self.keys.get("name", "search")) if self.data is None else self.data.name

    @contextmanager
    def saved(self, out: Path | None, console: Console) -> Iterator[dict[str, Any]]:
        """The options of the task, after data in memory has been written beside the folder `out` of a run.

        The folder is `OUT.data/NAME`; without `out` it is a temporary one. It is removed if the block fails before
        there is a run. Raises ManticoreError if the folder holds other examples.
        """
        if self.data is None:
            yield self.keys
            return
        if out is None:
            with tempfile.TemporaryDirectory() as temporary:
                self.data.save(folder := Path(temporary) / self.data.name)
                yield {**self.keys, "data_dir": str(folder)}
            return
        taken = out.is_dir() and any(out.iterdir())
        parent = out.resolve().with_name(f"{out.name}.data")
        folder = parent / self.data.name
        new = self.data.save(folder)
        info(console, f"data: {folder} ({format_counts(self.data.sizes)}{'' if new else '; as before'})")
        try:
            yield {**self.keys, "data_dir": str(folder)}
        except BaseException:
            if new and (taken or not out.exists()):
                _remove(folder)
                if parent.is_dir() and not any(parent.iterdir()):
                    parent.rmdir()
            raise


def format_counts(sizes: Mapping[str, int]) -> str:
    """Examples by split in a message: `train 1,000, val 100`."""
    return ", ".join(f"{split} {count:,}" for split, count in sizes.items())


def _task_of(task_like: Any) -> TaskData:
    if isinstance(task_like, _SCALARS):
        raise ManticoreError(
            f"a task is a name, a mapping of options, or data as mc.task takes it, not {describe_type(task_like)}"
        )
    if isinstance(task_like, list | tuple) and task_like and all(_is_task_name(item) for item in task_like):
        raise ManticoreError(f"{shown(task_like)} are names of tasks; name one (mc.compare takes a list of several)")
    return task(task_like)


def _is_task_name(item: Any) -> bool:
    return isinstance(item, str) and item.partition("@")[0] in tasks


def test_items(task_like: Any) -> Any:
    """The items of a test split alone: a list, a table or a dataset, or a mapping that has no other split.

    None for anything else that is a task: a name, options, `TaskData`, a mapping of several splits.
    """
    if isinstance(task_like, Mapping):
        splits = {split_of_name(str(name)): items for name, items in task_like.items()}
        return splits["test"] if _is_data(task_like) and set(splits) == {"test"} else None
    if task_like is None or isinstance(task_like, str | TaskOptions | TaskData | _SCALARS):
        return None
    return task_like


def _is_data(mapping: Mapping[str, Any]) -> bool:
    """Whether a mapping holds splits, such as a `datasets.DatasetDict`, rather than options of a task."""
    values = [value for key, value in mapping.items() if split_of_name(str(key))]
    return bool(values) and "name" not in mapping and not any(isinstance(value, int | None) for value in values)


def _remove(folder: Path) -> None:
    """Remove a folder of plain files."""
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
