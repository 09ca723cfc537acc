"""Data sets of the field as language tasks, a row each: from the hub, or from the files they were handed out in.

Knows no data set by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.errors import BadFile
from manticore.tasks.hub import from_hub
from manticore.tasks.info import TaskInfo
from manticore.tasks.language.documents import has_tokens
from manticore.tasks.language.splitting import DocumentSplits
from manticore.tasks.language.task import HELPS, LanguageTask, length_of
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import task_infos, tasks


@dataclass(frozen=True)
class Corpus:
    """A data set of the field, as one row: where it is, and how its records become documents.

    Attributes:
        name: of the task.
        summary: what is told, in a sentence.
        source: where the hub has it.
        splits: the hub's train, val and test, or one split that is divided here.
        documents: from the hub's rows of one split to documents.
        files: how local files of train, val and test are called, or the one that is divided here.
        read: from one local file to documents.
        config, revision: of the hub's, where it has several.
        group: what must not be torn apart when one split is divided: a key for each document.
    """

    name: str
    source: str
    splits: tuple[str, ...]
    documents: Callable[[Any], list[str]]
    files: tuple[str, ...]
    read: Callable[[Path], list[str]]
    config: str | None = None
    revision: str | None = None
    group: Callable[[str], str] = str

    def register(self, summary: str) -> None:
        """Enter the task and its sheet; `summary` is its docstring."""

        def make(options: TaskOptions) -> LanguageTask:
            length = length_of(options)
            where = self.source if options.data_dir is None else options.data_dir

            def get() -> DocumentSplits:
                return self.texts(options).apart(where).first(options, where)

            name = f"{self.name}@length={length}" if "length" in options.settings else self.name
            return LanguageTask(name, get, length, options.seed, f"read from {where}", {"length": length})

        def sheet(options: TaskOptions) -> TaskInfo:
            origin = f"{self.source} from the Hugging Face hub or its cache"
            files = f"a folder with {', '.join(self.files)}"
            length = length_of(options)
            return TaskInfo("lm", "bits_per_byte", (), {"length": length}, None, length, {}, origin, files, HELPS)

        make.__doc__ = summary
        tasks.register(self.name)(make)
        task_infos.register(self.name)(sheet)

    def texts(self, options: TaskOptions) -> DocumentSplits:
        """The documents of the three parts. Raises ManticoreError."""
        if options.data_dir is None:
            ways_out = f"give --data-dir: a folder with {', '.join(self.files)}"
            rows = from_hub(self.source, self.splits, ways_out, self.config, self.revision)
            parts = [self.documents(held) for held in rows]
        else:
            folder = Path(options.data_dir).expanduser()
            missing = [name for name in self.files if not (folder / name).is_file()]
            if missing:
                raise BadFile(folder / missing[0], f"no such file; expected {', '.join(self.files)} there")
            parts = [[has_tokens(text, folder / name) for text in self.read(folder / name)] for name in self.files]
        for name, held in zip(self.files, parts, strict=True):
            if not held:
                raise BadFile(name, "there is no document in it")
        if len(parts) == 1:
            return DocumentSplits.divided([{text: self.group(text) for text in parts[0]}], options.seed, self.name)
        train, val, test = (list(dict.fromkeys(held)) for held in parts)
        return DocumentSplits(train, val, test)
