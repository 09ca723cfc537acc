"""The Retrieval task of the Long Range Arena: does one of two papers cite the other? Both are read byte by byte.

The papers are those of the ACL Anthology Network (Radev et al. 2013); the pairs are only in the archive of Tay et al.,
"Long Range Arena" (arXiv 2011.04006). An example is the concatenation of two documents, each with its EOS; a batch has
them in separate rows, so that one encoder reads both.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from manticore.errors import BadFile, ManticoreError
from manticore.tasks.classification.text import TextScale, encoded_task, text_info
from manticore.tasks.data_files import open_data, plain_size
from manticore.tasks.dataset import Example
from manticore.tasks.info import TaskInfo
from manticore.tasks.lra import ARCHIVE
from manticore.tasks.options import TaskOptions, choose_preset
from manticore.tasks.splits import SplitTask, find_split_files
from manticore.tasks.task import task_infos, tasks
from manticore.utils.console import progress_bar

if TYPE_CHECKING:
    import torch

NAME = "lra-retrieval"
FILES = {split: f"new_aan_pairs.{stem}.tsv" for split, stem in (("train", "train"), ("val", "eval"), ("test", "test"))}
SUBFOLDERS = (".", "tsv_data", "lra_release/tsv_data", "lra_release/lra_release/tsv_data")
COLUMNS = ("label", "id1", "id2", "text1", "text2")
CLASSES = ("apart", "linked")
LABELS = {b"0.0": 0, b"1.0": 1, b"0": 0, b"1": 1}
SCALES = {"paper": TextScale(4000), "cpu": TextScale(512, train=4_000, val=500, test=1_000)}
AVAILABLE = {"train": 147_086, "val": 18_090, "test": 17_437}

LARGE_FILE = 50_000_000
"""Smallest number of bytes of a file for which a progress bar is shown."""

Pair = tuple[tuple[bytes, bytes], int]


class PairTask(SplitTask):
    """Examples of two texts with one class for both. `max_length` is that of one text."""

    kind = "pair"

    def collate(self, batch: Sequence[Example]) -> dict[str, torch.Tensor]:
        """One batch of pairs, padded on the right to the longest text.

        Returns:
            `input_ids` and `attention_mask`, (2B, L) int64, the first texts of all pairs before all second ones;
            `labels`, (B,) int64.
        """
        ends = [int(np.argmax(ids == self.vocabulary.eos)) + 1 for ids, _ in batch]
        texts = [(ids[:end], label) for end, (ids, label) in zip(ends, batch, strict=True)]
        texts += [(ids[end:], label) for end, (ids, label) in zip(ends, batch, strict=True)]
        rows = super().collate(texts)
        return {**rows, "labels": rows["labels"][: len(batch)]}


@tasks.register(NAME)
def lra_retrieval(options: TaskOptions) -> PairTask:
    """Does one of two papers cite the other? ACL Anthology Network, byte by byte, 4,000 of each.

    Reads the Long Range Arena's files in `options.data_dir`. Raises ManticoreError.
    """
    scale = SCALES[choose_preset(options.preset)[0]]
    if options.data_dir is None:
        raise ManticoreError(
            f"'{options.bare_name}' is in the Long Range Arena's archive only: unpack lra_release.gz (a tar file) and "
            f"give --data-dir: a folder with {', '.join(FILES.values())}"
        )
    folder = options.data_folder
    pairs = {
        split: read_file(path, getattr(options, split), getattr(scale, split))
        for split, path in find_split_files(folder, FILES, SUBFOLDERS).items()
    }
    source = f"{folder}, two texts in each example"
    return encoded_task(PairTask, options, SCALES, pairs, CLASSES, source, "length of both")


@task_infos.register(NAME)
def info(options: TaskOptions) -> TaskInfo:
    """The description of the task, without the papers."""
    columns = f"{', '.join(COLUMNS)} between tabs, no header"
    files = f"{', '.join(FILES.values())}, there or in tsv_data/, with columns {columns}; unpack {ARCHIVE}"
    return text_info(options, SCALES, AVAILABLE, CLASSES, "", files, PairTask.kind)


def read_file(path: Path, count: int | None = None, most: int | None = None) -> list[Pair]:
    """Pairs of texts from the top of a file: five columns between tabs, no header, no quotes.

    Args:
        path: one of the three files.
        count: number of pairs, which the file must have; None: all, up to `most`.
        most: largest number of pairs if `count` is None; None: no limit.

    Raises BadFile, with the line.
    """
    pairs: list[Pair] = []
    with (
        open_data(path) as stream,
        progress_bar(f"reading {path.name}", size := plain_size(path), shown=size > LARGE_FILE) as advance,
    ):
        for number, line in enumerate(stream, start=1):
            if len(pairs) == (count or most):
                break
            pairs.append(_parse(path, number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line))
            if not number % 200:
                advance(stream.tell())
    if len(pairs) < (count or 1):
        raise BadFile(path, f"expected at least {count or 1} examples, found {len(pairs)}")
    return pairs


def _parse(path: Path, number: int, line: bytes) -> Pair:
    columns = line.rstrip(b"\r\n").split(b"\t")
    if len(columns) != len(COLUMNS):
        raise BadFile(path, f"expected {len(COLUMNS)} columns {'<tab>'.join(COLUMNS)}, found {len(columns)}", number)
    label = LABELS.get(columns[0])
    if label is None:
        text = columns[0][:20].decode("utf-8", "replace")
        raise BadFile(path, f"expected a label 0.0 or 1.0, found '{text}'", number)
    return (columns[3], columns[4]), label
