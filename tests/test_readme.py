"""Law 9: what the pages say, runs. Python and YAML marked `<!-- runs -->`, every command, every file in the tree."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from manticore.cli import parser
from manticore.pipelines.assets import validate

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md")
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- runs -->\s*\Z")
TREE = re.compile(r"^#+ [^\n]*\btree\b[^\n]*\n(?:(?!^#).)*\Z", re.MULTILINE | re.DOTALL | re.IGNORECASE)
ENTRY = re.compile(r"^(?P<indent>[│├└─\s]*)(?P<name>[^\s│├└─]+)(?P<note>.*)$")
FILE_IN_NOTE = re.compile(r"[\w./-]+(?:\.(?:py|md|toml|txt|yaml)\b|/(?=[\s;,.]|$))")
ENDS = {"&&", "||", "|", ";", "&", ">", ">>", "<"}


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: what it is on.
        line: of its first line, from 1.
        language: what stands behind the fence.
        marked: `<!-- runs -->` stands before it.
        tree: the heading above it has the word tree.
        text: without the fences.
    """

    page: str
    line: int
    language: str
    marked: bool
    tree: bool
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> list[Block]:
    out = []
    for found in FENCE.finditer(text):
        before = text[: found.start()]
        line = before.count("\n") + 2
        out.append(Block(page, line, found[1], bool(MARK.search(before)), bool(TREE.search(before)), found[2]))
    return out


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of every `manticore ...` in lines of shell."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in [*words, ";"]:
            if word not in ENDS:
                command.append(word)
                continue
            while command and re.fullmatch(r"\w+=.*", command[0]):
                command.pop(0)
            if command and command[0].split("/")[-1] == "manticore":
                yield command[1:]
            command = []


def tree_paths(text: str) -> Iterator[str]:
    """The paths in an annotated tree, and what the annotations call by a file's name, which lies beside the entry."""
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = ENTRY.match(line)
        if found is None or not found["name"].strip(".…"):
            continue
        column, name = len(found["indent"]), found["name"].rstrip("/")
        parents = [(at, parent) for at, parent in parents if at < column]
        beside = [parent for _, parent in parents]
        for path in (name, *(mention.rstrip("/") for mention in FILE_IN_NOTE.findall(found["note"]))):
            yield "/".join([*beside, path])
        parents.append((column, name))


BLOCKS = [
    block for page in PAGES if (ROOT / page).exists() for block in blocks_of(page, (ROOT / page).read_text("utf-8"))
]
MARKED = [block for block in BLOCKS if block.marked]
COMMANDS = [
    pytest.param(words, id=f"{block}: {shlex.join(words)[:60]}")
    for block in BLOCKS
    if block.language in ("sh", "bash", "shell", "console")
    for words in commands_in(block.text)
]
PATHS = [pytest.param(path, id=path) for block in BLOCKS if block.tree for path in tree_paths(block.text)]


@pytest.mark.parametrize("block", [held for held in MARKED if held.language == "python"], ids=str)
def test_marked_python_runs(block: Block, tmp_path: Path) -> None:
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "MANTICORE_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": "1",
    }
    (tmp_path / "block.py").write_text(block.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "block.py"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{block}: {done.stderr[-3000:]}"


@pytest.mark.parametrize("block", [held for held in MARKED if held.language in ("yaml", "yml")], ids=str)
def test_marked_yaml_is_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.yaml"
    file.write_text(block.text, encoding="utf-8")
    assert validate(file)


@pytest.mark.parametrize("block", [held for held in BLOCKS if held.language == "python"], ids=str)
def test_python_is_python(block: Block) -> None:
    ast.parse(block.text, filename=str(block))


@pytest.mark.parametrize("words", COMMANDS)
def test_command_parses(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status = 0
    try:
        parser().parse_args(words)
    except SystemExit as end:  # --help ends with 0
        status = int(end.code or 0)
    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", PATHS)
def test_file_in_the_tree_exists(path: str) -> None:
    assert any(ROOT.glob(path)), f"the tree names {path}"


def test_only_known_languages_are_marked() -> None:
    assert [str(block) for block in MARKED if block.language not in ("python", "yaml", "yml")] == []


PAGE = """
<!-- runs -->

```python
print("marked")
```

```python
print("not marked")
```

```sh
make demo   # not ours
$ HF_HOME=cache .venv/bin/manticore ls models | head && manticore show recipe   # two
manticore search --models gpt-neo,mamba \\
    --task lra-listops
```

## The tree

```text
manticore/        all code
  cli.py          words to calls; api.py and runs/
  runs/           one story per file
    search.py     the main one
…
LICENSE
```

```text
manticore/
├── cli.py        words to calls
└── runs/
    └── search.py the main one
```

## What else

```text
not/a/file
```
"""


def test_the_reader_of_pages() -> None:
    first, second, shell, tree, drawn, other = blocks_of("page", PAGE)
    assert (first.marked, second.marked, first.line) == (True, False, 5)
    assert [block.tree for block in (shell, tree, drawn, other)] == [False, True, True, False]
    assert list(commands_in(shell.text)) == [
        ["ls", "models"],
        ["show", "recipe"],
        ["search", "--models", "gpt-neo,mamba", "--task", "lra-listops"],
    ]
    code = ["manticore/cli.py", "manticore/runs", "manticore/pipelines/search.py"]
    mentioned = ["manticore/api.py", "manticore/runs"]
    assert sorted(tree_paths(tree.text)) == sorted(["manticore", "LICENSE", *code, *mentioned])
    assert list(tree_paths(drawn.text)) == ["manticore", *code]
