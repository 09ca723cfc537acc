"""Pathfinder's generator: labels are right, images follow the benchmark, and equal seeds give equal images."""

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
from manticore.tasks.lra.pathfinder.generate import draw_image, generate
from manticore.tasks.lra.pathfinder.grow import random_below
from manticore.tasks.lra.pathfinder.paddles import build_tables
from manticore.tasks.lra.pathfinder.settings import LEVELS, settings_of

pytestmark = pytest.mark.slow

SHAPES = [(32, "easy"), (32, "hard"), (64, "easy"), (128, "intermediate"), (256, "easy")]


def distance(a: Point, b: Point) -> float:
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def trace_contour(drawing: Drawing, contour: Contour) -> Point:
    """Follow a contour through the image from its tail, checking that each paddle is bright. Returns its end."""
    light = np.pad(drawing.pixels, 1)
    at = contour[0][0]
    for tail, head in contour:
        assert distance(at, tail) <= 2 * drawing.margin + 3.5
        for share in (0.0, 0.5, 1.0):
            y, x = (round(a + share * (b - a)) for a, b in zip(tail, head, strict=True))
            assert light[y : y + 3, x : x + 3].max() > 50
        at = head
    return at


@pytest.mark.parametrize(("size", "level"), SHAPES)
def test_the_label_is_whether_the_discs_mark_one_contour(size: int, level: str) -> None:
    settings = settings_of(size, level)
    labels = set()
    for index in range(12):
        drawing = draw_image(settings, 1, index)
        starts = [contour[0][0] for contour in drawing.contours]
        index_of_first = starts.index(drawing.discs[0])
        ends = [trace_contour(drawing, contour) for contour in drawing.contours]
        assert drawing.label == (ends[index_of_first] == drawing.discs[1])
        assert drawing.discs[1] in ends
        assert [len(contour) for contour in drawing.contours] == [settings.contour] * 2
        labels.add(drawing.label)
    assert labels == {0, 1}


def test_only_discs_are_brightest() -> None:
    settings = settings_of(128, "easy")
    for index in range(8):
        drawing = draw_image(settings, 2, index)
        white = np.argwhere(drawing.pixels >= 250)
        away = [min(distance((y, x), center) for center in drawing.discs) for y, x in white.tolist()]
        assert max(away) <= settings.marker_radius + 0.5
        assert all(drawing.pixels[center] >= 250 for center in drawing.discs)


@trials(max_examples=25)
@given(st.sampled_from([(32, "easy"), (32, "intermediate"), (64, "easy"), (128, "easy")]), st.integers(0, 10**6))
def test_every_image_satisfies_the_settings(shape: tuple[int, str], seed: int) -> None:
    settings = settings_of(*shape)
    drawing = draw(settings, Random(f"rules/{seed}"))
    assert drawing.pixels.shape == (settings.size, settings.size)
    assert (drawing.pixels.min(), drawing.pixels.max()) == (0, 255)
    assert drawing.margin in settings.margins
    for contour in drawing.contours:
        for tail, head in contour:
            assert settings.paddle - 1.5 <= distance(tail, head) <= settings.paddle + 1.5
        turns = [np.arctan2(head[0] - tail[0], head[1] - tail[1]) for tail, head in contour]
        sharpest = max(abs((after - before + np.pi) % (2 * np.pi) - np.pi) for before, after in pairwise(turns))
        # Whole pixels blur the angles of short paddles.
        assert sharpest <= np.pi / 2 / settings.continuity + 4.0 / settings.paddle
    tails = [contour[0][0] for contour in drawing.contours]
    assert abs(distance(*tails) - settings.seed_distance) < 1


def test_the_first_contour_starts_in_the_middle() -> None:
    tails = [draw_image(settings_of(32, "easy"), 3, index).contours[0][0][0] for index in range(60)]
    assert all(14 <= value <= 17 for tail in tails for value in tail)
    assert len(set(tails)) > 5


def test_at_32_pixels_contours_start_at_few_angles_as_in_the_reference_generator() -> None:
    allowed = [
        np.diff(build_tables(settings_of(size, "easy"), margin).fits) > 0 for size, margin in ((32, 1), (128, 3))
    ]
    assert np.flatnonzero(allowed[0]).tolist() == list(range(30, 61))
    assert allowed[1].all()


def test_label_balance_and_brightness_of_many_images() -> None:
    for level, light in (("easy", 13.0), ("hard", 20.2)):
        images = generate(settings_of(32, level), 400, seed=5)
        assert images.labels.mean() == pytest.approx(0.5, abs=0.08)
        assert images.images.mean() == pytest.approx(light, abs=1.0)
        ones, zeros = images.images[images.labels == 1], images.images[images.labels == 0]
        assert ones.mean() == pytest.approx(zeros.mean(), abs=1.0)


def test_images_do_not_depend_on_workers_or_their_number() -> None:
    settings = settings_of(32, "easy")
    one_thread, three_threads, longer = (
        generate(settings, count, 7, workers) for count, workers in ((70, 1), (70, 3), (100, 2))
    )
    for name in ("images", "labels", "margins"):
        assert np.array_equal(getattr(one_thread, name), getattr(three_threads, name))
        assert np.array_equal(getattr(one_thread, name), getattr(longer, name)[:70])
    assert not np.array_equal(one_thread.images, generate(settings, 70, 8).images)


def test_images_are_distinct(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(32, "easy")
    monkeypatch.setattr(
        "manticore.tasks.lra.pathfinder.generate.draw",
        lambda settings, rng: draw(settings, Random(int(4 * rng.random()))),
    )
    images = generate(settings, 3, seed=0, workers=1)
    assert len({image.tobytes() for image in images.images}) == 3


def test_random_numbers_are_splitmix64() -> None:
    state = np.array([1234567], dtype=np.uint64)
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [int(random_below(state, 2.0**53)) for _ in expected] == [number >> 11 for number in expected]


@pytest.mark.parametrize("level", LEVELS)
def test_stamps_have_the_size_of_the_settings(level: str) -> None:
    for size in (32, 128):
        settings = settings_of(size, level)
        for margin in settings.margins:
            tables = build_tables(settings, margin)
            assert tables.gap_ASS[tables.line_ASS > 100].min() > 200
            side = tables.line_ASS.shape[1]
            assert side == 2 * (settings.paddle + int(np.ceil(settings.thickness)) + margin) + 1
            assert np.hypot(*tables.circle_C2.T).max() <= settings.paddle + margin + 1.5
            assert tables.turn_AC.max() <= 1
            assert tables.fits[-1] == len(tables.fit_F2)


def test_the_settings_are_those_of_the_benchmark() -> None:
    hard = settings_of(32, "hard")
    assert (hard.contour, hard.distractor, hard.distractors) == (14, 4, 5)
    assert [settings_of(128, level).distractors for level in LEVELS] == [17, 11, 8]
    with pytest.raises(UnknownName, match="Did you mean 'easy'"):
        settings_of(32, "eazy")
    with pytest.raises(UnknownName, match="Pathfinder size"):
        settings_of(48, "easy")
