"""Pathfinder's generator: what is drawn is what the label says, as the benchmark has it, the same for the same seed."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from manticore.errors import UnknownName
from manticore.tasks.lra.pathfinder.draw import Contour, Drawing, Point, draw
from manticore.tasks.lra.pathfinder.generate import drawing, generate
from manticore.tasks.lra.pathfinder.grow import below
from manticore.tasks.lra.pathfinder.paddles import paddles
from manticore.tasks.lra.pathfinder.settings import LEVELS, settings

pytestmark = pytest.mark.slow

SHAPES = [(32, "easy"), (32, "hard"), (64, "easy"), (128, "intermediate"), (256, "easy")]


def apart(one: Point, other: Point) -> float:
    return float(np.hypot(one[0] - other[0], one[1] - other[1]))


def traced(made: Drawing, contour: Contour) -> Point:
    """Walk a contour through the image from its tail: the light must go on, gap after gap. Returns where it ends."""
    light = np.pad(made.pixels, 1)
    at = contour[0][0]
    for tail, head in contour:
        assert apart(at, tail) <= 2 * made.margin + 3.5
        for share in (0.0, 0.5, 1.0):
            y, x = (round(a + share * (b - a)) for a, b in zip(tail, head, strict=True))
            assert light[y : y + 3, x : x + 3].max() > 50
        at = head
    return at


@pytest.mark.parametrize(("size", "level"), SHAPES)
def test_the_label_is_whether_the_discs_mark_one_contour(size: int, level: str) -> None:
    held = settings(size, level)
    labels = set()
    for index in range(12):
        made = drawing(held, 1, index)
        starts = [contour[0][0] for contour in made.contours]
        which = starts.index(made.discs[0])
        ends = [traced(made, contour) for contour in made.contours]
        assert made.label == (ends[which] == made.discs[1])
        assert made.discs[1] in ends
        assert [len(contour) for contour in made.contours] == [held.contour] * 2
        labels.add(made.label)
    assert labels == {0, 1}


def test_discs_are_the_brightest_things_and_nothing_else_is() -> None:
    held = settings(128, "easy")
    for index in range(8):
        made = drawing(held, 2, index)
        white = np.argwhere(made.pixels >= 250)
        away = [min(apart((y, x), place) for place in made.discs) for y, x in white.tolist()]
        assert max(away) <= held.marker_radius + 0.5
        assert all(made.pixels[place] >= 250 for place in made.discs)


@trials(max_examples=25)
@given(st.sampled_from([(32, "easy"), (32, "intermediate"), (64, "easy"), (128, "easy")]), st.integers(0, 10**6))
def test_every_image_keeps_the_rules(shape: tuple[int, str], seed: int) -> None:
    held = settings(*shape)
    made = draw(held, Random(f"rules/{seed}"))
    assert made.pixels.shape == (held.size, held.size)
    assert (made.pixels.min(), made.pixels.max()) == (0, 255)
    assert made.margin in held.margins
    for contour in made.contours:
        for tail, head in contour:
            assert held.paddle - 1.5 <= apart(tail, head) <= held.paddle + 1.5
        turns = [np.arctan2(head[0] - tail[0], head[1] - tail[1]) for tail, head in contour]
        sharpest = max(abs((after - before + np.pi) % (2 * np.pi) - np.pi) for before, after in pairwise(turns))
        # Whole pixels blur the angles of short paddles.
        assert sharpest <= np.pi / 2 / held.continuity + 4.0 / held.paddle
    tails = [contour[0][0] for contour in made.contours]
    assert abs(apart(*tails) - held.seed_distance) < 1


def test_the_first_contour_starts_in_the_middle() -> None:
    tails = [drawing(settings(32, "easy"), 3, index).contours[0][0][0] for index in range(60)]
    assert all(14 <= value <= 17 for tail in tails for value in tail)
    assert len(set(tails)) > 5


def test_at_32_pixels_contours_start_at_few_angles_as_in_the_reference_generator() -> None:
    allowed = [np.diff(paddles(settings(size, "easy"), margin).fits) > 0 for size, margin in ((32, 1), (128, 3))]
    assert np.flatnonzero(allowed[0]).tolist() == list(range(30, 61))
    assert allowed[1].all()


def test_label_balance_and_light_of_many_images() -> None:
    for level, light in (("easy", 13.0), ("hard", 20.2)):
        made = generate(settings(32, level), 400, seed=5)
        assert made.labels.mean() == pytest.approx(0.5, abs=0.08)
        assert made.images.mean() == pytest.approx(light, abs=1.0)
        ones, zeros = made.images[made.labels == 1], made.images[made.labels == 0]
        assert ones.mean() == pytest.approx(zeros.mean(), abs=1.0)


def test_workers_and_number_of_images_do_not_change_them() -> None:
    held = settings(32, "easy")
    one, three, more = (generate(held, count, 7, workers) for count, workers in ((70, 1), (70, 3), (100, 2)))
    for name in ("images", "labels", "margins"):
        assert np.array_equal(getattr(one, name), getattr(three, name))
        assert np.array_equal(getattr(one, name), getattr(more, name)[:70])
    assert not np.array_equal(one.images, generate(held, 70, 8).images)


def test_no_image_comes_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    held = settings(32, "easy")
    monkeypatch.setattr(
        "manticore.tasks.lra.pathfinder.generate.draw", lambda held, rng: draw(held, Random(int(4 * rng.random())))
    )
    made = generate(held, 3, seed=0, workers=1)
    assert len({image.tobytes() for image in made.images}) == 3


def test_random_numbers_are_splitmix64() -> None:
    state = np.array([1234567], dtype=np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(below(state, 2.0**53)) for _ in expected] == [number >> 11 for number in expected]


@pytest.mark.parametrize("level", LEVELS)
def test_a_paddle_is_as_long_as_its_gap_is_wide(level: str) -> None:
    for size in (32, 128):
        held = settings(size, level)
        for margin in held.margins:
            kit = paddles(held, margin)
            assert kit.gap_ASS[kit.line_ASS > 100].min() > 200
            side = kit.line_ASS.shape[1]
            assert side == 2 * (held.paddle + int(np.ceil(held.thickness)) + margin) + 1
            assert np.hypot(*kit.circle_C2.T).max() <= held.paddle + margin + 1.5
            assert kit.turn_AC.max() <= 1
            assert kit.fits[-1] == len(kit.fit_F2)


def test_the_settings_are_the_benchmarks() -> None:
    hard = settings(32, "hard")
    assert (hard.contour, hard.distractor, hard.distractors) == (14, 4, 5)
    assert [settings(128, level).distractors for level in LEVELS] == [17, 11, 8]
    with pytest.raises(UnknownName, match="Did you mean 'easy'"):
        settings(32, "eazy")
    with pytest.raises(UnknownName, match="Pathfinder size"):
        settings(48, "easy")
