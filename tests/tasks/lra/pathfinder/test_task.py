"""The Pathfinder tasks: names, sizes, cache, writing and reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.tasks import Task, TaskOptions, load_task, write_task
from manticore.tasks.lra.pathfinder.task import OFFICIAL, SMALL, file_sizes
from manticore.utils.io import read_json

pytestmark = pytest.mark.usefixtures("own_cache")

SIZES = {"train": 21, "val": 4, "test": 5}


def small(name: str = "lra-pathfinder32", **more: object) -> Task:
    return load_task(TaskOptions(**{"name": name, "preset": "cpu", **SIZES, **more}))  # type: ignore[arg-type]


def same(a: Task, b: Task) -> bool:
    pairs = [
        (getattr(a.splits(), split), getattr(b.splits(), split)) for split in ("train", "train_arch", "val", "test")
    ]
    return all(np.array_equal(x.flat, y.flat) and np.array_equal(x.labels, y.labels) for x, y in pairs)


def test_sizes_and_tokens() -> None:
    task = small()
    splits = task.splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [11, 10, 4, 5]
    assert (task.kind, task.metric, task.num_labels, task.max_length) == ("classification", "accuracy", 2, 1024)
    assert task.vocabulary.size == 256
    ids, label = splits.test[0]
    assert ids.shape == (1024,)
    assert label in (0, 1)
    assert task.collate([splits.test[0], splits.test[1]])["input_ids"].shape == (2, 1024)
    assert set(task.heuristic_baselines()) == {"majority class", "mean pixel"}
    assert "1024" in task.describe()


@pytest.mark.parametrize(
    ("name", "preset", "expected"),
    [
        ("lra-pathfinder32", "paper", "lra-pathfinder32"),
        ("lra-pathfinder32", "cpu", "lra-pathfinder32@level=easy"),
        ("lra-pathfinder32@level=easy", "paper", "lra-pathfinder32@level=easy"),
        ("lra-pathfinder64@level=hard", "cpu", "lra-pathfinder64"),
        ("lra-pathx", "paper", "lra-pathx"),
        ("lra-pathx@level=intermediate", "cpu", "lra-pathx@level=intermediate"),
    ],
)
def test_names_have_the_settings_that_are_not_official(name: str, preset: str, expected: str) -> None:
    assert load_task(TaskOptions(name=name, preset=preset)).name == expected


def test_presets_and_path_x() -> None:
    assert sum(OFFICIAL.values()) == 200_000
    assert set(SMALL) == {32, 64, 128, 256}
    assert same(small("lra-pathx"), small("lra-pathfinder128"))
    assert small("lra-pathx").max_length == 16_384


def test_images_depend_on_the_seed_and_are_cached(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, other_seed = small(), small(seed=1)
    assert not same(first, other_seed)
    assert len(list(own_cache.iterdir())) == 2
    monkeypatch.setattr("manticore.tasks.lra.pathfinder.generate.generate", None)
    assert same(small(), first)


def test_written_files_are_read_back(tmp_path: Path) -> None:
    options = TaskOptions("lra-pathfinder32", preset="cpu", **SIZES)  # type: ignore[arg-type]
    (level,) = write_task(options, tmp_path / "out")
    assert level == tmp_path / "out" / "pathfinder32" / "curv_baseline"
    read = load_task(TaskOptions("lra-pathfinder32", data_dir=str(tmp_path / "out")))
    assert read.name == "lra-pathfinder32@level=easy"
    assert same(read, small())
    fewer = load_task(TaskOptions("lra-pathfinder32", data_dir=str(tmp_path / "out"), train=4, test=2))
    assert [len(getattr(fewer.splits(), split)) for split in ("train", "train_arch", "val", "test")] == [2, 2, 4, 2]
    with pytest.raises(ManticoreError, match="exists and is not overwritten"):
        write_task(options, tmp_path / "out")
    with pytest.raises(ManticoreError, match="no official file format"):
        read.write(tmp_path / "again")
    with pytest.raises(ManticoreError, match="6 test examples are requested, found 5"):
        load_task(TaskOptions("lra-pathfinder32", data_dir=str(tmp_path / "out"), test=6))


@pytest.mark.parametrize(
    ("sizes", "written"),
    [
        ({"train": 40}, {"train": 40, "val": 5, "test": 5}),
        ({"train": 7}, {"train": 7, "val": 1, "test": 1}),
        ({"train": 40, "test": 3}, {"train": 40, "val": 5, "test": 3}),
        ({"train": 16, "val": 9, "test": 3}, {"train": 16, "val": 9, "test": 3}),
    ],
)
def test_written_splits_keep_the_official_proportion(
    sizes: dict[str, int], written: dict[str, int], tmp_path: Path
) -> None:
    (level,) = write_task(TaskOptions("lra-pathfinder32", **sizes), tmp_path)  # type: ignore[arg-type]
    assert read_json(level / "splits.json") == written
    assert len(list(level.glob("imgs/*/*.png"))) == sum(written.values())


def test_default_sizes_are_the_presets() -> None:
    assert load_task(TaskOptions("lra-pathx", preset="paper")).sizes == file_sizes(OFFICIAL, TaskOptions()) == OFFICIAL
    assert load_task(TaskOptions("lra-pathx", preset="cpu", train=40)).sizes == {"train": 40, "val": 400, "test": 400}


def test_invalid_options_raise_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown setting of lra-pathfinder32 'max_depth'"):
        small("lra-pathfinder32@max_depth=3")
    with pytest.raises(UnknownName, match="Did you mean 'hard'"):
        small("lra-pathfinder32@level=hart")
    with pytest.raises(UnknownName, match="Did you mean 'level'"):
        small("lra-pathfinder32@levels=hard")
    with pytest.raises(BadFile, match="no Pathfinder images"):
        small(data_dir=str(tmp_path))
    with pytest.raises(UnknownName, match="Did you mean 'lra-pathfinder32'"):
        small("lra-pathfinder33")
