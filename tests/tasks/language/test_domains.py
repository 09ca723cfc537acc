"""Domains of text: files of which each is in every split, and the task without one of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manticore.errors import ManticoreError
from manticore.tasks.language.domains import Domains
from manticore.tasks.language.text import text
from manticore.tasks.options import TaskOptions
from tests.helpers.text_hybrids import hybrid_tokenizer


def write_domain(folder: Path, name: str, documents: int = 24) -> Path:
    parts = (f"The {index}th {name} of a text has the number {index * 7}. " * 6 for index in range(documents))
    file = folder / f"{name}.txt"
    file.write_text("\n<|endoftext|>\n".join(parts), encoding="utf-8")
    return file


def options(*files: Path) -> TaskOptions:
    return TaskOptions("text@length=32", "cpu", data_dir=tuple(map(str, files)))


def test_a_domain_is_left_out_of_the_training_alone(tmp_path: Path) -> None:
    files = [write_domain(tmp_path, name) for name in ("word", "line", "page")]
    task = text(options(*files)).with_tokenizer(hybrid_tokenizer())
    domains = Domains.of(options(*files))
    domains.check(task)
    assert domains.names == ("word.txt", "line.txt", "page.txt")
    without = domains.without(task, "line.txt")
    before, after = task.documents(), without.documents()  # type: ignore[attr-defined]
    assert (after["val"], after["test"]) == (before["val"], before["test"])
    trained = {document for split in ("train", "train_arch") for document in before[split]}
    kept = {document for split in ("train", "train_arch") for document in after[split]}
    assert kept == {document for document in trained if "line" not in document}
    assert len(kept) < len(trained)


def test_the_chunks_of_the_domains_are_those_of_the_validation_split(tmp_path: Path) -> None:
    files = [write_domain(tmp_path, name) for name in ("word", "line")]
    task = text(options(*files)).with_tokenizer(hybrid_tokenizer())
    parts = Domains.of(options(*files)).validation(task)
    whole = task.splits().val
    assert sorted(key for part in parts.values() for key in part.fingerprints()) == sorted(whole.fingerprints())
    sizes = [np.sum(part.num_bytes) for part in parts.values()]
    assert min(sizes) > 0
    assert sum(sizes) == np.sum(whole.num_bytes)


def test_a_text_in_two_files_is_of_the_first(tmp_path: Path) -> None:
    first, second = write_domain(tmp_path, "word"), tmp_path / "copy.txt"
    second.write_text(first.read_text("utf-8") + "\n<|endoftext|>\nAnother one.", encoding="utf-8")
    domains = Domains.of(options(first, second))
    assert [domains.of_document[key] for key in domains.of_document][-2:] == ["word.txt", "copy.txt"]


def test_what_has_no_domains_is_refused(tmp_path: Path) -> None:
    file = write_domain(tmp_path, "word")
    with pytest.raises(ManticoreError, match="here is a single file"):
        Domains.of(options(file))
    with pytest.raises(ManticoreError, match="domains are files of text: --task text --data-dir"):
        Domains.of(TaskOptions("text", "cpu"))
    with pytest.raises(ManticoreError, match="domains are files of text"):
        Domains.of(TaskOptions("wikitext", "cpu", data_dir=(str(tmp_path),)))
    folder = tmp_path / "splits"
    folder.mkdir()
    names = [write_domain(folder, name) for name in ("train", "val", "test")]
    with pytest.raises(ManticoreError, match="files that are named like splits"):
        Domains.of(options(*names))


def test_a_domain_without_documents_in_a_split_is_named(tmp_path: Path) -> None:
    large, small = write_domain(tmp_path, "word"), write_domain(tmp_path, "few", documents=1)
    task = text(options(large, small)).with_tokenizer(hybrid_tokenizer())
    with pytest.raises(ManticoreError, match=r"few\.txt has no document in the split (val|train)"):
        Domains.of(options(large, small)).check(task)
