"""`text` from a dataset of the hub: which column is read, and which is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest

from manticore.errors import ManticoreError
from manticore.tasks.catalog import load_task
from manticore.tasks.language import text
from manticore.tasks.language.splitting import DocumentSplits
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions

NAME = "someone/corpus"
PROSE = [f"Document {number}.\n\nIt ends here, né?" for number in range(40)]


def read(monkeypatch: pytest.MonkeyPatch, folder: Path, **columns: list[Any]) -> DocumentSplits:
    """The documents of a dataset that is saved and loaded."""
    datasets.Dataset.from_dict(columns).save_to_disk(folder / "saved")

    def hub(source: str, splits: tuple[str, ...], hint: str) -> list[datasets.Dataset]:
        assert (source, splits) == (NAME, ("train",))
        assert "--data-dir" in hint
        return [datasets.load_from_disk(folder / "saved")]

    monkeypatch.setattr(text, "load_hub_dataset", hub)
    task = load_task(TaskOptions("text", data_dir=NAME))
    assert isinstance(task, LanguageTask)
    assert task.name == "text:corpus"
    return task.texts()


def all_documents(texts: DocumentSplits) -> list[str]:
    return sorted([*texts.train, *texts.val, *texts.test])


@pytest.mark.parametrize("column", ["text", "content", "document"])
def test_every_row_is_a_document_in_one_split(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, column: str) -> None:
    texts = read(monkeypatch, tmp_path, title=["A title"] * 40, **{column: PROSE})
    assert all_documents(texts) == sorted(PROSE)
    assert all((texts.train, texts.val, texts.test))


def test_the_first_text_column_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = read(monkeypatch, tmp_path, document=["x"] * 40, text=PROSE)
    assert all_documents(texts) == sorted(PROSE)


def test_documents_from_the_hub_equal_those_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": PROSE}).to_parquet(tmp_path / "corpus.parquet")
    here = load_task(TaskOptions("text", data_dir=str(tmp_path / "corpus.parquet")))
    assert isinstance(here, LanguageTask)
    assert read(monkeypatch, tmp_path, text=PROSE) == here.texts()


def test_rows_without_text_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = read(monkeypatch, tmp_path, text=[None, *PROSE, "", " \n\t", None])
    assert all_documents(texts) == sorted(PROSE)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": [*range(40)]}, "'someone/corpus' has something else than text in its column text"),
        ({"text": [[value] for value in PROSE]}, "something else than text in its column text"),
        ({"content": [{"title": value} for value in PROSE]}, "something else than text in its column content"),
        ({"title": PROSE, "label": [0] * 40}, "has no column text or content or document; it has title, label"),
        ({"text": [None, " "] * 20}, "someone/corpus"),
    ],
    ids=["numbers", "lists", "records", "other columns", "nothing"],
)
def test_a_column_that_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: dict[str, list[Any]], message: str
) -> None:
    with pytest.raises(ManticoreError, match=message) as error:
        read(monkeypatch, tmp_path, **columns)
    assert "\n" not in str(error.value)
