"""The Retrieval task: two texts in each example, in separate rows of a batch; malformed lines are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks import TaskOptions, load_task
from manticore.tasks.lra.retrieval import PairTask, read_file


def line(label: str, first: str, second: str) -> str:
    return f"{label}\tP00-1\tP00-2\t{first}\t{second}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The three files where the archive has them."""
    subfolder = tmp_path / "lra_release" / "lra_release" / "tsv_data"
    subfolder.mkdir(parents=True)
    for name, count in (("train", 12), ("eval", 4), ("test", 5)):
        rows = [
            line(f"{index % 2}.0", f'"{name} é{index}', "other paper, " * (index + 1) + name) for index in range(count)
        ]
        (subfolder / f"new_aan_pairs.{name}.tsv").write_text("".join(rows), encoding="utf-8")
    return tmp_path


def retrieval(folder: Path, name: str = "lra-retrieval", **more: object) -> PairTask:
    task = load_task(TaskOptions(**{"name": name, "preset": "paper", "data_dir": str(folder), **more}))  # type: ignore[arg-type]
    assert isinstance(task, PairTask)
    return task


def test_a_batch_has_all_first_texts_and_then_all_second_ones(folder: Path) -> None:
    task = retrieval(folder)
    assert (task.kind, task.name, task.max_length, task.label_names) == (
        "pair",
        "lra-retrieval",
        4000,
        ("apart", "linked"),
    )
    splits = task.splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [6, 6, 4, 5]
    batch = task.collate([splits.test[index] for index in range(5)])
    assert batch["labels"].tolist() == [0, 1, 0, 1, 0]
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert len(batch["input_ids"]) == 10
    texts = [
        bytes((row[mask.bool()][:-1] - 3).tolist()).decode()
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    assert texts[1] == '"test é1'
    assert texts[6] == "other paper, " * 2 + "test"
    ends = batch["attention_mask"].sum(1) - 1
    assert all(row[end] == task.vocabulary.eos for row, end in zip(batch["input_ids"], ends, strict=True))
    assert set(task.heuristic_baselines()) == {"majority class", "length of both"}
    assert "2 classes" in task.describe()


def test_each_text_is_cut_separately(folder: Path) -> None:
    task = retrieval(folder, "lra-retrieval@length=16")
    assert task.name == "lra-retrieval@length=16"
    batch = task.collate([task.splits().test[4]])
    assert batch["input_ids"].shape == (2, 16)
    assert retrieval(folder, "lra-retrieval@unit=characters", train=10).vocabulary.size > 3


def test_sizes_are_read_from_the_top(folder: Path) -> None:
    splits = retrieval(folder, train=6, val=2, test=3).splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [3, 3, 2, 3]
    with pytest.raises(BadFile, match=r"test.tsv: expected at least 6 examples, found 5"):
        retrieval(folder, test=6)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.0\tP1\tP2\tonly one\n", "expected 5 columns label<tab>id1<tab>id2<tab>text1<tab>text2, found 4"),
        ("\n", "expected 5 columns .*, found 1"),
        (line("2.0", "a", "b"), "expected a label 0.0 or 1.0, found '2.0'"),
        (line("", "a", "b"), "expected a label 0.0 or 1.0, found ''"),
        (line("1.0", "a\tb", "c"), "expected 5 columns .*, found 6"),
    ],
)
def test_a_malformed_line_is_reported(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "new_aan_pairs.test.tsv"
    path.write_text(line("0.0", "a", "b") + row + line("1.0", "c", "d"))
    with pytest.raises(BadFile, match=message) as failure:
        read_file(path)
    assert str(failure.value).startswith(f"{path}:2: ")
    assert "\n" not in str(failure.value)


def test_missing_files_raise_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=r"archive only: unpack lra_release.gz .* --data-dir"):
        load_task(TaskOptions("lra-retrieval", preset="paper"))
    (folder / "lra_release" / "lra_release" / "tsv_data" / "new_aan_pairs.eval.tsv").unlink()
    with pytest.raises(BadFile, match=r"new_aan_pairs.eval.tsv: no such file; expected new_aan_pairs.train.tsv, "):
        retrieval(folder)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "new_aan_pairs.train.tsv").write_text("")
    with pytest.raises(BadFile, match="at least 1 examples, found 0"):
        read_file(tmp_path / "empty" / "new_aan_pairs.train.tsv")
