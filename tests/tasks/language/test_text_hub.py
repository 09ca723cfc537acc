"""`text` from a data set of the hub, as `datasets` has it: which column, and what is no text."""

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
    """The documents of a data set that was saved and is loaded again."""
    datasets.Dataset.from_dict(columns).save_to_disk(folder / "saved")

    def hub(source: str, splits: tuple[str, ...], ways_out: str) -> list[datasets.Dataset]:
        assert (source, splits) == (NAME, ("train",))
        assert "--data-dir" in ways_out
        return [datasets.load_from_disk(folder / "saved")]

    monkeypatch.setattr(text, "from_hub", hub)
    task = load_task(TaskOptions("text", data_dir=NAME))
    assert isinstance(task, LanguageTask)
    assert task.name == "text:corpus"
    return task.texts()


def whole(texts: DocumentSplits) -> list[str]:
    return sorted([*texts.train, *texts.val, *texts.test])


@pytest.mark.parametrize("column", ["text", "content", "document"])
def test_every_row_is_a_document_in_one_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, column: str) -> None:
    texts = read(monkeypatch, tmp_path, title=["A title"] * 40, **{column: PROSE})
    assert whole(texts) == sorted(PROSE)
    assert all((texts.train, texts.val, texts.test))


def test_the_first_column_that_can_be_meant_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = read(monkeypatch, tmp_path, document=["x"] * 40, text=PROSE)
    assert whole(texts) == sorted(PROSE)


def test_what_comes_from_the_hub_is_what_comes_from_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": PROSE}).to_parquet(tmp_path / "corpus.parquet")
    here = load_task(TaskOptions("text", data_dir=str(tmp_path / "corpus.parquet")))
    assert isinstance(here, LanguageTask)
    assert read(monkeypatch, tmp_path, text=PROSE) == here.texts()


def test_rows_without_text_are_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = read(monkeypatch, tmp_path, text=[None, *PROSE, "", " \n\t", None])
    assert whole(texts) == sorted(PROSE)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"text": [*range(40)]}, "'someone/corpus' has something else than text in its column text"),
        ({"text": [[held] for held in PROSE]}, "something else than text in its column text"),
        ({"content": [{"title": held} for held in PROSE]}, "something else than text in its column content"),
        ({"title": PROSE, "label": [0] * 40}, "has no column text or content or document; it has title, label"),
        ({"text": [None, " "] * 20}, "someone/corpus"),
    ],
    ids=["numbers", "lists", "records", "other columns", "nothing"],
)
def test_a_column_that_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, columns: dict[str, list[Any]], said: str
) -> None:
    with pytest.raises(ManticoreError, match=said) as told:
        read(monkeypatch, tmp_path, **columns)
    assert "\n" not in str(told.value)
