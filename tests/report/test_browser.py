"""The report pages in a real browser: errors, widths, colors, keyboard, reading order, hover and print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from manticore.report.live import Process, render_unfinished_run
from manticore.report.run.page import write_run_report
from manticore.report.run.reading import read_alphas, read_run
from manticore.report.study.page import write_study_report
from manticore.report.transfer.page import write_transfer_report
from manticore.results.pareto import ParetoFront, ParetoPoint
from manticore.utils.io import write_text
from manticore.utils.page_server import PageServer
from tests.helpers.browser import FAINT, OVERFLOWING, chromium
from tests.helpers.study_results import study_result
from tests.helpers.transfer_results import transfer_result
from tests.report.conftest import write_run

pytestmark = pytest.mark.e2e

PAGES = ("search", "pareto", "comparison", "transfer", "unfinished")
WIDTHS = (360, 412, 600, 768, 1024, 1280, 1600)
A4 = 718
"""Width of a printed page in CSS pixels: 210 mm at 96 per inch, less the margins of Chromium."""

SCROLLS = "element => element.scrollWidth > element.clientWidth + 1"


def pareto_front() -> ParetoFront:
    """Four paths of the run of `write_run`, two of them on the front."""
    points = (
        ParetoPoint(("mamba", "mamba", "mamba"), 1.41, (130_112.0, 2048.0), True, "mamba alone"),
        ParetoPoint(("mamba", "gpt-neo", "skip"), 1.32, (171_200.0, 66_048.0), True, "selected"),
        ParetoPoint(("mamba", "gpt-neo", "mamba"), 1.35, (178_600.0, 67_072.0), False),
        ParetoPoint(("gpt-neo", "gpt-neo", "gpt-neo"), 1.52, (205_312.0, 196_608.0), False, "gpt-neo alone"),
    )
    return ParetoFront("loss", "darts", ("parameters", "cache_bytes@128"), "at most 300 k parameters", points)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The file of each page."""
    folder = tmp_path_factory.mktemp("pages")
    pareto, unfinished = write_run(folder / "pareto"), write_run(folder / "unfinished")
    pareto_front().save(pareto)
    study_result().save(folder / "study")
    transfer_result().save(folder / "transfer")
    write_text(unfinished / "recipe.yaml", "space: {components: [gpt-neo, mamba], stages: 3, skip: true}\n")
    write_text(unfinished / "report.html", render_unfinished_run(unfinished, "killed"))
    return {
        "search": write_run_report(read_run(write_run(folder / "search"))),
        "pareto": write_run_report(read_run(pareto)),
        "comparison": write_study_report(folder / "study"),
        "transfer": write_transfer_report(folder / "transfer"),
        "unfinished": unfinished / "report.html",
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_errors_loads_nothing_and_fits_every_width(page: Any, pages: dict[str, Path], name: str) -> None:
    problems: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(pages[name].as_uri())
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate(OVERFLOWING) == [], f"{width} pixels"
    assert problems == []
    assert requests == [pages[name].as_uri()]


@pytest.mark.parametrize("name", PAGES)
def test_texts_have_contrast_in_light_dark_and_print(page: Any, pages: dict[str, Path], name: str) -> None:
    page.goto(pages[name].as_uri())
    papers = set()
    for media in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"color_scheme": "dark", "media": "print"}):
        page.emulate_media(**media)
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert page.evaluate(FAINT, 4.5) == [], str(media)
    assert papers == {"rgb(253, 252, 250)", "rgb(21, 23, 27)", "rgb(255, 255, 255)"}


@pytest.mark.parametrize("name", PAGES)
def test_a_screen_reader_gets_landmarks_headings_tables_and_charts(
    page: Any, pages: dict[str, Path], name: str
) -> None:
    page.goto(pages[name].as_uri())
    tree = page.locator("body").aria_snapshot()
    landmarks = re.findall(r"^- (\w+):", tree, re.MULTILINE)
    assert landmarks == ["banner", "main", "contentinfo"]
    levels = [int(level) for level in re.findall(r"heading .*\[level=(\d)\]", tree)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels)), levels
    assert page.locator("svg").count() == page.locator("svg[role=img][aria-label]:not([aria-label=''])").count() > 0
    assert page.locator("table").count() == page.locator("table:has(th[scope=row])").count()
    assert page.locator("th:not([scope]), th:empty").count() == 0


@pytest.mark.parametrize("name", ["search", "comparison"])
def test_the_keyboard_reaches_what_opens_and_what_scrolls(page: Any, pages: dict[str, Path], name: str) -> None:
    page.set_viewport_size({"width": 360, "height": 900})
    page.goto(pages[name].as_uri())
    wide = len([box for box in page.locator(".scroll:visible").all() if box.evaluate(SCROLLS)])
    stops = []
    for _ in range(wide + page.locator("summary").count() + 5):
        page.keyboard.press("Tab")
        place = page.evaluate(
            "(e => [e.tagName, e.className, e.getBoundingClientRect().top + scrollY])(document.activeElement)"
        )
        if place[0] == "BODY":
            break
        stops.append(place)
    assert sum(tag == "DIV" and kind == "scroll" for tag, kind, _ in stops) >= wide > 0
    assert any(tag == "SUMMARY" for tag, _, _ in stops)
    tops = [top for _, _, top in stops]
    assert tops == sorted(tops), "the order of tab stops is that of the page"
    page.locator("summary").last.focus()
    page.keyboard.press("Enter")
    assert page.locator("details").last.get_attribute("open") is not None
    scroller = page.locator(".scroll").nth(1)
    scroller.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelectorAll('.scroll')[1].scrollLeft > 0")


def test_hover_shows_the_values_of_a_step(page: Any, pages: dict[str, Path]) -> None:
    page.goto(pages["search"].as_uri())
    panel = page.locator("svg[aria-label^='Mixing weights at stage 1']")
    assert panel.locator(".at text:visible").count() == 0
    panel.scroll_into_view_if_needed()
    box = panel.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.5 * box["height"])
    (shown,) = panel.locator(".at text:visible").all()
    step, *values = re.split(r"(?=\d\.)", shown.text_content())
    alphas = read_alphas(pages["search"].parent / "alphas.jsonl", 3)
    assert alphas is not None
    row = alphas.weights[alphas.steps.index(float(step.removeprefix("step ")))][0]
    weights = dict(zip(alphas.candidates, row, strict=True))
    assert values == [f"{weights[name]:.2f}" for name in ("mamba", "gpt-neo", "skip")]
    words = ", ".join(f"{name} {value}" for name, value in zip(("mamba", "gpt-neo", "skip"), values, strict=True))
    assert shown.locator("xpath=..").locator("title").text_content() == f"{step}: {words}"
    page.locator("svg[aria-label^='Training loss of search']").hover()
    (loss,) = page.locator(".at text:visible").all_text_contents()
    assert re.fullmatch(r"step 20[0-9](\d\.\d{3}){2}", loss)


@pytest.mark.parametrize("name", PAGES)
def test_hover_shows_the_value_of_every_mark(page: Any, pages: dict[str, Path], name: str) -> None:
    page.goto(pages[name].as_uri())
    silent = page.evaluate(
        """() => [...document.querySelectorAll("svg circle.dot, td svg")]
            .filter((mark) => !/\\d/.test((mark.closest("g") ?? mark).querySelector("title")?.textContent ?? ""))
            .map((mark) => mark.outerHTML.slice(0, 80))"""
    )
    assert silent == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_in_full(page: Any, pages: dict[str, Path], name: str) -> None:
    page.emulate_media(media="print")
    page.set_viewport_size({"width": A4, "height": 1000})
    page.goto(pages[name].as_uri())
    assert page.evaluate(OVERFLOWING) == []
    assert [box.text_content() for box in page.locator(".scroll, pre").all() if box.evaluate(SCROLLS)] == []
    for hidden in page.locator("details > *:not(summary)").all():
        assert hidden.bounding_box() is not None
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_served_page_follows_the_run_and_becomes_the_report(page: Any, pages: dict[str, Path]) -> None:
    folder, problems = pages["unfinished"].parent, list[str]()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    process: Process | None = "running"

    def make_page() -> str:
        return pages["search"].read_text("utf-8") if process is None else render_unfinished_run(folder, process)

    with PageServer(0, make_page) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            page.goto(server.address)
            assert page.locator("#state").text_content() == "Running: data and models are prepared."
            page.locator("summary").click()
            process = "killed"
            page.wait_for_selector("#state:has-text('This run was killed')")
            assert page.title().startswith("killed")
            assert page.locator("details").get_attribute("open") is not None, "the rest of the page stays as it is"
            process = None
            page.wait_for_selector("text=The search space has 27 paths")
        finally:
            server.shutdown()
            thread.join()
    assert problems == []
