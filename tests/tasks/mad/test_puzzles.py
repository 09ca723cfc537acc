"""The puzzles follow their definitions for any settings, and have the statistics of the benchmark for its own."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.catalog import COMPRESSION, COPYING, FAMILIES, FUZZY, MEMORIZATION, NOISY, RECALL
from manticore.tasks.mad.compression import Compression
from manticore.tasks.mad.copying import Copying
from manticore.tasks.mad.fuzzy import Fuzzy, motifs
from manticore.tasks.mad.memorization import Memorization
from manticore.tasks.mad.puzzle import Ids, Puzzle, first_positions
from manticore.tasks.mad.recall import Recall
from tests.helpers.mad_oracles import SOLVERS

pytestmark = pytest.mark.slow

COUNT = 20
seeds = st.integers(0, 2**32)


@st.composite
def recalls(draw: st.DrawFn) -> Recall:
    noise, multi = draw(st.integers(0, 5)), draw(st.booleans())
    share = draw(st.sampled_from([0.0, 0.2, 0.95])) if noise else 0.0
    size = 2 + noise + (not multi) + draw(st.integers(0, 20))
    return Recall(size, 2 * draw(st.integers(2, 30)), 2, multi, noise, share)


@st.composite
def fuzzies(draw: st.DrawFn) -> Fuzzy:
    longest, multi = (draw(st.integers(1, 4)), draw(st.integers(1, 4))), draw(st.booleans())
    size = 1 + (not multi) + 2 * max(longest) + draw(st.integers(0, 12))
    return Fuzzy(size, 2 * sum(longest) + draw(st.integers(1, 60)), 2, multi, *longest)


@st.composite
def copyings(draw: st.DrawFn) -> Copying:
    symbols = draw(st.integers(1, 20))
    return Copying(draw(st.integers(3, 30)), 2 * symbols + draw(st.integers(2, 40)), 2, symbols)


compressions = st.builds(Compression, st.integers(2, 30), st.integers(2, 40), st.just(2))
memorizations = st.builds(
    Memorization, st.integers(3, 200), st.integers(1, 20).map(lambda half: 2 * half), st.just(2), st.integers(0, 99)
)
puzzles = st.one_of(recalls(), fuzzies(), copyings(), compressions, memorizations)


def draw(puzzle: Puzzle, seed: int, training: bool = False, count: int = COUNT) -> Ids:
    return puzzle.draw(np.random.default_rng(seed), count, training)


def examples(puzzle: Puzzle, seed: int, training: bool = False, count: int = COUNT) -> tuple[Ids, Ids]:
    return puzzle.inputs_and_targets(draw(puzzle, seed, training, count), training)


@given(puzzles, seeds, st.booleans())
def test_inputs_and_targets_have_one_length_and_ids_of_the_vocabulary(puzzle: Puzzle, seed: int, train: bool) -> None:
    inputs_NL, targets_NL = examples(puzzle, seed, train)
    assert inputs_NL.shape == targets_NL.shape == (COUNT, puzzle.length)
    assert inputs_NL.min() >= 0
    assert max(inputs_NL.max(), targets_NL.max()) < puzzle.vocab_size
    assert targets_NL[targets_NL < 0].size == (targets_NL == IGNORE).sum()
    assert (targets_NL != IGNORE).any(axis=1).all()
    assert (examples(puzzle, seed, train)[0] == inputs_NL).all()


@given(st.one_of(recalls(), fuzzies()), seeds)
def test_recall_trains_on_every_next_token_and_is_tested_on_values(puzzle: Recall | Fuzzy, seed: int) -> None:
    full_NS = draw(puzzle, seed)
    inputs_NL, next_NL = puzzle.inputs_and_targets(full_NS, training=True)
    assert (inputs_NL == full_NS[:, :-1]).all()
    assert (next_NL == full_NS[:, 1:]).all()
    target_NL = puzzle.inputs_and_targets(full_NS, training=False)[1]
    assert ((target_NL == IGNORE) | (target_NL == next_NL)).all()
    assert ((target_NL == IGNORE) | ((target_NL >= puzzle.keys) & (target_NL < puzzle.symbols))).all()
    assert (target_NL[:, -1] == full_NS[:, -1]).all()
    assert (puzzle.full_sequences(inputs_NL, next_NL) == full_NS).all()
    assert (puzzle.full_sequences(inputs_NL, target_NL) == full_NS).all()


@given(st.one_of(copyings(), compressions, memorizations), seeds)
def test_other_puzzles_have_the_same_targets_in_training_and_in_tests(puzzle: Puzzle, seed: int) -> None:
    full_NS = draw(puzzle, seed)
    training, test = (puzzle.inputs_and_targets(full_NS, training) for training in (True, False))
    for a, b in zip(training, test, strict=True):
        assert (a == b).all()


@given(st.one_of(recalls(), copyings(), compressions, memorizations), seeds)
def test_a_solver_predicts_every_target_from_the_input(puzzle: Puzzle, seed: int) -> None:
    for ids, targets in zip(*examples(puzzle, seed), strict=True):
        answers = SOLVERS[type(puzzle)](puzzle, ids.tolist())
        assert [answer for answer, target in zip(answers, targets, strict=True) if target != IGNORE] == [
            target for target in targets if target != IGNORE
        ]


@given(fuzzies(), seeds, st.booleans())
def test_fuzzy_recall_has_known_targets_except_for_a_missed_probe(puzzle: Fuzzy, seed: int, training: bool) -> None:
    full_NS = draw(puzzle, seed, training)
    for full, targets in zip(full_NS.tolist(), puzzle.inputs_and_targets(full_NS, False)[1].tolist(), strict=True):
        answers = SOLVERS[Fuzzy](puzzle, full[:-1])
        probe = len(_pairs(puzzle, full)[-1][1])  # tokens of the last value
        for position, (answer, target) in enumerate(zip(answers, targets, strict=True)):
            if target != IGNORE:
                assert answer == target or (answer is None and position >= len(targets) - probe)
            elif puzzle.multi_query and full[position + 1] < puzzle.symbols and full[position + 1] >= puzzle.keys:
                assert answer is None  # every value that can be known is a target


@given(recalls(), seeds)
def test_recall_by_its_definition(puzzle: Recall, seed: int) -> None:
    for full, targets in zip(*map(np.ndarray.tolist, _with_targets(puzzle, COUNT, seed)), strict=True):
        body, last = full[: puzzle.seq_len - 2], full[-2:]
        value_of: dict[int, int] = {}
        for position in range(0, len(body), 2):
            first, second = body[position : position + 2]
            if first >= puzzle.symbols:
                noise = range(puzzle.symbols, puzzle.symbols + puzzle.noise_vocab_size)
                assert first in noise
                assert second in noise
                assert targets[position : position + 2] == [IGNORE, IGNORE]
                continue
            assert 0 <= first < puzzle.keys <= second < puzzle.symbols
            assert targets[position] == IGNORE
            assert targets[position + 1] == (second if puzzle.multi_query and first in value_of else IGNORE)
            assert value_of.setdefault(first, second) == second
        assert value_of[last[0]] == last[1]
        assert full[puzzle.seq_len - 2 : -2] == ([] if puzzle.multi_query else [puzzle.vocab_size - 1])
        assert puzzle.frac_noise or all(token < puzzle.symbols for token in body)


def _pairs(puzzle: Fuzzy, full: list[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The keys and values of a fuzzy sequence without its padding."""
    pairs: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    ids = [token for token in full if token < puzzle.symbols]
    for before, token in zip([puzzle.symbols, *ids], ids, strict=False):
        if token < puzzle.keys <= before:
            pairs.append(((), ()))
        key, value = pairs[-1]
        pairs[-1] = ((*key, token), value) if token < puzzle.keys else (key, (*value, token))
    return pairs


@given(fuzzies(), seeds, st.booleans())
def test_fuzzy_recall_by_its_definition(puzzle: Fuzzy, seed: int, training: bool) -> None:
    for full in draw(puzzle, seed, training).tolist():
        padding = next(position for position, token in enumerate(full) if token != puzzle.symbols)
        assert padding >= 1
        body = full[padding:]
        pairs = _pairs(puzzle, full)
        assert puzzle.symbols not in body  # padding is on the left alone
        for key, value in pairs:
            assert len(set(key)) == len(key)
            assert len(set(value)) == len(value)
            assert 1 <= len(key) <= puzzle.k_motif_size
            assert training or len(key) == puzzle.k_motif_size
            assert 1 <= len(value) <= puzzle.v_motif_size
        value_of: dict[tuple[int, ...], tuple[int, ...]] = {}
        assert all(value_of.setdefault(key, value) == value for key, value in pairs)
        probe = sum(map(len, pairs[-1]))
        *_, before_last = np.cumsum([0, *(len(key) + len(value) for key, value in pairs[:-1])])[:-1]
        assert before_last < puzzle.seq_len - probe - puzzle.k_motif_size - puzzle.v_motif_size
        assert body.count(puzzle.vocab_size - 1) == (not puzzle.multi_query)
        assert puzzle.multi_query or body[-probe - 1] == puzzle.vocab_size - 1


@given(copyings(), seeds)
def test_copying_by_its_definition(puzzle: Copying, seed: int) -> None:
    symbols, blank, copy = puzzle.num_tokens_to_copy, puzzle.vocab_size - 2, puzzle.vocab_size - 1
    for ids, targets in zip(*map(np.ndarray.tolist, examples(puzzle, seed)), strict=True):
        shown = ids[: -symbols - 1]
        assert ids[-symbols - 1 :] == [copy, *[blank] * symbols]
        assert shown.count(blank) == puzzle.seq_len - 2 * symbols - 1
        assert shown[-1] < blank
        assert targets == [*[IGNORE] * (len(shown) + 1), *(token for token in shown if token != blank)]


@given(compressions, seeds)
def test_compression_by_its_definition(puzzle: Compression, seed: int) -> None:
    inputs_NL, targets_NL = examples(puzzle, seed)
    assert (inputs_NL == targets_NL).all()
    assert (inputs_NL[:, -1] == puzzle.vocab_size - 1).all()
    assert (inputs_NL[:, :-1] < puzzle.vocab_size - 1).all()


@given(memorizations, seeds)
def test_memorization_by_its_definition(puzzle: Memorization, seed: int) -> None:
    symbols = puzzle.vocab_size - 1
    assert len(set(puzzle.facts)) == len(puzzle.facts) == symbols // 2
    assert set(puzzle.facts) <= set(range(symbols // 2, symbols))
    inputs_NL, targets_NL = examples(puzzle, seed)
    assert (inputs_NL[:, 1::2] == puzzle.vocab_size - 1).all()
    assert (inputs_NL[:, ::2] < symbols // 2).all()
    assert (targets_NL[:, ::2] == IGNORE).all()
    assert (targets_NL[:, 1::2] == puzzle.facts[inputs_NL[:, ::2]]).all()


def test_the_facts_are_those_of_the_release() -> None:
    assert MEMORIZATION.paper.facts[:6].tolist() == [239, 241, 146, 166, 182, 213]  # type: ignore[attr-defined]
    sizes = [256, *MEMORIZATION.sweep["vocab_size"]]
    puzzles = [MEMORIZATION.paper.with_settings({"vocab_size": str(size)}, "") for size in sizes]
    facts = [len(puzzle.facts) for puzzle in puzzles]  # type: ignore[attr-defined]
    assert (facts[0], facts[-1]) == (127, 4095)
    assert [round(256 * 16 / count) for count in facts] == [32, 16, 8, 4, 2, 1]


def test_recall_in_numbers() -> None:
    full_NS, target_NS = _with_targets(RECALL.paper, 4000)
    expected = 1 + sum(1 - (7 / 8) ** position for position in range(63))
    assert (target_NS != IGNORE).sum(axis=1).mean() == pytest.approx(expected, rel=0.002)
    pair_NP2 = full_NS.reshape(4000, -1, 2)
    assert np.bincount(pair_NP2[:, :-1, 0].ravel()) / (4000 * 63) == pytest.approx(np.full(8, 1 / 8), rel=0.02)
    assert np.bincount(pair_NP2[:, -1, 0]) / 4000 == pytest.approx(np.full(8, 1 / 8), rel=0.15)
    values = [len({*row}) for row in pair_NP2[:, :, 1].tolist()]  # two keys may share a value
    assert np.mean(values) == pytest.approx(8 * (1 - (7 / 8) ** 8), rel=0.02)


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_noise_in_numbers(share: float) -> None:
    puzzle = NOISY.paper.with_settings({"frac_noise": str(share)}, "")
    full_NS, target_NS = _with_targets(puzzle, 4000)
    assert (full_NS[:, :-2:2] >= 16).mean() == pytest.approx(share * (1 - 1 / 64), rel=0.02)
    assert (full_NS[:, -2] < 8).all()
    kept = 1 - share * (1 - 1 / 64)  # a pair in 64 is spared
    expected = 1 + sum(kept * (1 - (1 - kept / 8) ** position) for position in range(63))
    assert (target_NS != IGNORE).sum(axis=1).mean() == pytest.approx(expected, rel=0.03)


def test_fuzzy_recall_in_numbers() -> None:
    full_NS, target_NS = _with_targets(FUZZY.paper, 8000)
    missed = 0
    for full, targets in zip(full_NS.tolist(), target_NS[:, 1:].tolist(), strict=True):
        answers = SOLVERS[Fuzzy](FUZZY.paper, full[:-1])
        missed += any(answer is None for answer, target in zip(answers, targets, strict=True) if target != IGNORE)
    assert 0.018 < missed / 8000 < 0.028  # a loop that follows the definition, over 20,000 tests: 2.4 %
    sizes = Counter(len(value) for full in full_NS[:2000].tolist() for _, value in _pairs(FUZZY.paper, full)[:1])
    assert [sizes[size] / 2000 for size in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.05)
    train_NS = draw(FUZZY.paper, 1, training=True, count=2000)
    keys = Counter(len(key) for full in train_NS.tolist() for key, _ in _pairs(FUZZY.paper, full)[:1])
    assert [keys[size] / 2000 for size in (1, 2, 3)] == pytest.approx([1 / 3] * 3, abs=0.05)


def test_copying_in_numbers() -> None:
    full_NS = draw(COPYING.paper, 0, count=3000)
    gaps_NM = np.diff(np.argwhere(full_NS < 14)[:, 1].reshape(3000, 16), axis=1, prepend=-1) - 1
    assert gaps_NM.mean(axis=0) == pytest.approx(np.full(16, 223 / 16), rel=0.02)
    assert gaps_NM.var(axis=0) == pytest.approx(np.full(16, 223 / 16 * 15 / 16), rel=0.15)


def test_lengths_are_those_of_the_release() -> None:
    lengths = {name: family.paper.length for name, family in FAMILIES.items()}
    assert list(lengths.values()) == [127, 127, 128, 256, 32, 32]
    single = [family.paper.with_settings({"multi_query": "false"}, "").length for family in (RECALL, NOISY, FUZZY)]
    assert single == [128, 128, 128]
    assert [family.paper.kind for family in FAMILIES.values()] == [*["tokens"] * 4, "autoencoder", "tokens"]


def _with_targets(puzzle: Puzzle, count: int, seed: int = 0) -> tuple[Ids, Ids]:
    full_NS = draw(puzzle, seed, count=count)
    return full_NS, puzzle.test_targets(full_NS)


def test_motifs_are_uniform_over_ordered_tuples_of_distinct_tokens() -> None:
    token_NPM, size_NP = motifs(np.random.default_rng(0), (1, 48_000), 4, 1, 3)
    for size in (1, 2, 3):
        counts = Counter(map(tuple, token_NPM[size_NP == size][:, :size].tolist()))
        assert len(counts) == (4, 12, 24)[size - 1]
        assert np.array(list(counts.values())) * len(counts) / counts.total() == pytest.approx(
            np.ones(len(counts)), rel=0.2
        )


@given(st.lists(st.lists(st.integers(-3, 3), min_size=5, max_size=5), min_size=1, max_size=5))
def test_first_positions(rows: list[list[int]]) -> None:
    assert first_positions(np.array(rows)).tolist() == [[row.index(number) for number in row] for row in rows]


@settings(max_examples=20)
@given(recalls(), seeds)
def test_any_sequence_has_valid_targets(puzzle: Recall, seed: int) -> None:
    """Files may contain any sequence; `test_targets` must not fail, so that the error can be reported."""
    rng = np.random.default_rng(seed)
    small = Fuzzy(16, 40, 2), Copying(9, 30, 2, 4), Compression(9, 30, 2), Memorization(9, 30, 2)
    for each in (puzzle, *small):
        target_NS = each.test_targets(rng.integers(each.vocab_size, size=(3, each.tokens)))
        assert target_NS.shape == (3, each.tokens)
        assert ((target_NS == IGNORE) | ((target_NS >= 0) & (target_NS < each.vocab_size))).all()


@pytest.mark.parametrize(
    ("family", "settings_text", "message"),
    [
        (RECALL, {"vocab_size": "1"}, "vocab_size of 2 to 32768, got vocab_size=1,seq_len=128"),
        (RECALL, {"vocab_size": "40000"}, "vocab_size of 2 to 32768"),
        (RECALL, {"seq_len": "127"}, "even seq_len"),
        (RECALL, {"seq_len": "2"}, "seq_len of at least 4"),
        (RECALL, {"train": "1"}, "train of at least 2"),
        (RECALL, {"frac_noise": "0.5"}, "noise_vocab_size above 0"),
        (RECALL, {"noise_vocab_size": "15"}, "leaves a key and a value"),
        (RECALL, {"noise_vocab_size": "-1"}, "noise_vocab_size of at least 0"),
        (NOISY, {"frac_noise": "1"}, "frac_noise of at least 0 and below 1"),
        (NOISY, {"frac_noise": "nan"}, "frac_noise of at least 0 and below 1"),
        (FUZZY, {"seq_len": "12"}, r"seq_len above 2 \* \(k_motif_size"),
        (FUZZY, {"k_motif_size": "0"}, "of at least 1"),
        (FUZZY, {"k_motif_size": "8"}, "for a key of k_motif_size"),
        (FUZZY, {"v_motif_size": "9"}, "for a value"),
        (FUZZY, {"vocab_size": "32768", "k_motif_size": "5"}, "fewer keys"),
        (COPYING, {"num_tokens_to_copy": "0"}, "num_tokens_to_copy of at least 1"),
        (COPYING, {"num_tokens_to_copy": "128"}, "seq_len above"),
        (COPYING, {"vocab_size": "2"}, "vocab_size of at least 3"),
        (COMPRESSION, {"seq_len": "1"}, "seq_len of at least 2"),
        (MEMORIZATION, {"vocab_size": "2"}, "vocab_size of at least 3"),
        (MEMORIZATION, {"seq_len": "31"}, "even seq_len"),
        (MEMORIZATION, {"map_seed": "-1"}, "map_seed of at least 0"),
    ],
)
def test_invalid_settings_are_refused(family: object, settings_text: dict[str, str], message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        family.paper.with_settings(settings_text, "a task")  # type: ignore[attr-defined]
