"""The user's own labelled examples: texts or token sequences in .jsonl files, with a label each or one for each token.

    {"text": "a film to forget", "label": "bad"}
    {"tokens": ["the", "old", "man"], "labels": ["DET", "ADJ", "NOUN"]}
    {"tokens": [3, 1, 4], "label": 1}

Texts are read by bytes or characters. A folder has train.jsonl and may have val.jsonl, test.jsonl and train_arch.jsonl;
missing splits are drawn from train.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks.classification.char_tokenizer import UNITS, check_unit, length
from manticore.tasks.classification.text import SETTING_HELP, TextScale, encoded_task
from manticore.tasks.data_files import find_data_files, read_text
from manticore.tasks.dataset import IGNORE, Examples
from manticore.tasks.heuristics import same_token
from manticore.tasks.info import TaskInfo
from manticore.tasks.items import CONTENT_FIELDS, read_items
from manticore.tasks.language.documents import is_null
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.saved import FILE, check_saved
from manticore.tasks.splits import (
    SPLIT_NAMES,
    TRAIN_ARCH,
    SplitTask,
    TrainValTest,
    drop_equal,
    shuffled,
    split_of_name,
    take_first,
)
from manticore.tasks.task import task_infos, tasks
from manticore.tasks.vocabulary import Vocabulary
from manticore.utils.io import write_text
from manticore.utils.text_files import canonical_text, parse_json

NAME = "labelled"
SUFFIX = ".jsonl"
SHARE = 10
"""One of this number of examples goes to val, and one to test, if the data has no such split."""

LAYOUT = (
    "train.jsonl, val.jsonl and test.jsonl (train_arch.jsonl if there is one; what is missing is taken from train), or "
    'one .jsonl file: a record a line, {"text": ..., "label": ...} or {"tokens": [...], "label": ...}, or with '
    '"labels", one for each token'
)
LONGEST = {"cpu": 1024, "paper": 4096}
"""Largest number of bytes of a text by preset, if the user sets no length."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class LabelledSplits:
    """Labelled examples in splits.

    Attributes:
        by_name: records by split: train, val, test, and train_arch where it is not half of train.
        label_names: names of the classes, by class index.
    """

    by_name: dict[str, list[Record]]
    label_names: tuple[str, ...]

    def write(self, folder: Path) -> list[Path]:
        """A `.jsonl` file for each split."""
        files = []
        for split, records in self.by_name.items():
            files.append(folder / f"{split}{SUFFIX}")
            write_text(files[-1], "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records))
        return files


@tasks.register(NAME)
def labelled(options: TaskOptions) -> SplitTask:
    """Classify your own texts or token sequences, or their tokens: .jsonl files with labels.

    Reads the file or the folder in `options.data_dir`. Raises ManticoreError.
    """
    if options.data_dir is None:
        raise ManticoreError(f"{NAME} needs --data-dir: {LAYOUT}")
    splits, source = read_folder(options), " + ".join(map(str, options.data_paths))
    records = {
        split: take_first(items, getattr(options, split, None), split, source)
        for split, items in splits.by_name.items()
    }
    build = _task_of_texts if "text" in records["train"][0] else _task_of_tokens
    task = build(options, records, splits.label_names, source)
    settings = task.name.partition("@")
    task.name = f"{NAME}:{'+'.join(path.name for path in options.data_paths)}{settings[1]}{settings[2]}"
    return task


@task_infos.register(NAME)
def task_info(options: TaskOptions) -> TaskInfo:
    """The description of the task, without its examples."""
    cap = LONGEST[choose_preset(options.preset)[0]]
    check_unit(options.settings.get("unit", UNITS[0]))
    return TaskInfo(
        kind="classification",
        metric="accuracy",
        label_names=(),
        settings={"unit": "bytes", "length": options.int_setting("length", cap, range(2, 1 << 20))},
        vocabulary=None,
        max_length=options.int_setting("length", cap, range(2, 1 << 20)),
        sizes={},
        origin="",
        files=LAYOUT,
        setting_help={**SETTING_HELP, "length": "most tokens of an example; default: the longest one's, up to this"},
    )


def read_folder(options: TaskOptions) -> LabelledSplits:
    """The examples of files and folders in splits. Raises ManticoreError."""
    files: list[tuple[str, Path]] = []
    names: tuple[str, ...] = ()
    for path in options.data_paths:
        if not path.exists() and not path.is_symlink():
            raise ManticoreError(f"no such file or folder of labelled examples: {path}")
        facts = check_saved(path)
        if "labels" in facts:
            names = tuple(_names(facts["labels"], path / FILE))
        jsonl = find_data_files(path, (SUFFIX,))
        if not jsonl:
            raise BadFile(path, f"no {SUFFIX} files; expected {LAYOUT}")
        files += [(split_of_name(file.name), file) for file in jsonl]
    if not any(split == "train" for split, _ in files):
        files = [("train", file) for _, file in files]
    records: dict[str, list[Record]] = {}
    for split, file in files:
        if not split:
            raise BadFile(file, f"is none of {', '.join(SPLIT_NAMES)}, which are beside it; take it out")
        records.setdefault(split, []).extend(_read(file))
    return complete(records, names, options.seed)


def complete(records: Mapping[str, Sequence[Record]], names: Sequence[str], seed: int) -> LabelledSplits:
    """Labelled examples with all splits: a missing val or test gets a tenth of train, without its duplicates.

    Args:
        records: by split; there is train.
        names: names of the classes; empty: those of the examples.
        seed: seed of the shuffle.

    Raises ManticoreError if there are too few examples, all have the same label, or a label is none of the names.
    """
    kinds = {tuple(items[0]) for items in records.values()}
    if len(kinds) > 1 or len(next(iter(kinds))) != 2:
        raise ManticoreError("labelled examples have a text or tokens, and a label; all splits have the same kind")
    splits = {split: list(items) for split, items in records.items()}
    missing = [split for split in ("test", "val") if split not in splits]
    if missing:
        by_content = {json.dumps([record.get("text"), record.get("tokens")]): record for record in splits["train"]}
        kept = {_canonical(by_content[key]): by_content[key] for key in sorted(by_content)}
        pool = shuffled(list(kept.values()), seed)
        count = max(1, len(pool) // SHARE)
        if len(pool) < (len(missing) + 2) * count:
            raise ManticoreError(
                f"{len(pool)} examples of train are too few to take {' and '.join(missing)} from them; give more, or "
                "give these splits"
            )
        for split in missing:
            splits[split], pool = pool[:count], pool[count:]
        splits["train"] = pool
    ordered = {split: splits[split] for split in (*SPLIT_NAMES, TRAIN_ARCH) if split in splits}
    names = tuple(names) or _names_of(ordered.values())
    index_of = {name: index for index, name in enumerate(names)}
    for items in ordered.values():
        for record in items:
            classes_of(record, index_of)  # raises for a label that is none of the names
    _check_several(ordered.values())
    return LabelledSplits(ordered, names)


def _canonical(record: Record) -> tuple[Any, ...]:
    """Text or tokens of a record; those that differ in white space or the composition of characters alone are equal."""
    parts = [record["text"]] if "text" in record else record["tokens"]
    return tuple(canonical_text(part) if isinstance(part, str) else part for part in parts)


def _names_of(splits: Iterable[Sequence[Record]]) -> tuple[str, ...]:
    """Names of the classes: those of the labels in alphabetical order, or the numbers from 0 to the largest one."""
    labels = {label for records in splits for record in records for label in labels_of(record)}
    numbers = {label for label in labels if isinstance(label, int)} - {IGNORE}
    texts = {label for label in labels if isinstance(label, str)}
    if numbers and texts:
        raise ManticoreError(f"labels are numbers and names ({min(numbers)}, '{min(texts)}'); use one of the two")
    return tuple(sorted(texts)) if texts else tuple(map(str, range(max(numbers, default=0) + 1)))


def _check_several(splits: Iterable[Sequence[Record]]) -> None:
    """Raises ManticoreError if all labels are equal: there is nothing to predict."""
    labels = {label for records in splits for record in records for label in labels_of(record)} - {IGNORE}
    if len(labels) < 2:
        count = f"all examples have the label {min(labels)!r}" if labels else "no token has a label"
        raise ManticoreError(f"{count}; classification needs at least two labels")


def labels_of(record: Record) -> list[Any]:
    """The label of a record, or one for each token."""
    labels: list[Any] = record["labels"] if "labels" in record else [record["label"]]
    return labels


def classes_of(record: Record, index_of: Mapping[str, int]) -> list[int]:
    """Class indices of the labels of a record. Raises UnknownName for a label that is no class."""
    classes = []
    for label in labels_of(record):
        if label == IGNORE:
            classes.append(IGNORE)
        elif isinstance(label, str):
            if label not in index_of:
                raise UnknownName("label", label, index_of)
            classes.append(index_of[label])
        elif label >= len(index_of):
            raise ManticoreError(f"label {label} is none of the {len(index_of)} classes ({', '.join(index_of)})")
        else:
            classes.append(label)
    return classes


def _task_of_texts(
    options: TaskOptions, records: Mapping[str, Sequence[Record]], names: Sequence[str], source: str
) -> SplitTask:
    """Texts by bytes or characters, EOS at the end."""
    index_of = {name: index for index, name in enumerate(names)}
    examples = {
        split: [((record["text"].encode(),), classes_of(record, index_of)[0]) for record in items]
        for split, items in records.items()
    }
    longest = 1 + max(len(texts[0]) for rows in examples.values() for texts, _ in rows)
    scales = {preset: TextScale(min(most, max(2, longest))) for preset, most in LONGEST.items()}
    return encoded_task(SplitTask, options, scales, examples, names, source, "length")


def _task_of_tokens(
    options: TaskOptions, records: Mapping[str, Sequence[Record]], names: Sequence[str], source: str
) -> SplitTask:
    """Token sequences: words, those of train, with EOS at the end; or numbers, which are the ids."""
    textual = isinstance(records["train"][0]["tokens"][0], str)
    counted = records["train"] if textual else [record for items in records.values() for record in items]
    tokens = {token for record in counted for token in record["tokens"]}
    vocabulary = Vocabulary.of(sorted(tokens)) if textual else Vocabulary.plain(max(tokens) + 1)
    end = [vocabulary.eos] if textual else []
    longest = len(end) + max(len(record["tokens"]) for items in records.values() for record in items)
    most = options.int_setting("length", longest, range(1 + len(end), 1 << 20))
    index_of = {name: index for index, name in enumerate(names)}
    per_token = "labels" in records["train"][0]

    def encode(record: Record) -> tuple[list[int], int | list[int]]:
        ids = (vocabulary.encode(record["tokens"]) if textual else record["tokens"])[: most - len(end)]
        classes = classes_of(record, index_of)
        return ids + end, classes[: len(ids)] + [IGNORE] * len(end) if per_token else classes[0]

    distinct = drop_equal(records, _canonical, f"{NAME} examples")
    packed = {split: Examples.pack(map(encode, items)) for split, items in distinct.items()}
    splits = TrainValTest(**packed).without_duplicates(NAME)
    name = f"{NAME}@length={most}" if "length" in options.settings else NAME
    task = SplitTask(
        name,
        vocabulary,
        names,
        most,
        lambda: splits,
        options.seed,
        f"read from {source}",
        features={"same token": same_token} if per_token else {"length": length},
        settings={"length": most},
    )
    task.kind = "tokens" if per_token else "classification"
    return task


def _read(file: Path) -> list[Record]:
    """The records of a .jsonl file; those whose text or tokens are null are left out. Raises BadFile, with the line."""
    lines = enumerate(read_text(file).split("\n"), start=1)
    records = [parse_json(line, file, number) for number, line in lines if line.strip()]
    try:
        return list(read_items([record for record in records if not is_null(record, CONTENT_FIELDS)], file.stem))
    except ManticoreError as error:
        raise BadFile(file, str(error)) from None


def _names(labels: Any, file: Path) -> list[str]:
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise BadFile(file, "'labels' must be a list of names")
    return labels
