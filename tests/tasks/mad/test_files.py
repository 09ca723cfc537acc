"""MAD's files: the layout of the release, writing and reading, and errors."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manticore.errors import BadFile, ManticoreError
from manticore.tasks import Task, TaskOptions, load_task, write_task
from manticore.tasks.dataset import Splits
from manticore.tasks.mad import files
from manticore.tasks.mad.catalog import FAMILIES, MEMORIZATION, NOISY, RECALL
from manticore.tasks.mad.files import find_folders, folder_name, read_name

pytestmark = pytest.mark.usefixtures("own_cache")

SIZES = {"train": 30, "val": 7, "test": 8}
RECALL_FOLDER = "t-CR_vs-16_sl-128_ntr-30_nte-8_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_s-0"

Array = np.ndarray[Any, Any]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder with in-context recall in the release's layout."""
    write_task(TaskOptions(RECALL.name, **SIZES), tmp_path / "files")  # type: ignore[arg-type]
    return tmp_path / "files"


def read(folder: Path, name: str = RECALL.name, **more: Any) -> Task:
    return load_task(TaskOptions(name, data_dir=str(folder), **more))


def contents(splits: Splits) -> list[list[tuple[list[int], list[int]]]]:
    return [
        [(ids.tolist(), np.asarray(labels).tolist()) for ids, labels in split]
        for split in (splits.train, splits.train_arch, splits.val, splits.test)
    ]


def test_names_are_those_of_the_release() -> None:
    name = "t-CR_vs-16_sl-128_ntr-12800_nte-1280_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_s-12345"
    assert folder_name("CR", RECALL.paper, 1280, 12345) == name
    noisy = "t-NR_vs-32_sl-128_ntr-12800_nte-1280_km-1_vm-1_mq-1_fn-0#2_nvs-16_ntc-0_s-3"
    assert folder_name("NR", NOISY.paper, 1280, 3) == noisy
    assert folder_name("M", MEMORIZATION.paper, 9, 3).endswith(
        "_ntr-256_nte-9_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_s-12345"
    )
    assert read_name(noisy) == {
        "t": "NR",
        "vocab_size": "32",
        "seq_len": "128",
        "train": "12800",
        "test": "1280",
        "k_motif_size": "1",
        "v_motif_size": "1",
        "frac_noise": "0.2",
        "noise_vocab_size": "16",
        "num_tokens_to_copy": "0",
        "map_seed": "3",
    }
    assert read_name("anything") == {}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_written_files_are_read_back(tmp_path: Path, name: str, preset: str) -> None:
    options = TaskOptions(name, preset=preset, **SIZES)  # type: ignore[arg-type]
    paths = write_task(options, tmp_path / "files")
    (folder,) = (tmp_path / "files").iterdir()
    assert [str(path.relative_to(folder)) for path in paths] == [
        f"{split}/{file}.npy" for split in ("train", "val", "test") for file in ("inputs", "targets")
    ]
    drawn = load_task(options)
    assert np.load(paths[0]).shape == np.load(paths[1]).shape == (30, drawn.max_length)
    assert np.load(paths[0]).dtype == np.load(paths[1]).dtype == np.int64
    for inside in (tmp_path / "files", folder):
        task = read(inside, name)
        assert (task.name, task.kind, task.max_length) == (drawn.name, drawn.kind, drawn.max_length)
        assert contents(task.splits()) == contents(drawn.splits())
        assert f"read from {folder}: vocab_size=" in task.describe()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_release_has_no_validation_split(tmp_path: Path, name: str) -> None:
    write_task(TaskOptions(name, **SIZES), tmp_path)  # type: ignore[arg-type]
    (folder,) = tmp_path.glob("t-*")
    shutil.rmtree(folder / "val")
    task = read(tmp_path, name)
    splits = task.splits()
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [14, 13, 3, 8]
    assert "val from the end of train" in task.describe()
    inputs, targets = (np.load(folder / "train" / file) for file in ("inputs.npy", "targets.npy"))
    puzzle = FAMILIES[name].paper
    for (ids, labels), row in zip(splits.val, range(27, 30), strict=True):
        assert ids.tolist() == inputs[row].tolist()
        full = puzzle.full_sequences(inputs[row : row + 1], targets[row : row + 1])
        expected = puzzle.inputs_and_targets(full, training=False)[1][0]
        assert np.asarray(labels).tolist() == expected.tolist()
    fewer = read(tmp_path, name, train=10, val=5, test=4).splits()
    assert [len(split) for split in (fewer.train, fewer.train_arch, fewer.val, fewer.test)] == [5, 5, 5, 4]
    assert len(read(tmp_path, f"{name}@train=10").splits().train) == 5
    with pytest.raises(ManticoreError, match="30 training examples are too few to spare 29"):
        read(tmp_path, name, val=29)


def test_settings_select_one_of_several_folders(tmp_path: Path) -> None:
    for name in (RECALL.name, f"{RECALL.name}@vocab_size=32", f"{RECALL.name}@multi_query=false"):
        write_task(TaskOptions(name, **SIZES), tmp_path)  # type: ignore[arg-type]
    write_task(TaskOptions(NOISY.name, **SIZES), tmp_path)  # type: ignore[arg-type]
    assert read(tmp_path, f"{RECALL.name}@vocab_size=32").name == f"{RECALL.name}@vocab_size=32,train=30"
    assert read(tmp_path, NOISY.name).name == f"{NOISY.name}@train=30"
    with pytest.raises(ManticoreError, match=r"expected one folder of mad-in-context-recall, found 3 .*vs-16.*vs-32"):
        read(tmp_path)
    with pytest.raises(ManticoreError, match=r"vocab_size=64, found 0 .none"):
        read(tmp_path, f"{RECALL.name}@vocab_size=64")
    with pytest.raises(BadFile, match="expected the task t-NR, found t-CR"):
        read(next(tmp_path.glob("t-CR_vs-32*")), NOISY.name)


def test_folders_of_another_name_have_the_settings_after_the_task(written: Path, tmp_path: Path) -> None:
    (written / RECALL_FOLDER).rename(tmp_path / "mine")
    assert read(tmp_path / "mine").name == f"{RECALL.name}@train=30"
    with pytest.raises(BadFile, match=r"\(examples, 63\), the shape with .*seq_len=64.*found \(8, 127\)"):
        read(tmp_path / "mine", f"{RECALL.name}@seq_len=64")
    with pytest.raises(BadFile, match=r"which follows from the inputs with .*noise_vocab_size=4"):
        read(tmp_path / "mine", f"{RECALL.name}@noise_vocab_size=4")


def test_a_single_query_is_read_from_a_folder_named_for_many(tmp_path: Path) -> None:
    single = f"{RECALL.name}@multi_query=false"
    write_task(TaskOptions(single, **SIZES), tmp_path)  # type: ignore[arg-type]
    (folder,) = tmp_path.glob("t-*")
    assert "_mq-0_" in folder.name
    assert read(tmp_path).name == f"{RECALL.name}@train=30,multi_query=false"
    folder.rename(tmp_path / folder.name.replace("mq-0", "mq-1"))  # the name that MAD gives it
    assert read(tmp_path, single).name == f"{RECALL.name}@train=30,multi_query=false"
    with pytest.raises(BadFile, match=r"multi_query=true.*found \(8, 128\)"):
        read(tmp_path)


def test_examples_in_two_splits_stay_in_the_one_farther_from_training(
    written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    split = written / RECALL_FOLDER
    test, train = np.load(split / "test/inputs.npy"), np.load(split / "train/inputs.npy")
    following = np.load(split / "train/targets.npy")
    train[4], following[4] = test[2], [*test[2, 1:], np.load(split / "test/targets.npy")[2, -1]]
    np.save(split / "train/inputs.npy", train)
    np.save(split / "train/targets.npy", following)
    with caplog.at_level(logging.WARNING):
        task = read(written)
    assert "dropped 1 of 30 mad-in-context-recall examples from train" in caplog.text
    assert task.name == f"{RECALL.name}@train=29"
    assert [len(half) for half in (task.splits().train, task.splits().train_arch)] == [15, 14]


def put(value: int, dtype: type = np.int64) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        array = array.astype(dtype)
        array[3, 5] = value
        return array

    return change


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("train/inputs.npy", put(16), r"at \[3, 5\]: expected an id of 0..15, found 16"),
        ("train/inputs.npy", put(-100), r"at \[3, 5\]: expected an id of 0..15, found -100"),
        (
            "train/inputs.npy",
            put(2**63 + 3, np.uint64),
            r"at \[3, 5\]: expected an id of 0..15, found 9223372036854775811",
        ),
        ("val/targets.npy", put(-1), r"at \[3, 5\]: expected an id of 0..15 or -100, found -1"),
        ("test/targets.npy", put(99), r"at \[3, 5\]: expected an id of 0..15 or -100, found 99"),
        ("test/inputs.npy", lambda array: array[:, :-1], r"expected \(examples, 127\), .*found \(8, 126\)"),
        ("test/inputs.npy", lambda array: array[0], r"found \(127,\)"),
        ("test/targets.npy", lambda array: array[..., None], r"found \(8, 127, 1\)"),
        ("test/inputs.npy", lambda array: array[:0], "expected at least 1 examples, found 0"),
        ("train/targets.npy", lambda array: array[:-1], "expected 30 examples as in inputs.npy, found 29"),
        (
            "test/inputs.npy",
            lambda array: array.astype(float),
            "expected an array of integers, found an array of float64",
        ),
        ("test/inputs.npy", lambda array: array.astype(bool), "found an array of bool"),
        ("test/inputs.npy", lambda array: array.astype(object), "expected a NumPy array .*pickle"),
        ("train/targets.npy", lambda array: (array + 1) % 16, r"at \[0, 0\]: expected \d+, which follows .*; found"),
        ("test/targets.npy", lambda array: np.full_like(array, -100), r"at \[0, 126\]: expected the last token's id"),
        ("test/targets.npy", lambda array: np.maximum(array, 0), "expected -100, which follows from the inputs"),
    ],
)
def test_invalid_arrays_are_reported(written: Path, file: str, change: Callable[[Array], Array], message: str) -> None:
    path = written / RECALL_FOLDER / file
    np.save(path, change(np.load(path)))
    with pytest.raises(BadFile, match=message) as failure:
        read(written)
    assert str(failure.value).startswith(f"{path}: ")
    assert "\n" not in str(failure.value)


def test_unreadable_files_are_reported(written: Path, tmp_path: Path) -> None:
    path = written / RECALL_FOLDER / "test" / "inputs.npy"
    valid = path.read_bytes()
    for content in (
        b"",
        b"no array",
        valid[:50],
        valid[:-9],
        valid.replace(b"(8, 127)", b"(9, 127)"),
    ):
        path.write_bytes(content)
        with pytest.raises(BadFile, match=r"test/inputs\.npy: expected a NumPy array \("):
            read(written)
    with path.open("wb") as stream:
        np.savez(stream, inputs=np.zeros(3))
    with pytest.raises(BadFile, match="expected an array of integers, found an archive"):
        read(written)
    path.unlink()
    with pytest.raises(BadFile, match=r"test/inputs\.npy: no such file"):
        read(written)
    with pytest.raises(
        BadFile, match=r"expected train and test with inputs.npy and targets.npy in it, or a folder t-CR_"
    ):
        read(tmp_path / "nowhere")
    path.write_bytes(valid)
    with pytest.raises(BadFile, match="at least 31 examples, found 30"):
        read(written, train=31)


def test_nothing_is_overwritten_or_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TaskOptions(RECALL.name, **SIZES)  # type: ignore[arg-type]
    save, calls = np.save, []

    def full(stream: Any, array: Array) -> None:
        calls.append(array)
        if len(calls) == 4:
            raise OSError("No space left on device")
        save(stream, array)

    with monkeypatch.context() as patch:
        patch.setattr(files.np, "save", full)
        with pytest.raises(ManticoreError, match=r"cannot be written: No space left"):
            write_task(options, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    write_task(options, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == [RECALL_FOLDER]
    with pytest.raises(ManticoreError, match=f"{RECALL_FOLDER} exists and is not overwritten"):
        write_task(options, tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(ManticoreError, match="is not a folder"):
        write_task(options, tmp_path / "file")
    with pytest.raises(ManticoreError, match="cannot be written: Not a directory"):
        write_task(options, tmp_path / "file" / "below")


def test_a_folder_with_splits_is_found_directly(written: Path) -> None:
    assert find_folders(written, "CR") == find_folders(written / RECALL_FOLDER, "CR") == [written / RECALL_FOLDER]
