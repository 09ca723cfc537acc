"""Documents in train, val and test, none of which shares a group with another: what hangs together is never torn apart.

A group is what a data set says, or a long document that was cut into passages. Knows no data set and no tokens.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from manticore.errors import ManticoreError
from manticore.tasks.language.documents import passages
from manticore.tasks.options import TaskOptions
from manticore.tasks.splits import PARTS, first, shuffled

log = logging.getLogger(__name__)

SHARE = 10
"""One byte in so many goes to val, and one to test, where nobody says which."""

FINENESS = 4
"""Groups that make up such a part, at least, of a document that is larger than it."""

Groups = Mapping[str, str]
"""Documents, each with the name of the group it is in; its own text, if it stands by itself."""


@dataclass(frozen=True)
class DocumentSplits:
    """The documents of train, val and test.

    Attributes:
        train, val, test: documents.
        groups: of documents that do not stand by themselves.
    """

    train: list[str]
    val: list[str]
    test: list[str]
    groups: Groups = field(default_factory=dict)

    @classmethod
    def divided(cls, pools: Iterable[Groups], seed: int, where: str) -> DocumentSplits:
        """Documents in three parts: whole groups, about a tenth of the bytes each for val and test.

        Args:
            pools: each is divided by itself, so that all parts have the same mixture.
            seed: of the shuffle before.
            where: they come from, for the message.

        Raises ManticoreError if a pool has too few groups.
        """
        parts: list[list[str]] = [[], [], []]
        names: dict[str, str] = {}
        for pool in pools:
            groups = shuffled(group_documents(sorted(pool), pool), seed)
            if len(groups) < 4:
                raise ManticoreError(
                    f"{where}: {len(groups)} documents or passages that have nothing to do with each other, of which "
                    "no four parts can be made; set a smaller passage, as in text@passage=2000, or leave out `group`"
                )
            for held, dealt in zip(parts, allocate(groups, (1 / SHARE, 1 / SHARE)), strict=True):
                held += dealt
            names |= pool
        test, val, train = (list(dict.fromkeys(shuffled(held, seed))) for held in parts)
        return cls(train, val, test, names)

    def first(self, options: TaskOptions, where: str) -> DocumentSplits:
        """As many documents of each part as are asked for. Raises ManticoreError if there are fewer."""
        train, val, test = (list(first(getattr(self, part), getattr(options, part), part, where)) for part in PARTS)
        return DocumentSplits(train, val, test, self.groups)

    def apart(self, where: str) -> DocumentSplits:
        """The same without what stands in another part too, group by group: val gives way to test, train to both.

        What is dropped is logged. Raises ManticoreError if nothing is left of a part.
        """
        taken: set[str] = set()
        kept: dict[str, list[str]] = {}
        for part in ("test", "val", "train"):
            held: list[str] = getattr(self, part)
            kept[part] = [text for text in held if taken.isdisjoint((text, self.groups.get(text, text)))]
            taken |= {name for text in held for name in (text, self.groups.get(text, text))}
            if held and not kept[part]:
                raise ManticoreError(f"{where}: all documents of {part} also occur in the parts it must not touch")
        lost = {part: len(getattr(self, part)) - len(texts) for part, texts in kept.items()}
        if not any(lost.values()):
            return self
        log.warning("%s: %d documents of train and %d of val are dropped: they occur in test, or in val, too",
                    where, lost["train"], lost["val"])  # fmt: skip
        return DocumentSplits(**kept, groups=self.groups)

    def halves(self, seed: int, where: str) -> tuple[list[str], list[str]]:
        """Train in two parts, of about as many bytes and with no group in common.

        Raises ManticoreError if all of train is one group.
        """
        groups = shuffled(group_documents(self.train, self.groups), seed)
        if len(groups) < 2:
            raise ManticoreError(f"{where}: all of train hangs together; more of it is needed, or a smaller passage")
        weights, alphas = allocate(groups, (0.5,))
        return weights, alphas


def group_documents(documents: Iterable[str], groups: Groups) -> list[list[str]]:
    """The documents, those of one group together."""
    held: dict[str, list[str]] = {}
    for document in documents:
        held.setdefault(groups.get(document, document), []).append(document)
    return list(held.values())


def allocate(groups: Sequence[Sequence[str]], shares: Sequence[float]) -> list[list[str]]:
    """The documents of whole groups, in order: to each part its share of the bytes, to one more what is left.

    Every part gets a group at least, if there are as many.
    """
    sizes = [size_of(group) for group in groups]
    whole, parts, start = sum(sizes), [], 0
    for later, share in zip(range(len(shares), 0, -1), shares, strict=True):
        stop = start + 1
        held = sum(sizes[start:stop])
        while stop < len(groups) - later and held < share * whole:
            held += sizes[stop]
            stop += 1
        parts.append([document for group in groups[start:stop] for document in group])
        start = stop
    return [*parts, [document for group in groups[start:] for document in group]]


def grouped(documents: Iterable[str], passage: int, named: Groups | None = None) -> dict[str, str]:
    """Documents in passages of about `passage` bytes (0: whole), each with its group, which is the document.

    What is larger than a part for testing is several groups: stretches of passages that follow each other. Documents in
    `named` have their groups already, whatever their size.
    """
    held = {document: passages(document, passage) for document in documents}
    part = sum(map(size_of, held.values())) / SHARE
    out: dict[str, str] = {}
    for document, parts in held.items():
        group = (named or {}).get(document)
        name = hashlib.blake2b(document.encode(), digest_size=16).hexdigest()
        runs = spans(parts, part / FINENESS) if group is None and size_of(parts) > part else [parts]
        for number, run in enumerate(runs):
            for text in run:
                out.setdefault(text, group or f"{name}.{number}")
    return out


def spans(parts: Sequence[str], most: float) -> list[list[str]]:
    """What follows each other, in runs of at most `most` bytes, or of one."""
    runs: list[list[str]] = [[]]
    held = 0
    for part in parts:
        size = size_of([part])
        if runs[-1] and held + size > most:
            runs.append([])
            held = 0
        runs[-1].append(part)
        held += size
    return runs


def size_of(documents: Iterable[str]) -> int:
    """Bytes."""
    return sum(len(document.encode()) for document in documents)
