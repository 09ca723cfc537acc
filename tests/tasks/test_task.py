"""What all tasks share: vocabulary, packed examples, disjoint splits, batches, heuristic baselines."""

from __future__ import annotations

import hashlib
import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError, UnknownName
from manticore.tasks import Examples, Splits, Task, TaskOptions, Vocabulary, check_disjoint, choose_preset, halves
from manticore.tasks.dataset import IGNORE, drop_duplicates
from manticore.tasks.heuristics import heuristic_answers, same_position, same_token

pairs = st.lists(st.tuples(st.lists(st.integers(0, 300), max_size=6), st.integers(0, 9)), max_size=8)


def examples(*texts: str, labels: str | None = None) -> Examples:
    return Examples.pack(
        [
            ([ord(letter) for letter in text], int(label))
            for text, label in zip(texts, labels or "0" * len(texts), strict=True)
        ]
    )


class Letters(Task):
    def __init__(self, splits: Splits) -> None:
        super().__init__("letters", Vocabulary.of("ab"), ("even", "odd", "other"), 8)
        self.prepared = splits
        self.builds = 0

    def build(self) -> Splits:
        self.builds += 1
        return self.prepared

    def origin(self) -> str:
        return "made up"


def test_vocabulary() -> None:
    vocabulary = Vocabulary.of("ab")
    assert (vocabulary.pad, vocabulary.unk, vocabulary.eos, vocabulary.size) == (0, 1, 2, 5)
    assert vocabulary.encode(["b", "?", "a"]) == [4, 1, 3]
    assert vocabulary.decode([4, 2]) == ["b", "<eos>"]
    with pytest.raises(ManticoreError, match="once"):
        Vocabulary.of("aba")
    with pytest.raises(ManticoreError, match="<unk>"):
        Vocabulary(("<pad>", "<eos>"))


def test_a_plain_vocabulary_has_ids_and_nothing_else() -> None:
    plain = Vocabulary.plain(12)
    assert (plain.size, plain.has_specials, Vocabulary.of("a").has_specials) == (12, False, True)
    assert plain.encode(["11", "0"]) == [11, 0]
    assert plain.decode([3, 10]) == ["3", "10"]
    assert plain.pad == 0
    for special in (lambda: plain.eos, lambda: plain.unk, lambda: plain.encode(["12"])):
        with pytest.raises(ManticoreError, match="vocabulary of 12 tokens has no <"):
            special()


@given(pairs)
def test_packed_examples_are_unchanged(given_pairs: list[tuple[list[int], int]]) -> None:
    packed = Examples.pack(given_pairs)
    assert len(packed) == len(given_pairs)
    assert [(ids.tolist(), label) for ids, label in packed] == given_pairs
    assert all(ids.dtype == np.int64 for ids, _ in packed)
    order = list(range(len(given_pairs)))[::-1]
    assert [(ids.tolist(), label) for ids, label in packed.take(order)] == given_pairs[::-1]
    again = pickle.loads(pickle.dumps(packed))
    assert again.fingerprints() == packed.fingerprints()


tagged = st.lists(
    st.lists(st.tuples(st.integers(0, 300), st.integers(-100, 300)), min_size=2, max_size=6), min_size=1, max_size=8
)


@given(tagged)
def test_packed_examples_with_a_label_for_each_token_are_unchanged(rows: list[list[tuple[int, int]]]) -> None:
    given_pairs = [([token for token, _ in row], [label for _, label in row]) for row in rows]
    packed = Examples.pack(given_pairs)
    assert packed.per_token
    assert (len(packed), packed.lengths.tolist()) == (len(rows), list(map(len, rows)))
    assert _lists(packed) == given_pairs
    assert all(labels.dtype == np.int64 for _, labels in packed)
    assert _lists(packed.take(range(len(rows))[::-1])) == given_pairs[::-1]
    assert _lists(pickle.loads(pickle.dumps(packed))) == given_pairs
    assert packed.fingerprints() == Examples.pack([(ids, 0) for ids, _ in given_pairs]).fingerprints()
    if len(rows) > 1:
        assert sorted(pair for half in halves(packed, seed=0) for pair in _lists(half)) == sorted(given_pairs)


def _lists(examples: Examples) -> list[tuple[list[int], list[int]]]:
    return [(ids.tolist(), labels.tolist()) for ids, labels in examples]


def test_examples_from_arrays_have_one_length() -> None:
    ids_NL, labels_NL = np.arange(6, dtype=np.uint16).reshape(2, 3), np.arange(6, dtype=np.int16).reshape(2, 3) - 1
    assert _lists(Examples.from_arrays(ids_NL, labels_NL)) == [([0, 1, 2], [-1, 0, 1]), ([3, 4, 5], [2, 3, 4])]


def test_labels_are_one_for_each_example_or_each_token() -> None:
    with pytest.raises(ManticoreError, match="3 labels for 2 examples of 4 tokens"):
        Examples(np.arange(4, dtype=np.uint8), np.array([0, 2, 4]), np.array([0, 1, 2]))


def test_duplicates_stay_in_the_split_farthest_from_training(caplog: pytest.LogCaptureFixture) -> None:
    train, val = drop_duplicates("toy", examples("a", "b", "c", "c", "d"), examples("b", "e"), examples("d", "e"))
    assert [chr(ids[0]) for split in (train, val) for ids, _ in split] == ["a", "c", "b"]
    assert "dropped 1 of 2 toy examples from val" in caplog.text
    assert "dropped 3 of 5 toy examples from train" in caplog.text
    with pytest.raises(ManticoreError, match="all 1 toy examples of val"):
        drop_duplicates("toy", examples("a"), examples("b"), examples("b"))


def test_examples_end_and_count_from_the_back() -> None:
    packed = examples("ab", "c")
    assert packed[-1][0].tolist() == [ord("c")]
    with pytest.raises(IndexError):
        packed[2]


def test_fingerprints_see_tokens_only() -> None:
    narrow = Examples(np.array([1, 2], np.uint8), np.array([0, 2]), np.array([5]))
    wide = Examples(np.array([1, 2], np.uint32), np.array([0, 2]), np.array([7]))
    assert narrow.fingerprints() == wide.fingerprints()
    assert len(set(examples("ab", "ba", "a", "b", "").fingerprints())) == 5


def test_fingerprints_are_the_same_wherever_blocks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["", "", "abc", "a", "", "abcdefgh", "b", "ab", "", ""]
    whole = examples(*texts).fingerprints()
    assert whole == [hashlib.blake2b(text.encode("utf-32-le"), digest_size=16).digest() for text in texts]
    for block in range(1, 12):
        monkeypatch.setattr("manticore.tasks.dataset.HASH_BLOCK", block)
        assert examples(*texts).fingerprints() == whole
    assert examples().fingerprints() == []


def test_fingerprints_copy_a_block_at_a_time() -> None:
    count, length = 1_000, 16_384
    ids_NL = np.random.default_rng(0).integers(256, size=(count, length), dtype=np.uint8)
    packed = Examples(ids_NL.reshape(-1), np.arange(count + 1) * length, np.zeros(count, dtype=np.int64))
    tracemalloc.start()
    prints = packed.fingerprints()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(prints)) == count
    assert peak < packed.flat.nbytes / 20


def test_splits_that_share_examples_are_refused() -> None:
    check_disjoint(Splits(examples("a"), examples("b"), examples("c"), examples("d")))
    shared = Splits(examples("a", "b"), examples("c"), examples("d"), examples("b", "a", "e", labels="100"))
    with pytest.raises(ManticoreError, match="'train' and 'test' share 2 examples"):
        check_disjoint(shared)
    with pytest.raises(ManticoreError, match="share 2 examples"):
        Letters(shared).splits()


def test_splits_are_built_once() -> None:
    task = Letters(Splits(examples("a"), examples("b"), examples("c"), examples("d")))
    assert task.splits() is task.splits()
    assert task.builds == 1


def test_halves_depend_on_size_and_seed_only() -> None:
    first, _ = split = halves(examples(*"abcdefg"), seed=0)
    other_first, _ = halves(examples(*"tuvwxyz"), seed=0)
    assert [len(half) for half in split] == [4, 3]
    assert [ids[0] - ord("a") for ids, _ in first] == [ids[0] - ord("t") for ids, _ in other_first]
    assert halves(examples(*"abcdefg"), seed=1)[0].fingerprints() != first.fingerprints()
    with pytest.raises(ManticoreError, match="at least 2"):
        halves(examples("a"), seed=0)


def test_collate_pads_on_the_right_to_the_longest() -> None:
    task = Letters(Splits(examples("a"), examples("b"), examples("c"), examples("d")))
    batch = task.collate([(np.array([3, 4, 2]), 1), (np.array([4, 2]), 0)])
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in batch.items()} == {
        "input_ids": (torch.int64, (2, 3)),
        "attention_mask": (torch.int64, (2, 3)),
        "labels": (torch.int64, (2,)),
    }
    assert batch["input_ids"].tolist() == [[3, 4, 2], [4, 2, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [1, 0]


class Tags(Letters):
    kind = "tokens"


def tags(*rows: tuple[str, list[int]]) -> Examples:
    return Examples.pack([([ord(letter) for letter in text], labels) for text, labels in rows])


def test_collate_pads_labels_of_tokens_with_ignore() -> None:
    task = Tags(Splits(*[tags((letter * 2, [1, 2])) for letter in "abcd"]))
    batch = task.collate([(np.array([3, 4, 2]), np.array([1, IGNORE, 0])), (np.array([4]), 2)])
    assert batch["labels"].tolist() == [[1, IGNORE, 0], [2, IGNORE, IGNORE]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}
    assert task.describe().endswith("2 tokens (EOS included), one of 3 tokens at each position; made up")


def test_heuristic_baselines_of_tokens_count_scored_labels() -> None:
    train = tags(("ab", [1, IGNORE]), ("aa", [1, 0]), ("bb", [0, 0]))
    test = tags(("abb", [1, 0, IGNORE]), ("ba", [0, IGNORE]))
    assert heuristic_answers(train, test, same_token).accuracy == 1  # after a 1, after b 0
    assert heuristic_answers(train, test, same_position).accuracy == pytest.approx(2 / 3)  # 1, then 0
    task = Tags(Splits(train, tags(("xx", [0, 0])), tags(("yy", [0, 0])), test))
    assert task.heuristic_baselines() == {"majority token": pytest.approx(2 / 3)}


def test_a_task_feeds_a_loader() -> None:
    task = Letters(Splits(examples(*"abcd"), examples("x"), examples("y"), examples("z")))
    loader = torch.utils.data.DataLoader(task.splits().train, batch_size=3, collate_fn=task.collate)
    assert [batch["input_ids"].shape for batch in loader] == [(3, 1), (1, 1)]


def test_heuristic_baselines_are_fitted_on_train_alone() -> None:
    first = lambda examples: examples.first_tokens  # noqa: E731
    train = examples("ax", "ay", "az", "bx", "by", "bz", labels="001222")
    test = examples("ap", "bp", "cp", "bq", labels="0202")
    # The most frequent label is 2; after a it is 0, after b 2; c is unknown and predicted as 2.
    assert heuristic_answers(train, test, first).accuracy == 0.75
    task = Letters(Splits(train, examples("q", labels="1"), examples("r", labels="1"), test))
    task.features["first letter"] = first
    assert task.heuristic_baselines() == {"majority class": 0.5, "first letter": 0.75}
    task = Letters(Splits(train, examples(*"qst", labels="000"), examples(*"ru", labels="00"), test))
    assert task.heuristic_baselines() == {"majority class": 0.5}


def test_describe_is_one_line() -> None:
    task = Letters(Splits(examples("aaa"), examples("b"), examples("c"), examples("d")))
    assert task.describe() == (
        "letters: train 1, train_arch 1, val 1, test 1; 1-3 tokens (mean 2, EOS included), 3 classes; made up"
    )


def test_a_task_without_official_files_is_named() -> None:
    task = Letters(Splits(examples("a"), examples("b"), examples("c"), examples("d")))
    with pytest.raises(ManticoreError, match="'letters' has no official file format"):
        task.write(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_options", "message"),
    [
        ({"preset": "papr"}, "Did you mean 'paper'"),
        ({"train": 1}, "train must be a whole number of at least 2, got 1"),
        ({"val": 0}, "val must be a whole number of at least 1, got 0"),
        ({"name": "task@a"}, "expected key=value after 'task@', got 'a'"),
        ({"name": "task@a=1,=2"}, "expected key=value after 'task@', got '=2'"),
        ({"name": "task@a=1,a=2"}, "'task@' has 'a' twice"),
    ],
)
def test_invalid_options_are_refused(given_options: dict[str, object], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        TaskOptions(**given_options)  # type: ignore[arg-type]


def test_settings_are_after_the_name() -> None:
    options = TaskOptions("task@seq_len=64, many = false")
    assert (options.bare_name, options.settings) == ("task", {"seq_len": "64", "many": "false"})
    assert (TaskOptions("task").bare_name, TaskOptions("task").settings) == ("task", {})


def test_presets_are_chosen_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_preset("cpu") == ("cpu", "set by the user")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_preset("auto") == ("cpu", "there is no CUDA GPU on this machine")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H100")
    assert choose_preset("auto") == ("paper", "there is a GPU (H100)")
    with pytest.raises(UnknownName, match="preset"):
        choose_preset("gpu")
