"""Attention masks: padding on the left, on the right and between tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manticore.modeling.masking import (
    build_position_ids,
    check_mask,
    has_interior_padding,
    has_padding,
    needed_mask,
)

NONE, LEFT, RIGHT, INTERIOR = [1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [1, 0, 0, 1]


def mask(*rows: list[int]) -> Tensor:
    return torch.tensor(rows)


@pytest.mark.parametrize(
    ("rows", "needed"), [([NONE], False), ([RIGHT], False), ([NONE, RIGHT], False), ([LEFT], True), ([INTERIOR], True)]
)
def test_a_mask_is_needed_unless_all_padding_is_on_the_right(rows: list[list[int]], needed: bool) -> None:
    assert (needed_mask(mask(*rows)) is not None) == needed
    assert (needed_mask(mask(*rows, LEFT)) is not None) is True
    assert needed_mask(None) is None


@pytest.mark.parametrize(
    ("row", "alone", "cached"),
    [(NONE, False, False), (LEFT, False, False), (RIGHT, False, True), (INTERIOR, True, True)],
)
def test_interior_padding_follows_a_token_and_precedes_another(row: list[int], alone: bool, cached: bool) -> None:
    assert has_interior_padding(mask(row), 0, cached=False) == alone
    assert has_interior_padding(mask(row), 0, cached=True) == cached
    assert not has_interior_padding(None, 0, cached=True)


def test_only_new_tokens_count() -> None:
    assert has_padding(mask(LEFT), 0)
    assert not has_padding(mask(LEFT), 2)
    assert not has_interior_padding(mask(INTERIOR), 3, cached=True)


def test_position_ids_count_tokens_only() -> None:
    cpu = torch.device("cpu")
    assert build_position_ids(mask(LEFT, INTERIOR), 0, 4, cpu).tolist() == [[0, 0, 0, 1], [0, 0, 0, 1]]
    assert build_position_ids(mask(LEFT), 2, 2, cpu).tolist() == [[0, 1]]
    assert build_position_ids(None, 3, 2, cpu).tolist() == [[3, 4]]


def test_a_mask_of_another_shape_is_refused() -> None:
    check_mask(None, 2, 4)
    check_mask(mask(LEFT), 1, 4)
    with pytest.raises(ValueError, match=r"past \+ new tokens\): here \(1, 5\), not \(1, 4\)"):
        check_mask(mask(LEFT), 1, 5)
