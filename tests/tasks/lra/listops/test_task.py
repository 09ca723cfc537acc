"""The task: names, sizes, model input, files, cache."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks import Task, TaskOptions, load_task, tasks, write_task
from manticore.tasks.dataset import Splits
from manticore.tasks.lra.listops import task
from manticore.tasks.lra.listops.grammar import evaluate, to_source
from manticore.tasks.lra.listops.task import OFFICIAL, VOCABULARY, scale_of

pytestmark = pytest.mark.usefixtures("own_cache")

SIZES = {"train": 301, "val": 60, "test": 80}


def short(**more: object) -> Task:
    return load_task(TaskOptions(**{"preset": "cpu", **SIZES, **more}))  # type: ignore[arg-type]


def contents(splits: Splits) -> list[list[tuple[list[int], int]]]:
    return [
        [(ids.tolist(), label) for ids, label in split]
        for split in (splits.train, splits.train_arch, splits.val, splits.test)
    ]


def test_the_vocabulary_is_that_of_published_work() -> None:
    assert VOCABULARY.size == 18
    assert VOCABULARY.tokens[:3] == ("<pad>", "<unk>", "<eos>")
    assert set(VOCABULARY.tokens[3:]) == {*"0123456789", "[MIN", "[MAX", "[MED", "[SM", "X"}


def test_sizes_lengths_and_eos() -> None:
    task = short()
    splits = task.splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [151, 150, 60, 80]
    assert (task.name, task.kind, task.metric, task.num_labels) == (
        "lra-listops@short",
        "classification",
        "accuracy",
        10,
    )
    for ids, label in splits.test:
        assert ids[-1] == task.vocabulary.eos
        assert 19 < len(ids) - 1 < 81 == task.max_length
        assert evaluate(bytes(token - 3 for token in ids[:-1].tolist())) == label
        assert task.label_names[label] == str(label)
    assert task.vocabulary.decode(splits.test[0][0])[-2:] == ["X", "<eos>"]


def test_replacements_turn_the_official_text_into_tokens() -> None:
    task = short()
    for ids, _ in list(task.splits().test)[:20]:
        text = to_source(bytes(token - 3 for token in ids[:-1].tolist()))
        for old, new in task.replacements:
            text = text.replace(old, new)
        assert task.vocabulary.encode(text.split()) == ids[:-1].tolist()


def test_official_sizes_and_bounds() -> None:
    scale = scale_of(TaskOptions(preset="paper"))
    assert (scale.train, scale.val, scale.test) == (96_000, 2_000, 2_000)
    assert (scale.grammar.min_length, scale.grammar.max_length) == (500, 2000)
    task = load_task(TaskOptions(preset="paper"))
    assert (task.name, task.max_length) == ("lra-listops", 2000)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "lra-listops@short"),
        ({"train": 50}, "lra-listops@short"),
        ({"seed": 3, "workers": 1}, "lra-listops@short"),
        ({"name": "lra-listops@max_length=40"}, "lra-listops@min_length=19,max_length=40,max_args=5"),
        ({"name": "lra-listops@max_args=9"}, "lra-listops@min_length=19,max_length=81,max_args=9"),
        ({"preset": "paper"}, "lra-listops"),
        ({"name": "lra-listops@max_depth=10", "preset": "paper"}, "lra-listops"),
        ({"name": "lra-listops@max_depth=9", "preset": "paper"}, "lra-listops@max_depth=9"),
        ({"name": "lra-listops@min_length=100", "preset": "paper"}, "lra-listops@min_length=100"),
        ({"name": "lra-listops@min_length=19,max_length=81,max_args=5", "preset": "paper"}, "lra-listops@short"),
    ],
)
def test_names_have_the_settings_that_are_not_official(options: dict[str, object], name: str) -> None:
    assert short(**options).name == name


def test_data_depend_on_the_seed() -> None:
    assert contents(short(seed=0).splits()) == contents(short(seed=0, cache_dir="/dev/null/none").splits())
    assert contents(short(seed=0).splits()) != contents(short(seed=1).splits())


def test_heuristic_baselines_use_the_root() -> None:
    baselines = short(train=8000, test=2000).heuristic_baselines()
    assert set(baselines) == {"majority class", "root operator"}
    assert baselines["majority class"] == pytest.approx(0.11, abs=0.03)
    assert baselines["root operator"] == pytest.approx(0.235, abs=0.04)


def test_the_cache_is_used_and_repaired(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = contents(short().splits())
    (file,) = own_cache.iterdir()
    content = file.read_bytes()
    short(seed=7).splits()
    assert len(list(own_cache.iterdir())) == 2

    def never(*_: object) -> None:
        raise AssertionError("generated although the cache has it")

    with monkeypatch.context() as patch:
        patch.setattr(task, "generate", never)
        assert contents(short().splits()) == first
    flipped = content[:2000] + bytes([content[2000] ^ 1]) + content[2001:]
    for damage in (b"", b"not a zip", content[: len(content) // 2], flipped):
        file.write_bytes(damage)
        caplog.clear()
        assert contents(short().splits()) == first
        assert "damaged" in caplog.text
        assert file.read_bytes() == content


def test_a_cache_that_cannot_be_written_logs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert len(short(cache_dir=str(tmp_path / "file" / "below")).splits().test) == 80
    assert "cannot be written" in caplog.text


def test_written_files_are_read_back(tmp_path: Path) -> None:
    options = TaskOptions(preset="cpu", **SIZES)  # type: ignore[arg-type]
    paths = write_task(options, tmp_path / "tsv")
    assert [len(path.read_bytes().splitlines()) for path in paths] == [302, 61, 81]
    read = load_task(TaskOptions(data_dir=str(tmp_path / "tsv")))
    assert read.name == "lra-listops@short"
    assert contents(read.splits()) == contents(load_task(options).splits())
    assert str(tmp_path / "tsv") in read.describe()
    with pytest.raises(ManticoreError, match="exists"):
        write_task(options, tmp_path / "tsv")


def test_files_have_the_official_bounds_by_default(tmp_path: Path) -> None:
    write_task(TaskOptions(train=20, val=2, test=3), tmp_path)
    task = load_task(TaskOptions(data_dir=str(tmp_path), preset="cpu", train=10))
    assert (task.name, task.max_length) == ("lra-listops", OFFICIAL.grammar.max_length)
    assert (len(task.splits().train), len(task.splits().val), len(task.splits().test)) == (5, 2, 3)
    assert all(501 <= length - 1 <= 1999 for length in task.splits().train.lengths)


def lines(*sources: str) -> bytes:
    return "".join(f"{line}\r\n" for line in ("Source\tTarget", *sources)).encode()


def test_shared_examples_are_dropped_from_the_training_side(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "basic_train.tsv").write_bytes(lines("1\t1", "2\t2", "3\t3", "4\t4", "4\t4", "5\t5"))
    (tmp_path / "basic_val.tsv").write_bytes(lines("2\t2", "3\t3", "6\t6"))
    (tmp_path / "basic_test.tsv").write_bytes(lines("3\t3", "7\t7", "7\t7"))
    with caplog.at_level(logging.WARNING):
        task = load_task(TaskOptions(data_dir=str(tmp_path)))
    assert "dropped 1 of 3 ListOps examples from val" in caplog.text
    assert "dropped 3 of 6 ListOps examples from train" in caplog.text
    splits = task.splits()
    assert sorted(label for split in (splits.train, splits.train_arch) for _, label in split) == [1, 4, 5]
    assert [label for _, label in splits.val] == [2, 6]
    assert [label for _, label in splits.test] == [3, 7, 7]
    assert (task.name, task.max_length) == ("lra-listops@custom", 2)


def test_files_with_nothing_left_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "test"):
        (tmp_path / f"basic_{name}.tsv").write_bytes(lines("1\t1", "2\t2"))
    with pytest.raises(ManticoreError, match="all 2 ListOps examples of val"):
        load_task(TaskOptions(data_dir=str(tmp_path)))


def test_contradictions_and_missing_files_raise_one_line(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=r"max_depth, max_args .*data_dir"):
        short(data_dir=str(tmp_path), name="lra-listops@max_depth=3,max_args=3")
    with pytest.raises(BadFile, match="no such file"):
        short(data_dir=str(tmp_path))
    with pytest.raises(ManticoreError, match="must satisfy"):
        short(name="lra-listops@min_length=90")
    with pytest.raises(ManticoreError, match="'max_depth' of lra-listops must be 1 to 200, got deep"):
        short(name="lra-listops@max_depth=deep")
    with pytest.raises(UnknownName, match="Did you mean 'max_depth'"):
        short(name="lra-listops@maxdepth=3")
    with pytest.raises(ManticoreError, match="only 400 can be drawn"):
        short(name="lra-listops@min_length=1,max_length=5", train=500).splits()
    with pytest.raises(UnknownName, match="Did you mean 'lra-listops'"):
        load_task(TaskOptions(name="lra-listop"))
    assert "lra-listops" in tasks
