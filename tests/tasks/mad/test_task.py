"""The MAD tasks: names and settings, four splits, targets of each, cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manticore.errors import ManticoreError, UnknownName
from manticore.tasks import Task, TaskOptions, load_task
from manticore.tasks.dataset import IGNORE, Examples
from manticore.tasks.mad.catalog import FAMILIES
from tests.helpers.mad_oracles import SOLVERS

pytestmark = pytest.mark.usefixtures("own_cache")

SIZES = {"train": 301, "val": 60, "test": 80}


def small(name: str, **more: object) -> Task:
    return load_task(TaskOptions(name, **{"preset": "cpu", **SIZES, **more}))  # type: ignore[arg-type]


def contents(examples: Examples) -> list[tuple[list[int], list[int]]]:
    return [(ids.tolist(), np.asarray(labels).tolist()) for ids, labels in examples]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_four_splits_with_targets_of_training_and_of_tests(name: str, preset: str) -> None:
    task = small(name, preset=preset)
    splits, family = task.splits(), FAMILIES[name]
    puzzle = family.paper.with_settings({key: str(value) for key, value in task.settings.items()}, name)
    assert (task.kind, task.metric, task.max_length) == (puzzle.kind, "accuracy", puzzle.length)
    assert task.vocabulary.size == task.num_labels == puzzle.vocab_size
    assert [len(split) for split in (splits.train, splits.train_arch, splits.val, splits.test)] == [151, 150, 60, 80]
    solver, correct, total = SOLVERS[type(puzzle)], 0, 0
    for split in (splits.val, splits.test):
        assert (split.lengths == task.max_length).all()
        for ids, labels in split:
            answers = solver(puzzle, ids.tolist())
            pairs = [(answer, label) for answer, label in zip(answers, labels, strict=True) if label != IGNORE]  # type: ignore[arg-type]
            correct, total = correct + sum(answer == label for answer, label in pairs), total + len(pairs)
    assert correct == total if "fuzzy" not in name else correct > 0.9 * total
    for split in (splits.train, splits.train_arch):
        for ids, labels in list(split)[:20]:
            if puzzle.next_token:
                assert ids[1:].tolist() == labels[:-1].tolist()  # type: ignore[index]
            else:
                assert labels.tolist() == puzzle.test_targets(ids[None])[0].tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("name", FAMILIES)
def test_data_depend_on_the_seed_and_test_not_on_the_size_of_train(name: str) -> None:
    first, again, other_seed = (
        small(name).splits(),
        small(name, cache_dir="/dev/null/none").splits(),
        small(name, seed=1).splits(),
    )
    assert contents(first.train) == contents(again.train)
    assert contents(first.train) != contents(other_seed.train)
    fewer = small(name, train=100).splits()
    assert contents(fewer.test) == contents(first.test)
    assert contents(fewer.val) == contents(first.val)
    assert set(map(str, contents(fewer.train) + contents(fewer.train_arch))) < set(
        map(str, contents(first.train) + contents(first.train_arch))
    )


def test_the_sweeps_are_those_of_the_benchmark() -> None:
    variants = {
        name: [name, *(f"{name}@{key}={value}" for key, values in family.sweep.items() for value in values)]
        for name, family in FAMILIES.items()
    }
    counts = {name: len(names) for name, names in variants.items()}
    assert list(counts.values()) == [11, 14, 11, 13, 11, 6]
    assert sum(counts.values()) == 66
    for name, family in FAMILIES.items():
        for variant in variants[name]:
            task = load_task(TaskOptions(variant, preset="paper"))
            assert task.name == variant
            assert set(family.sweep) <= set(task.settings)


@pytest.mark.parametrize(
    ("setting", "options", "name"),
    [
        ("mad-in-context-recall", {"preset": "paper"}, "mad-in-context-recall"),
        ("mad-in-context-recall@seq_len=128", {"preset": "paper"}, "mad-in-context-recall"),
        ("mad-in-context-recall", {"preset": "cpu"}, "mad-in-context-recall@seq_len=32"),
        ("mad-in-context-recall", {"preset": "paper", "train": 800}, "mad-in-context-recall@train=800"),
        ("mad-in-context-recall@train=800", {"preset": "paper", "train": 800}, "mad-in-context-recall@train=800"),
        (
            "mad-in-context-recall@train=800",
            {"preset": "paper", "test": 9, "seed": 4},
            "mad-in-context-recall@train=800",
        ),
        (
            "mad-in-context-recall@multi_query=False, seq_len=64",
            {"preset": "cpu"},
            "mad-in-context-recall@seq_len=64,multi_query=false",
        ),
        ("mad-noisy-recall@frac_noise=.40", {"preset": "paper"}, "mad-noisy-recall@frac_noise=0.4"),
    ],
)
def test_names_have_the_settings_that_are_not_official(setting: str, options: dict[str, object], name: str) -> None:
    assert load_task(TaskOptions(setting, **options)).name == name  # type: ignore[arg-type]
    assert load_task(TaskOptions(name, preset="paper")).name == name


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mad-compresion", {}, "Did you mean 'mad-compression'"),
        ("mad-compression@seqlen=16", {}, "unknown setting of mad-compression 'seqlen'. Did you mean 'seq_len'"),
        ("mad-compression@seq_len=long", {}, "'seq_len' of mad-compression must be a whole number, got 'long'"),
        ("mad-compression@kind=tokens", {}, "unknown setting .* 'kind'. .*Known: seq_len, train, vocab_size"),
        ("mad-noisy-recall@frac_noise=x", {}, "'frac_noise' of mad-noisy-recall must be a number"),
        ("mad-fuzzy-recall@multi_query=maybe", {}, "must be true or false, got 'maybe'"),
        ("mad-compression@seq_len", {}, "expected key=value after 'mad-compression@', got 'seq_len'"),
        ("mad-compression@seq_len=8,seq_len=9", {}, "has 'seq_len' twice"),
        ("mad-compression@seq_len=1", {}, "needs seq_len of at least 2, got vocab_size=8,seq_len=1"),
        ("mad-compression@max_depth=3", {}, "unknown setting of mad-compression 'max_depth'"),
        ("mad-compression@train=8", {"train": 9}, "train is 9 and, after @, 8"),
        ("lra-listops@short=1", {}, "unknown setting of lra-listops 'short'"),
        ("lra-listops@short", {}, "expected key=value"),
    ],
)
def test_invalid_settings_raise_one_line(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ManticoreError, match=message) as failure:
        load_task(TaskOptions(name, preset="cpu", **options))  # type: ignore[arg-type]
    assert "\n" not in str(failure.value)
    assert isinstance(failure.value, UnknownName) == ("nknown" in message or "Did you" in message)


def test_too_few_sequences_are_reported() -> None:
    with pytest.raises(ManticoreError, match=r"too few distinct sequences .*: found 16; ask for fewer"):
        small("mad-compression@vocab_size=3,seq_len=5").splits()


def test_the_cache_is_used(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = contents(small("mad-fuzzy-recall").splits().train)
    assert len(list(own_cache.iterdir())) == 1
    small("mad-fuzzy-recall@seq_len=40").splits()
    assert len(list(own_cache.iterdir())) == 2

    def never(*_: object) -> None:
        raise AssertionError("drawn although the cache has it")

    monkeypatch.setattr("manticore.tasks.mad.task.draw_splits", never)
    assert contents(small("mad-fuzzy-recall").splits().train) == first


def test_heuristic_baselines_are_weak() -> None:
    baselines = {name: small(name, train=2000, test=300).heuristic_baselines() for name in FAMILIES}
    assert {name: list(row) for name, row in baselines.items()} == {
        "mad-in-context-recall": ["majority token", "current token"],
        "mad-noisy-recall": ["majority token", "current token"],
        "mad-fuzzy-recall": ["majority token", "current token"],
        "mad-selective-copying": ["majority token"],
        "mad-compression": ["majority token", "position"],
        "mad-memorization": ["majority token"],
    }
    assert baselines["mad-in-context-recall"]["current token"] == pytest.approx(1 / 8, abs=0.03)
    assert baselines["mad-selective-copying"]["majority token"] == pytest.approx(1 / 8, abs=0.02)
    assert baselines["mad-compression"]["position"] == pytest.approx((1 + 9 / 7) / 10, abs=0.02)
    assert baselines["mad-memorization"]["majority token"] == pytest.approx(1 / 31, abs=0.02)


def test_describe() -> None:
    assert small("mad-memorization").describe() == (
        "mad-memorization@vocab_size=64,seq_len=16,train=301: train 151, train_arch 150, val 60, test 80; 16 tokens, "
        "one of 64 tokens at each position; drawn with seed 0: vocab_size=64,seq_len=16,train=301,map_seed=12345; "
        "the facts are the same in every split, the sequences are not"
    )


def test_batches_have_a_label_for_each_token() -> None:
    task = small("mad-selective-copying")
    batch = task.collate(list(task.splits().test)[:3])
    assert {key: tuple(value.shape) for key, value in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (3, 24)
    )
    assert (batch["labels"] != IGNORE).sum(1).tolist() == [6, 6, 6]
    assert batch["attention_mask"].all()


def test_a_long_setting_is_shortened_in_its_message() -> None:
    with pytest.raises(ManticoreError, match="of mad-memorization must be a whole number") as raised:
        load_task(TaskOptions(f"mad-memorization@vocab_size={'9' * 5000}"))
    assert len(str(raised.value)) < 300
