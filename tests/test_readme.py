"""Law 9: the pages are correct. Blocks marked `<!-- runs -->` run, commands parse, links and files in trees exist."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from manticore.cli import parser
from manticore.pipelines.assets import validate
from tests.helpers.warm_process import run_script
from tests.test_house import ROWS

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "configs", "models/*", "notebooks", "projectors", "schemas", "search_spaces")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    *sorted(
        str(file.relative_to(ROOT))
        for pattern in ("docs/**/*.md", *(f"{folder}/README.md" for folder in FOLDERS))
        for file in ROOT.glob(pattern)
    ),
)
README_LINES, README_WIDTH = 150, 110
EXAMPLE_LINES = 40
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"<!-- runs -->\s*\Z")
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
TREE = re.compile(r"^#+ [^\n]*\b(?:tree|map)\b[^\n]*\n(?:(?!^#).)*\Z", re.MULTILINE | re.DOTALL | re.IGNORECASE)
ENTRY = re.compile(r"^(?P<indent>[│├└─\s]*)(?P<name>[^\s│├└─]+)(?P<note>.*)$")
FILE_IN_NOTE = re.compile(r"[\w./-]+(?:\.(?:py|md|toml|txt|yaml)\b|/(?=[\s;,.]|$))")
REDIRECTIONS = {">", ">>", "<"}
ENDS = {"&&", "||", "|", ";", "&", *REDIRECTIONS}


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: the file it is in, relative to the repository.
        line: number of its first line, from 1.
        language: the word after the fence.
        marked: `<!-- runs -->` precedes it.
        tree: the heading above it contains the word "tree" or "map".
        text: the content without the fences.
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
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        line = before.count("\n") + 2
        out.append(Block(page, line, match[1], bool(MARK.search(before)), bool(TREE.search(before)), match[2]))
    return out


def shell_commands(text: str) -> Iterator[list[str]]:
    """The words of every command in lines of shell, without redirections and settings of the environment."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        before = ""
        for token in [*lexer, ";"]:
            if token not in ENDS and before not in REDIRECTIONS:
                command.append(token)
            elif token in ENDS - REDIRECTIONS:
                while command and re.fullmatch(r"\w+=.*", command[0]):
                    command.pop(0)
                if command:
                    yield command
                command = []
            before = token


def commands_in(text: str) -> Iterator[list[str]]:
    """The arguments of every `manticore ...` in lines of shell."""
    for name, *args in shell_commands(text):
        if name.split("/")[-1] == "manticore":
            yield args


def tree_paths(text: str) -> Iterator[str]:
    """The paths in an annotated tree, and the files that annotations name, relative to the folder of the entry."""
    parents: list[tuple[int, str]] = []
    for line in text.splitlines():
        entry = ENTRY.match(line)
        if entry is None or not entry["name"].strip(".…"):
            continue
        column, name = len(entry["indent"]), entry["name"].rstrip("/")
        parents = [(at, parent) for at, parent in parents if at < column]
        folder = [parent for _, parent in parents]
        for path in (name, *(mention.rstrip("/") for mention in FILE_IN_NOTE.findall(entry["note"]))):
            yield "/".join([*folder, path])
        parents.append((column, name))


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings."""
    return {
        re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
        for heading in re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    }


TEXTS = {page: (ROOT / page).read_text("utf-8") for page in PAGES}
BLOCKS = [block for page, text in TEXTS.items() for block in blocks_of(page, text)]
MARKED = [block for block in BLOCKS if block.marked]
COMMANDS = [
    pytest.param(command, id=f"{block}: {shlex.join(command)[:60]}")
    for block in BLOCKS
    if block.language in ("sh", "bash", "shell", "console")
    for command in commands_in(block.text)
]
TABLE_COMMANDS = [
    pytest.param(command, id=f"README.md: {shlex.join(command)[:60]}")
    for row in re.findall(r"^\|.*$", TEXTS["README.md"], re.MULTILINE)
    for code in re.findall(r"`(manticore [^`]+)`", row)
    for command in commands_in(code)
]
PATHS = [pytest.param(path, id=path) for block in BLOCKS if block.tree for path in tree_paths(block.text)]
LINKS = [
    pytest.param(page, target, id=f"{page}: {target}")
    for page, text in TEXTS.items()
    if not page.startswith("docs/")  # there `make docs` checks them
    for target in LINK.findall(FENCE.sub("", text))
]


@pytest.mark.e2e
@pytest.mark.parametrize("block", [block for block in MARKED if block.language == "python"], ids=str)
def test_marked_python_runs(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.py"
    file.write_text(block.text, encoding="utf-8")
    environment = {"MANTICORE_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}
    run_script(file, environment, timeout=240)


@pytest.mark.parametrize(
    "block", [block for block in MARKED if block.language == "python" and block.page == "CONTRIBUTING.md"], ids=str
)
def test_a_new_part_is_one_small_file(block: Block) -> None:
    assert len(block.text.splitlines()) <= EXAMPLE_LINES
    assert "import manticore as mc" in block.text
    assert re.search(r"^@?mc\.register\.", block.text, re.MULTILINE)


@pytest.mark.parametrize("block", [block for block in MARKED if block.language in ("yaml", "yml")], ids=str)
def test_marked_yaml_is_valid(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "block.yaml"
    file.write_text(block.text, encoding="utf-8")
    assert validate(file)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_is_python(block: Block) -> None:
    ast.parse(block.text, filename=str(block))


@pytest.mark.parametrize("command", [*COMMANDS, *TABLE_COMMANDS])
def test_command_parses(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status = 0
    try:
        parser().parse_args(command)
    except SystemExit as end:  # --help ends with 0
        status = int(end.code or 0)
    assert status == 0, capsys.readouterr().err


@pytest.mark.parametrize("path", PATHS)
def test_file_in_the_tree_exists(path: str) -> None:
    assert any(ROOT.glob(path)), f"the tree names {path}"


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_link_resolves(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    assert file.exists(), f"{page} links to {path}"
    if anchor:
        assert anchor in anchors_of(file.read_text("utf-8")), f"{path} has no heading #{anchor}"


def test_pages_that_the_code_cites_exist() -> None:
    for file in (ROOT / "manticore").rglob("*.py"):
        for page in re.findall(r"docs/[\w/-]+\.md", file.read_text("utf-8")):
            assert (ROOT / page).is_file(), f"{file.relative_to(ROOT)} cites {page}"


def test_readme_is_short() -> None:
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= README_LINES
    prose = [line for line in FENCE.sub("", text).splitlines() if not line.startswith(("|", "![", "    "))]
    assert [line for line in prose if len(line) > README_WIDTH] == []


def test_the_map_is_the_same_everywhere() -> None:
    maps = {block.text for block in BLOCKS if block.tree}
    assert len(maps) == 1, "CONTRIBUTING.md and docs/design/architecture.md show different trees"


def test_the_page_states_the_import_order() -> None:
    section = TEXTS["docs/design/architecture.md"].split("## Import order")[1].split("\n## ")[0]
    rows = [re.findall(r"`(\w+)`", row.split("|")[1]) for row in re.findall(r"^\| `.*$", section, re.MULTILINE)]
    order = [[name for name in row if name] for row in ROWS]
    assert [name for row in rows for name in row] == [name for row in order for name in row]


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
make demo   # another program
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
    code = ["manticore/cli.py", "manticore/runs", "manticore/runs/search.py"]
    mentioned = ["manticore/api.py", "manticore/runs"]
    assert sorted(tree_paths(tree.text)) == sorted(["manticore", "LICENSE", *code, *mentioned])
    assert list(tree_paths(drawn.text)) == ["manticore", *code]
