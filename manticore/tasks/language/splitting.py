"""Documents in splits such that no group of documents is in two of them.

A group is defined by the dataset, such as all records of one thread, or is a long document that was cut into passages.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manticore.errors import ManticoreError
from manticore.tasks.language.documents import passages
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import SPLIT_NAMES, TRAIN_ARCH, shuffled, take_first
from manticore.utils.io import write_text
from manticore.utils.text_files import canonical_text

log = logging.getLogger(__name__)

HELD_OUT = 10
"""One of this number of bytes goes to val, and one to test, if the data has no splits."""

SPANS_PER_SPLIT = 4
"""A document that is larger than a held-out split is cut into spans; at least this number fit into such a split."""

Groups = Mapping[str, str]
"""The name of each document's group; documents without a group are their own group."""


@dataclass(frozen=True)
class DocumentSplits:
    """The documents of train, val and test.

    Attributes:
        train, val, test: documents.
        groups: name of the group of each document that belongs to one.
        train_arch: documents of that split; None: half of train.
    """

    train: list[str]
    val: list[str]
    test: list[str]
    groups: Groups = field(default_factory=dict)
    train_arch: list[str] | None = None

    @classmethod
    def split(cls, pools: Iterable[Groups], seed: int, source: str) -> DocumentSplits:
        """Split whole groups at random, with about a tenth of the bytes each for val and test.

        Args:
            pools: documents with their groups; each pool is split separately, so that all splits have the same mixture.
            seed: seed of the shuffles.
            source: where the documents come from, for the error message.

        Raises ManticoreError if a pool has too few groups.
        """
        splits: list[list[str]] = [[], [], []]
        names: dict[str, str] = {}
        for pool in pools:
            groups = shuffled(group_documents(sorted(pool), pool), seed)
            if len(groups) < 4:
                raise ManticoreError(
                    f"{source}: {len(groups)} unrelated documents or passages are too few for four splits; set a "
                    "smaller passage, as in text@passage=2000, or leave out `group`"
                )
            for documents, allocated in zip(splits, allocate(groups, (1 / HELD_OUT, 1 / HELD_OUT)), strict=True):
                documents += allocated
            names |= pool
        test, val, train = (list(dict.fromkeys(shuffled(documents, seed))) for documents in splits)
        return cls(train, val, test, names)

    @classmethod
    def complete(cls, pools: Mapping[str, Groups], seed: int, source: str) -> DocumentSplits:
        """The splits of `pools`; each missing one gets about a tenth of the bytes of train.

        Args:
            pools: by split, documents with their groups; train must be among them.
            seed: seed of the shuffles.
            source: where the documents come from, for the error message.

        Raises ManticoreError if train has too few groups.
        """
        missing = [name for name in ("test", "val") if name not in pools]
        if len(missing) == 2 and TRAIN_ARCH not in pools:
            return cls.split([pools["train"]], seed, source)
        documents = {name: list(pool) for name, pool in pools.items()}
        if missing:
            groups = shuffled(group_documents(sorted(pools["train"]), pools["train"]), seed)
            if len(groups) < len(missing) + 2:
                raise ManticoreError(
                    f"{source}: {len(groups)} unrelated documents or passages of train are too few to take "
                    f"{' and '.join(missing)} from them; give more text, a smaller passage, or these splits"
                )
            *taken, documents["train"] = allocate(groups, (1 / HELD_OUT,) * len(missing))
            documents |= dict(zip(missing, taken, strict=True))
        names = {text: group for pool in pools.values() for text, group in pool.items()}
        return cls(documents["train"], documents["val"], documents["test"], names, documents.get(TRAIN_ARCH))

    @property
    def by_name(self) -> dict[str, list[str]]:
        """The documents by split, without `train_arch` where it is half of train."""
        splits = {name: getattr(self, name) for name in (*SPLIT_NAMES, TRAIN_ARCH)}
        return {name: documents for name, documents in splits.items() if documents is not None}

    def take_first(self, options: TaskOptions, source: str) -> DocumentSplits:
        """The first documents of each split, by the sizes in the options. Raises ManticoreError if there are fewer."""
        train, val, test = (
            list(take_first(getattr(self, name), getattr(options, name), name, source)) for name in SPLIT_NAMES
        )
        arch = self.train_arch
        if arch is not None and options.train is not None:  # both parts count as training documents
            train, arch = train[: (options.train + 1) // 2], arch[: options.train // 2]
        return DocumentSplits(train, val, test, self.groups, arch)

    def drop_overlap(self, source: str) -> DocumentSplits:
        """The same without overlap of splits: groups of test are dropped from val, groups of test and val from train.

        Texts that differ in white space or in the composition of characters (NFC, NFD) alone are equal. The number of
        dropped documents is logged. Raises ManticoreError if a split becomes empty.
        """
        seen: set[str] = set()
        kept: dict[str, list[str]] = {}
        splits = self.by_name
        for name in (name for name in ("test", "val", TRAIN_ARCH, "train") if name in splits):
            documents = splits[name]
            keys = [self._keys(text) for text in documents]
            kept[name] = [text for text, of_text in zip(documents, keys, strict=True) if seen.isdisjoint(of_text)]
            seen.update(*keys)
            if documents and not kept[name]:
                raise ManticoreError(f"{source}: all documents of {name} also occur in the splits it must not overlap")
        dropped = {name: len(splits[name]) - len(documents) for name, documents in kept.items()}
        if not any(dropped.values()):
            return self
        log.warning(
            "%s: dropped %d documents of train and %d of val, which also occur in test or val",
            source,
            dropped["train"] + dropped.get(TRAIN_ARCH, 0),
            dropped["val"],
        )
        return DocumentSplits(kept["train"], kept["val"], kept["test"], self.groups, kept.get(TRAIN_ARCH))

    def _keys(self, text: str) -> tuple[str, str]:
        """A document's canonical text, and its group, in which every other document excludes it from other splits."""
        canonical = canonical_text(text)
        return canonical, self.groups.get(text, canonical)

    def halves(self, seed: int, source: str) -> tuple[list[str], list[str]]:
        """The splits train and train_arch: those of the data, or else two halves of train with about equal bytes.

        No group is in both. Raises ManticoreError if all of train is one group.
        """
        if self.train_arch is not None:
            return self.train, self.train_arch
        groups = shuffled(group_documents(self.train, self.groups), seed)
        if len(groups) < 2:
            raise ManticoreError(f"{source}: all of train is one group; more text is needed, or a smaller passage")
        train, train_arch = allocate(groups, (0.5,))
        return train, train_arch

    def write(self, folder: Path) -> list[Path]:
        """A `.jsonl` file for each split: a record for each document, with its `group` if that has several.

        Raises ManticoreError if a file exists.
        """
        splits = self.by_name
        files = {name: folder / f"{name}.jsonl" for name in splits}
        for file in files.values():
            if file.exists():
                raise ManticoreError(f"{file} exists; choose another folder")
        names = [self.groups.get(text, text) for documents in splits.values() for text in documents]
        numbers = {name: number for number, (name, count) in enumerate(Counter(names).items()) if count > 1}
        for split, file in files.items():
            records: list[dict[str, object]] = []
            for text in splits[split]:
                number = numbers.get(self.groups.get(text, text))
                records.append({"text": text} if number is None else {"text": text, "group": number})
            write_text(file, "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records))
        return list(files.values())


def group_documents(documents: Iterable[str], groups: Groups) -> list[list[str]]:
    """The documents of each group."""
    members: dict[str, list[str]] = {}
    for document in documents:
        members.setdefault(groups.get(document, document), []).append(document)
    return list(members.values())


def allocate(groups: Sequence[Sequence[str]], shares: Sequence[float]) -> list[list[str]]:
    """Allocate the documents of whole groups, in order: to each split its share of the bytes, the rest to a last one.

    Every split gets at least one group, if there are enough.
    """
    sizes = [num_bytes(group) for group in groups]
    total, splits, start = sum(sizes), [], 0
    for splits_left, share in zip(range(len(shares), 0, -1), shares, strict=True):
        stop = start + 1
        allocated = sum(sizes[start:stop])
        while stop < len(groups) - splits_left and allocated < share * total:
            allocated += sizes[stop]
            stop += 1
        splits.append([document for group in groups[start:stop] for document in group])
        start = stop
    return [*splits, [document for group in groups[start:] for document in group]]


def group_passages(documents: Iterable[str], passage: int, named: Groups | None = None) -> dict[str, str]:
    """Documents cut into passages, each with the name of its group: one group for each document.

    A document that is larger than a held-out split becomes several groups: spans of consecutive passages.

    Args:
        documents: the documents.
        passage: size of a passage in bytes; 0: documents are not cut.
        named: groups that the data names; their documents stay in these groups, also if they are large.
    """
    passages_of = {document: passages(document, passage) for document in documents}
    held_out = sum(map(num_bytes, passages_of.values())) / HELD_OUT
    groups: dict[str, str] = {}
    for document, parts in passages_of.items():
        group = (named or {}).get(document)
        key = hashlib.blake2b(document.encode(), digest_size=16).hexdigest()
        large = group is None and num_bytes(parts) > held_out
        for number, span in enumerate(spans(parts, held_out / SPANS_PER_SPLIT) if large else [parts]):
            for text in span:
                groups.setdefault(text, group or f"{key}.{number}")
    return groups


def spans(parts: Sequence[str], size: float) -> list[list[str]]:
    """Runs of consecutive parts with at most `size` bytes, or with one part."""
    runs: list[list[str]] = [[]]
    used = 0
    for part in parts:
        length = num_bytes([part])
        if runs[-1] and used + length > size:
            runs.append([])
            used = 0
        runs[-1].append(part)
        used += length
    return runs


def num_bytes(documents: Iterable[str]) -> int:
    """Bytes of all documents in UTF-8."""
    return sum(len(document.encode()) for document in documents)
