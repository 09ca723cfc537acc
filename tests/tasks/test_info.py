"""The info of a task agrees with the task and is made without its data."""

from __future__ import annotations

import builtins
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from manticore.errors import BadFile, ManticoreError, UnknownName
from manticore.pipelines import assets
from manticore.tasks import SampledTask, Task, TaskOptions, Vocabulary, load_task, task_info
from manticore.tasks.classification.fashion_mnist import INSTALLED
from manticore.tasks.info import TaskInfo, render
from manticore.tasks.mad.catalog import FAMILIES
from manticore.tasks.mad.fuzzy import Fuzzy
from manticore.tasks.options import PRESETS
from manticore.tasks.task import task_infos, tasks
from manticore.utils.fields import field_helps

BUILT_IN = [name for name in tasks if name.partition("-")[0] in ("mad", "lra", "pixels", "bytes")]


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file, generator, hub or cache can be used."""

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("data is touched")

    assert set(task_infos) < set(tasks), "plugins are loaded now, from files"
    monkeypatch.setenv("MANTICORE_CACHE", str(tmp_path))
    with monkeypatch.context() as patch:
        for owner, name in ((builtins, "open"), (Path, "open"), (Path, "read_bytes"), (np, "fromfile"), (np, "load")):
            patch.setattr(owner, name, refused)
        for function in (
            "lra.text.load_hub_dataset",
            "lra.image.load_hub_dataset",
            "lra.listops.task.cached_arrays",
            "lra.pathfinder.task.cached_arrays",
            "mad.task.cached_arrays",
            "classification.spam.find_package",
        ):
            patch.setattr(f"manticore.tasks.{function}", refused)
        yield
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize("preset", PRESETS[1:])
@pytest.mark.parametrize("name", BUILT_IN)
def test_info_needs_no_data(name: str, preset: str) -> None:
    info = task_info(TaskOptions(name=name, preset=preset))
    assert set(info.sizes) == {"train", "val", "test"}
    assert all(size > 0 for size in info.sizes.values())
    assert info.files
    assert set(info.settings) <= set(info.setting_help)
    assert set(info.sweep) <= set(info.settings)


@pytest.mark.parametrize("name", ["mad-compression", "lra-listops", "lra-pathfinder32"])
def test_info_agrees_with_the_task(name: str) -> None:
    for preset in PRESETS[1:]:
        options = TaskOptions(name=name, preset=preset, train=20, val=3, test=4)
        info, task = task_info(options), load_task(options)
        assert info.sizes == {"train": 20, "val": 3, "test": 4}
        assert (info.settings, info.max_length, info.kind) == (task.settings, task.max_length, task.kind)


@pytest.mark.skipif(not INSTALLED.is_dir(), reason="dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("preset", PRESETS[1:])
def test_info_agrees_with_the_files(preset: str) -> None:
    options = TaskOptions(name="pixels-fashion-mnist", preset=preset)
    info, task = task_info(options), load_task(options)
    splits = task.splits()
    train = len(splits.train) + len(splits.train_arch)
    assert (info.settings, info.max_length, info.vocabulary) == (
        task.settings,
        task.max_length,
        task.vocabulary.size,
    )
    assert tuple(info.label_names) == task.label_names
    assert info.sizes["test"] == len(splits.test)
    for size, count in ((info.sizes["train"], train), (info.sizes["val"], len(splits.val))):
        assert size * 0.99 < count <= size


def test_a_page_has_the_sweeps_and_the_meaning_of_settings() -> None:
    for name, family in FAMILIES.items():
        page = assets.show(name)
        for key, values in family.sweep.items():
            assert f"  {key} " in page
            assert f"the benchmark also tries {', '.join(map(str, values))}" in page
    helps = field_helps(Fuzzy)
    assert helps["vocab_size"] == "number of token ids V, the special ones included."
    assert helps["k_motif_size"] == "largest number of tokens of a key."
    assert set(helps) >= {"vocab_size", "seq_len", "train", "multi_query", "k_motif_size", "v_motif_size"}


def test_info_has_the_settings_after_the_name() -> None:
    assert [task_info(TaskOptions("lra-image@side=16", preset=preset)).max_length for preset in PRESETS[1:]] == [
        256,
        256,
    ]
    assert "lra-text@unit=characters" in assets.show("lra-text@unit=characters")
    assert "vocabulary" not in assets.show("lra-text@unit=characters")
    page = assets.show("mad-noisy-recall@seq_len=64")
    assert any(line.split() == ["seq_len", "64", "64"] for line in page.splitlines())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mad-noisy-recall@seqlen=64", "Did you mean 'seq_len'"),
        ("lra-pathx@levl=easy", "Did you mean 'level'"),
        ("lra-text@unit=words", "unknown unit of text 'words'"),
        ("lra-retrieval@lenght=9", "Did you mean 'length'"),
        ("lra-image@side=9", "'side' of lra-image must be 32 or 16"),
        ("mad-noisy-recall@seq_len", "expected key=value"),
        ("mad-noisy-recal@seq_len=64", "unknown name"),
    ],
)
def test_invalid_settings_are_refused(name: str, message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        assets.show(name)


@pytest.fixture
def task_name() -> Iterator[str]:
    """The name of a user's task, for the time of one test."""
    yield "mine"
    tasks._items.pop("mine", None)


def _draw(rng: random.Random) -> tuple[list[str], int]:
    raise AssertionError("data is touched")


def test_a_users_task_is_shown(task_name: str) -> None:
    @tasks.register(task_name)
    def factory(options: TaskOptions) -> Task:
        """Whether it is odd."""
        return SampledTask(task_name, Vocabulary.of("01"), ("even", "odd"), 17, _draw, options)

    page = assets.show(task_name)
    assert page.startswith("mine: Whether it is odd.\n")
    assert "2 classes (even, odd)" in page
    assert "10,000" in page
    assert "settings" not in page
    assert "--data-dir" not in page
    assert "drawn with seed 0" in page
    assert page.endswith("--task mine --preset cpu")
    with pytest.raises(UnknownName, match="setting of mine 'size'"):
        assets.show("mine@size=3")


@pytest.mark.parametrize("error", [BadFile("mails", "no such file"), FileNotFoundError("mails")])
def test_a_users_task_that_needs_files_is_shown_without_info(task_name: str, error: Exception) -> None:
    @tasks.register(task_name)
    def factory(options: TaskOptions) -> Task:
        raise error

    assert assets.show(task_name).splitlines() == ["mine: ", "", f"More is not known without its data: {error}"]
    with pytest.raises(type(error)):
        assets.show("mine@size=3")


def test_a_page_of_a_task_with_little_info() -> None:
    bare = TaskInfo("classification", "accuracy", ("no", "yes"), {"bold": True}, 5, 9, {}, "made up")
    assert render({"cpu": bare, "paper": bare}).splitlines() == [
        "kind classification: each sequence has one label, one of 2 classes (no, yes)",
        "metric accuracy: share of the labels that are predicted correctly",
        "",
        "preset                         cpu  paper",
        "tokens of a sequence, at most    9      9",
        "vocabulary                       5      5",
        "",
        "settings, after @   cpu  paper",
        "  bold             true   true",
        "",
        "data: made up",
    ]
