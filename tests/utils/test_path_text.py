"""Paths in one line."""

from __future__ import annotations

from manticore.utils.path_text import path_text


def test_a_short_path_lists_each_stage_and_a_long_one_its_runs() -> None:
    assert path_text("aabb" * 2) == "a · a · b · b · a · a · b · b"
    assert path_text("aabbb" * 2) == "1-2 a · 3-5 b · 6-7 a · 8-10 b"
    assert path_text("ab", (8, 16)) == "a (8 bits) · b (16 bits)"
    assert path_text("aaaaabbbb", (8,) * 4 + (4,) * 5) == "1-4 a (8 bits) · 5 a (4 bits) · 6-9 b (4 bits)"
