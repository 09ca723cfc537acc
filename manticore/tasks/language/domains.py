"""Domains of text: the files that a language task is read from, and the task with one of them or without it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Examples
from manticore.tasks.language.chunking import chunk
from manticore.tasks.language.documents import passages
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.language.text import NAME, PASSAGE, named_by_split, read_files
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import Task


@dataclass(frozen=True)
class Domains:
    """The domains of a task's documents.

    Attributes:
        names: the domains, in the order in which the files are read.
        of_document: the domain of each document, or passage of one; of a text in several files the first.
    """

    names: tuple[str, ...]
    of_document: Mapping[str, str]

    @classmethod
    def of(cls, options: TaskOptions) -> Domains:
        """The files of the task `text`. Raises ManticoreError for other tasks, and for files that are no domains."""
        paths = (options.data_dir,) if isinstance(options.data_dir, str) else options.data_dir or ()
        if options.bare_name != NAME or not paths:
            raise ManticoreError("domains are files of text: --task text --data-dir FOLDER, with a file for each")
        files, _, _ = read_files(paths)
        if len(files) < 2 or named_by_split(list(files)):
            what = "files that are named like splits" if len(files) > 1 else "a single file"
            raise ManticoreError(f"domains are several files of text, each of which is split, and here is {what}")
        passage = options.int_setting("passage", PASSAGE, range(1 << 30))
        of_document: dict[str, str] = {}
        for name, documents in files.items():
            for document in documents:
                for part in passages(document, passage):
                    of_document.setdefault(part, name)
        return cls(tuple(files), of_document)

    def check(self, task: LanguageTask) -> None:
        """Raises ManticoreError for a domain without a document to train on or to score."""
        texts = task.texts()
        for split, documents in (("train", [*texts.train, *(texts.train_arch or ())]), ("val", texts.val)):
            seen = {self.of_document[text] for text in documents}
            if missing := [name for name in self.names if name not in seen]:
                raise ManticoreError(
                    f"{missing[0]} has no document in the split {split}; give more of it, or leave it out"
                )

    def without(self, task: LanguageTask, domain: str) -> Task:
        """The task whose training splits have no document of a domain; the other splits are the same."""
        texts = task.texts()
        kept = [text for text in texts.train if self.of_document[text] != domain]
        arch = texts.train_arch
        kept_arch = None if arch is None else [text for text in arch if self.of_document[text] != domain]
        return task.with_texts(replace(texts, train=kept, train_arch=kept_arch))

    def validation(self, task: LanguageTask) -> dict[str, Examples]:
        """The chunks of the validation split of each domain, each once, as in `task.splits().val`."""
        texts, tokenizer = task.texts(), task.hf_tokenizer()
        left = set(task.splits().val.fingerprints())
        parts = {}
        for name in self.names:
            documents = [text for text in texts.val if self.of_document[text] == name]
            examples = chunk(documents, tokenizer, task.max_length, texts.groups)
            kept = []
            for index, key in enumerate(examples.fingerprints()):
                if key in left:
                    left.remove(key)
                    kept.append(index)
            parts[name] = examples.take(kept)
        return parts
