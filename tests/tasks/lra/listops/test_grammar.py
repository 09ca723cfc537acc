"""The grammar: values of expressions, their written form, and their distribution."""

from __future__ import annotations

import random
import subprocess
import sys
from itertools import islice
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.tasks.lra.listops.grammar import CLOSE, ExpressionError, Grammar, draws, evaluate, from_source, to_source

CODES = {"MIN": 10, "MAX": 11, "MED": 12, "SM": 13}


def apply(operator: str, *arguments: int) -> int:
    return evaluate(bytes([CODES[operator], *arguments, CLOSE]))


@pytest.mark.parametrize(
    ("operator", "arguments", "value"),
    [
        ("MED", (3, 4), 3),
        ("MED", (1, 2), 1),
        ("MED", (9, 0), 4),
        ("MED", (9, 1, 5), 5),
        ("MED", (0, 9, 8, 1), 4),
        ("MIN", (4, 9, 5), 4),
        ("MAX", (4, 9, 5), 9),
        ("SM", (4, 9, 5), 8),
        ("SM", (5, 5), 0),
        ("SM", (9,) * 10, 0),
    ],
)
def test_operators_follow_the_definition(operator: str, arguments: tuple[int, ...], value: int) -> None:
    assert apply(operator, *arguments) == value


def test_the_example_of_the_definition() -> None:
    assert to_source(bytes([11, 4, 9, 5, CLOSE])) == "( ( ( ( [MAX 4 ) 9 ) 5 ) ] )"
    assert to_source(b"\x07") == "7"


def test_nesting_is_written_inside_out() -> None:
    codes, value = from_source("( ( ( [SM 8 ) ( ( ( [MIN 7 ) 3 ) ] ) ) ] )")
    assert list(codes) == [13, 8, 10, 7, 3, CLOSE, CLOSE]
    assert value == 1


Tree = int | tuple[str, list["Tree"]]
trees = st.recursive(
    st.integers(0, 9), lambda below: st.tuples(st.sampled_from(sorted(CODES)), st.lists(below, min_size=2, max_size=10))
)


def flatten(tree: Tree) -> list[int]:
    if isinstance(tree, int):
        return [tree]
    operator, children = tree
    return [CODES[operator], *(code for child in children for code in flatten(child)), CLOSE]


def plain_value(tree: Tree) -> int:
    """The definition, in terms of the standard library."""
    if isinstance(tree, int):
        return tree
    values = [plain_value(child) for child in tree[1]]
    return {"MIN": min, "MAX": max, "MED": lambda v: int(median(v)), "SM": lambda v: sum(v) % 10}[tree[0]](values)


def plain_source(tree: Tree) -> str:
    """Left-nested application, written recursively."""
    if isinstance(tree, int):
        return str(tree)
    text = f"[{tree[0]}"
    for child in [*map(plain_source, tree[1]), "]"]:
        text = f"( {text} {child} )"
    return text


@given(trees)
def test_value_and_text_agree_with_the_plain_definition(tree: Tree) -> None:
    codes = bytes(flatten(tree))
    source = to_source(codes)
    assert evaluate(codes) == plain_value(tree)
    assert source == plain_source(tree)
    assert len(source.split()) == 3 * len(codes) - 2
    assert from_source(source) == (codes, plain_value(tree))


@given(st.integers(0, 2**32))
def test_drawn_expressions_are_written_and_read_back(seed: int) -> None:
    grammar = Grammar(4, 60, max_depth=5, max_args=6)
    codes = next(filter(None, draws(random.Random(seed), grammar)))
    assert 4 < len(codes) < 60
    assert from_source(to_source(codes)) == (codes, evaluate(codes))


@given(st.lists(st.sampled_from([*"0123456789", "[MIN", "[MAX", "]", "(", ")"]), max_size=12))
def test_any_text_is_an_expression_or_an_error(tokens: list[str]) -> None:
    text = " ".join(tokens)
    try:
        codes, _ = from_source(text)
    except ExpressionError:
        return
    assert to_source(codes) == text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("( ( ( [MIN 1 ) 2 ) ]", "parentheses"),
        ("[MIN 1 2 ]", "parentheses"),
        ("( ( ( [MIN 1 ) 2 )", "balanced"),
        ("] )", "balanced"),
        ("( [MIN ] )", "arguments"),
        ("1 2", "one expression"),
        ("", "one expression"),
        ("( ( ( [FIRST 1 ) 2 ) ] )", r"\[FIRST"),
        ("( ( ( [MIN 1 ) 10 ) ] )", "'10'"),
    ],
)
def test_invalid_expressions_are_reported(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        from_source(source)


def depth_and_arguments(codes: bytes) -> tuple[int, set[int]]:
    deepest, counts, open_counts = 1, set(), [0]
    for code in codes:
        if code == CLOSE:
            counts.add(open_counts.pop())
        else:
            open_counts[-1] += 1
            deepest = max(deepest, len(open_counts))
            if code >= 10:
                open_counts.append(0)
    return deepest, counts


def test_depth_and_arguments_stay_within_bounds_and_reach_them() -> None:
    grammar = Grammar(0, 200, max_depth=4, max_args=5)
    seen = [depth_and_arguments(codes) for codes in islice(filter(None, draws(random.Random(0), grammar)), 3000)]
    assert max(depth for depth, _ in seen) == 4
    assert set().union(*(counts for _, counts in seen)) == {2, 3, 4, 5}


def test_a_quarter_of_all_nodes_above_the_last_level_are_operators() -> None:
    # Bounds that no tree of two levels and four arguments exceeds, so nothing is rejected.
    trees = list(islice(draws(random.Random(0), Grammar(0, 30, max_depth=2, max_args=4)), 40_000))
    assert None not in trees
    operators = [codes for codes in trees if codes and codes[0] >= 10]
    within = 4 * (0.25 * 0.75 / len(trees)) ** 0.5
    assert len(operators) / len(trees) == pytest.approx(0.25, abs=within)
    for arguments in (2, 3, 4):
        share = sum(len(codes) == arguments + 2 for codes in operators) / len(operators)
        assert share == pytest.approx(1 / 3, abs=0.02)
    for operator in CODES.values():
        assert sum(codes[0] == operator for codes in operators) / len(operators) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("bounds", [(-1, 5, 3, 3), (5, 6, 3, 3), (0, 9, 0, 3), (0, 9, 201, 3), (0, 9, 3, 1)])
def test_a_grammar_that_allows_nothing_is_refused(bounds: tuple[int, int, int, int]) -> None:
    with pytest.raises(ManticoreError, match="must"):
        Grammar(*bounds)


def test_the_worker_process_imports_nothing_heavy() -> None:
    heavy = "import sys, manticore.tasks.lra.listops.worker; print({'torch', 'numpy', 'rich'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True, check=True).stdout == "set()\n"
