"""A real browser for the tests of pages: Chromium of this machine, driven by playwright. Without one tests skip."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

OVERFLOWING = """() => {
    const width = document.documentElement.clientWidth;
    const out = document.documentElement.scrollWidth > width ? ["the page"] : [];
    for (const element of document.querySelectorAll("body *")) {
        if (element.parentElement.closest(".scroll, pre, svg")) continue;
        const box = element.getBoundingClientRect();
        const name = element.className.baseVal ?? element.className;
        if (box.width && box.right > width + 0.5) out.push(`${element.tagName}.${name}`);
    }
    return out;
}"""
"""What is wider than the window, but for the insides of what scrolls by itself."""

FAINT = """(least) => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = (color) => rgba(color).slice(0, 3).reduce((sum, byte, index) => {
        const share = byte / 255;
        const linear = share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
        return sum + [0.2126, 0.7152, 0.0722][index] * linear;
    }, 0);
    const paper = getComputedStyle(document.body).backgroundColor;
    const behind = (element) => {
        const box = element.getBoundingClientRect();
        const covers = (other) => other.left <= box.left && other.right >= box.right && other.top <= box.top;
        const fills = [...(element.closest("g")?.querySelectorAll(":scope > rect:not([opacity])") ?? [])]
            .filter((rect) => covers(rect.getBoundingClientRect()) && getComputedStyle(rect).fill !== "none");
        if (element.tagName === "text" && fills.length) return getComputedStyle(fills.at(-1)).fill;
        for (let parent = element; parent; parent = parent.parentElement) {
            const color = getComputedStyle(parent).backgroundColor;
            if (rgba(color)[3] === 255) return color;
        }
        return paper;
    };
    const out = new Set();
    for (const element of document.querySelectorAll("body *")) {
        const texts = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim());
        const text = texts.join("");
        if (!text || !element.getClientRects().length || element.closest(".at")) continue;
        const style = getComputedStyle(element);
        const [front, back] = [light(element instanceof SVGElement ? style.fill : style.color), light(behind(element))];
        const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
        if (ratio < least) out.add(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
    }
    return [...out];
}"""
"""Texts whose contrast with what is behind them is below `least` (WCAG 2.2, 1.4.3)."""


@contextmanager
def chromium() -> Iterator[Any]:
    """A playwright browser. Skips the test where playwright or a browser is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("needs a Chromium binary on the path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()
