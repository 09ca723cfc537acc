"""Public text corpora as language tasks: WikiText, the Penn Treebank, Alpaca and ELI5, from the hub or local files."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from manticore.errors import BadFile
from manticore.tasks.data_files import read_text, stored_file
from manticore.tasks.hub import load_hub_dataset
from manticore.tasks.info import TaskInfo
from manticore.tasks.language.documents import check_characters
from manticore.tasks.language.splitting import DocumentSplits
from manticore.tasks.language.task import SETTING_HELP, LanguageTask, chunk_length
from manticore.tasks.options import TaskOptions
from manticore.tasks.task import task_infos, tasks
from manticore.utils.text_files import parse_json


@dataclass(frozen=True)
class Corpus:
    """A text corpus: where it is, and how its records become documents.

    Attributes:
        name: name of the task.
        summary: what is predicted, in a sentence.
        source: id on the hub.
        splits: the hub's names of train, val and test, or of one split that is divided here.
        documents: returns the documents of the hub's rows of one split.
        files: names of the local files of train, val and test, or of one file that is divided here.
        read: returns the documents of one local file.
        config, revision: configuration and revision on the hub.
        group: returns the key of a document's group; a group is never divided among splits.
    """

    name: str
    summary: str
    source: str
    splits: tuple[str, ...]
    documents: Callable[[Any], list[str]]
    files: tuple[str, ...]
    read: Callable[[Path], list[str]]
    config: str | None = None
    revision: str | None = None
    group: Callable[[str], str] = str

    def register(self) -> None:
        """Register the task and its info."""

        def make(options: TaskOptions) -> LanguageTask:
            length = chunk_length(options)
            source = self.source if options.data_dir is None else str(options.data_folder)

            def load() -> DocumentSplits:
                return self.load(options).drop_overlap(source).take_first(options, source)

            name = f"{self.name}@length={length}" if "length" in options.settings else self.name
            return LanguageTask(name, load, length, options.seed, f"read from {source}", {"length": length})

        def info(options: TaskOptions) -> TaskInfo:
            length = chunk_length(options)
            return TaskInfo(
                kind="lm",
                metric="bits_per_byte",
                label_names=(),
                settings={"length": length},
                vocabulary=None,
                max_length=length,
                sizes={},
                origin=f"{self.source} from the Hugging Face hub or its cache",
                files=f"a folder with {', '.join(self.files)}",
                setting_help=SETTING_HELP,
            )

        make.__doc__ = self.summary
        tasks.register(self.name)(make)
        task_infos.register(self.name)(info)

    def load(self, options: TaskOptions) -> DocumentSplits:
        """The documents of the three splits. Raises ManticoreError."""
        if options.data_dir is None:
            hint = f"give --data-dir: a folder with {', '.join(self.files)}"
            splits = load_hub_dataset(self.source, self.splits, hint, self.config, self.revision)
            documents = [self.documents(rows) for rows in splits]
        else:
            folder = options.data_folder
            paths = [stored_file(folder / name, f"; expected {', '.join(self.files)} there") for name in self.files]
            documents = [[check_characters(text, path) for text in self.read(path)] for path in paths]
        for name, texts in zip(self.files, documents, strict=True):
            if not texts:
                raise BadFile(name, "there is no document in it")
        if len(documents) == 1:
            groups = {text: self.group(text) for text in documents[0]}
            return DocumentSplits.split([groups], options.seed, self.name)
        train, val, test = (list(dict.fromkeys(texts)) for texts in documents)
        return DocumentSplits(train, val, test)


ARTICLE_TITLE = re.compile(r"^ = [^=].* = ?$", re.MULTILINE)
"""The first line of a WikiText article; the titles of sections have more equals signs."""


def wikitext_articles(text: str) -> list[str]:
    """The articles of a split of WikiText, with the markers of its tokenization (such as ` @-@ `)."""
    starts = [match.start() for match in ARTICLE_TITLE.finditer(text)]
    return [text[start:end].strip() for start, end in pairwise([*starts, len(text)])]


# WikiText-2 and WikiText-103 (Merity et al., arXiv 1609.07843), raw: good articles of Wikipedia.
for _name, _config in (("wikitext", "wikitext-2-raw-v1"), ("wikitext-103", "wikitext-103-raw-v1")):
    Corpus(
        name=_name,
        summary=f"Predict the next token of Wikipedia's good articles: {_config}.",
        source="Salesforce/wikitext",
        splits=("train", "validation", "test"),
        documents=lambda rows: wikitext_articles("".join(rows["text"])),
        files=("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"),
        read=lambda file: wikitext_articles(read_text(file)),
        config=_config,
    ).register()


PTB_SENTENCES = 100
"""Number of sentences of a document of the Penn Treebank, whose files do not mark the beginnings of articles."""


def ptb_documents(sentences: Sequence[str]) -> list[str]:
    """Documents of 100 sentences, one on each line, with single spaces between words."""
    lines = [" ".join(sentence.split()) for sentence in sentences if sentence.strip()]
    return ["\n".join(lines[start : start + PTB_SENTENCES]) for start in range(0, len(lines), PTB_SENTENCES)]


# The Penn Treebank as prepared by Mikolov et al. (2010): lower case, numbers as N, rare words as <unk>.
Corpus(
    name="ptb",
    summary="Predict the next token of the Wall Street Journal: the Penn Treebank in Mikolov's form.",
    source="ptb-text-only/ptb_text_only",
    splits=("train", "validation", "test"),
    documents=lambda rows: ptb_documents(rows["sentence"]),
    files=("ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"),
    read=lambda file: ptb_documents(read_text(file).split("\n")),
    revision="refs/convert/parquet",
).register()


ALPACA_FIELDS = ("instruction", "input", "output")
_TASK = "Below is an instruction that describes a task"
_WITH_INPUT = f"{_TASK}, paired with an input that provides further context. "
_WITHOUT_INPUT = f"{_TASK}. "
_REQUEST = "Write a response that appropriately completes the request."


def alpaca_prompt(record: Mapping[str, str]) -> str:
    """Instruction, input if there is one, and answer, in the layout of the original code."""
    context = record["input"].strip()
    sections = [f"{_WITH_INPUT if context else _WITHOUT_INPUT}{_REQUEST}", f"### Instruction:\n{record['instruction']}"]
    sections += [f"### Input:\n{context}"] if context else []
    return "\n\n".join([*sections, f"### Response:\n{record['output']}"])


def alpaca_instruction(document: str) -> str:
    """The instruction of a document, which is equal for all documents of a group."""
    return document.partition("### Instruction:\n")[2].partition("\n\n### ")[0].strip().lower()


def _alpaca_documents(rows: Iterable[Any]) -> list[str]:
    complete = (record for record in rows if record["instruction"] is not None and record["output"] is not None)
    return [alpaca_prompt({**record, "input": record["input"] or ""}) for record in complete]


def _read_alpaca(file: Path) -> list[str]:
    records = parse_json(read_text(file), file)
    if not isinstance(records, list):
        raise BadFile(file, "expected a list of records")
    for number, record in enumerate(records, start=1):
        texts = [record.get(field, 0) for field in ALPACA_FIELDS] if isinstance(record, dict) else [record]
        if not all(isinstance(text, str | None) for text in texts):
            raise BadFile(file, f"record {number} has no text in one of {', '.join(ALPACA_FIELDS)}")
    return _alpaca_documents(records)


# Alpaca (Taori et al. 2023): 52,000 instructions with inputs and answers; all inputs of an instruction are one group.
Corpus(
    name="alpaca",
    summary="Predict the next token of instructions and answers: Alpaca.",
    source="tatsu-lab/alpaca",
    splits=("train",),
    documents=_alpaca_documents,
    files=("alpaca_data.json",),
    read=_read_alpaca,
    group=alpaca_instruction,
).register()


def eli5_threads(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """One document for each question: the question, then its answers in their order."""
    answers: dict[str, list[str]] = {}
    for question, answer in pairs:
        answers.setdefault(question.strip(), []).append(answer.strip())
    return ["\n\n".join([question, *texts]) for question, texts in answers.items()]


def _eli5_documents(rows: Any) -> list[str]:
    return eli5_threads(pair for pair in zip(rows["question"], rows["answer"], strict=True) if None not in pair)


def _read_eli5(file: Path) -> list[str]:
    pairs = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line.strip():
            continue
        record = parse_json(line, file, number)
        pair = [record.get(field, 0) for field in ("question", "answer")] if isinstance(record, dict) else [record]
        if not all(isinstance(text, str | None) for text in pair):
            raise BadFile(file, "expected a record with question and answer", number)
        if None not in pair:
            pairs.append((pair[0], pair[1]))
    return eli5_threads(pairs)


# ELI5 (Fan et al., arXiv 1907.09190): questions and answers from Reddit.
Corpus(
    name="eli5",
    summary="Predict the next token of long answers to plain questions: ELI5.",
    source="sentence-transformers/eli5",
    splits=("train",),
    documents=_eli5_documents,
    files=("eli5.jsonl",),
    read=_read_eli5,
    config="pair",
).register()
