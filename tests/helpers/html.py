"""An HTML page, parsed, for the tests of pages."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "br", "hr"}


class Reader(HTMLParser):
    """Collects the elements and the text of a page; fails if tags are not nested."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.replace("<wbr>", ""))  # where a word may break
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open} and data.strip():
            self.text += f"{data.strip()}\n"

    @property
    def labels(self) -> list[str]:
        """Labels of the charts for a screen reader."""
        return [attrs.get("aria-label") or "" for tag, attrs in self.tags if tag == "svg"]

    @property
    def plain_text(self) -> str:
        """The text with single plain spaces."""
        return re.sub(r"[\s\u00a0]+", " ", self.text)


def assert_self_contained(page: str) -> None:
    """The page is one file: no scripts, and nothing to be fetched."""
    assert page.startswith("<!DOCTYPE html>")
    assert not [text for text in ("url(", "@import", "://") if text in page]
    reader = Reader(page)
    assert not {"script", "link", "img", "iframe", "base"} & {tag for tag, _ in reader.tags}
    assert not any({"src", "href", "xlink:href"} & set(attrs) for _, attrs in reader.tags)
    assert not any(name.startswith("on") for _, attrs in reader.tags for name in attrs)
