"""Pages of the site that are generated when it is built, as hooks of MkDocs (`mkdocs.yml` names this file).

| page | generated from |
| --- | --- |
| `reference/cli.md` | the parsers of `manticore.cli` |
| `reference/recipe.md` | `manticore show recipe` |
| `reference/python/PACKAGE.md` | the docstrings of each package, by mkdocstrings |
| `tutorials/*.md` | `notebooks/*.ipynb`, with the outputs in `docs/outputs/` |
| `contributing.md`, `changelog.md` | the files of these names in the repository |
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make this checkout the package that is documented."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for uri, text in pages():
        files.append(File.generated(config, uri, content=text))
    return files


def pages() -> Iterator[tuple[str, str]]:
    """Every generated page: its path below `docs/`, and its Markdown."""
    yield "reference/cli.md", cli_page()
    yield "reference/recipe.md", recipe_page()
    for package in sorted(path.parent.name for path in (ROOT / "manticore").glob("*/__init__.py")):
        yield f"reference/python/{package}.md", package_page(package)
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield f"tutorials/{notebook.stem}.md", notebook_page(notebook)
    for name, uri in REPOSITORY_PAGES.items():
        yield uri, site_links((ROOT / name).read_text(encoding="utf-8"))


def cli_page() -> str:
    """One section for each command, with the flags of its parser."""
    from manticore.cli import parser

    top = parser()
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    out = [
        "# Command line",
        "",
        f"{top.description} This page is generated from the parsers; `manticore COMMAND --help` prints the same.",
        "",
        "Exit status: 0 on success, 2 for an error that the user can correct (one line on standard error), 130 after",
        "an interrupt.",
        "",
    ]
    for action in commands._choices_actions:  # one for each command, with its name and aliases
        name = action.dest.partition(" ")[0]
        out += [f"## manticore {name}", "", *command_section(commands.choices[name].complete())]
    return "\n".join(out)


def command_section(command: argparse.ArgumentParser) -> Iterator[str]:
    """What a command does, its example, and a table of its flags."""
    yield command.description or ""
    yield ""
    example, _, notes = (command.epilog or "").removeprefix("example:\n").partition("\n\n")
    if example:
        yield from ("```sh", *(line.removeprefix("  ") for line in example.splitlines()), "```", "", notes, "")
    rows = [action for action in command._actions if action.help != argparse.SUPPRESS and action.dest != "help"]
    if not rows:
        return
    yield "| argument | meaning |"
    yield "| --- | --- |"
    for action in rows:
        text = command._get_formatter()._expand_help(action) if action.help else ""
        yield f"| {cell(invocation(action))} | {cell(text, code=False)} |"
    yield ""


def invocation(action: argparse.Action) -> str:
    """An argument as it is typed: `--seeds N`, `RUN`."""
    value = action.metavar or (
        "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    )
    value = " ".join(value) if isinstance(value, tuple) else str(value)
    if not action.option_strings:
        return value
    flags = ", ".join(action.option_strings)
    return flags if action.nargs == 0 else f"{flags} {value}"


def recipe_page() -> str:
    """A table for each section of a recipe: key, default, meaning."""
    from manticore.pipelines.assets import show

    out = [
        "# Recipe",
        "",
        "A recipe is a YAML file with the keys below; each key is also a value of `--set KEY=VALUE` and, by section,",
        "an argument of `manticore.search`. What a recipe leaves out has the default shown here. Later settings win:",
        "defaults, the file, its preset, the command's flags, `--set`. This page is generated from",
        "`manticore show recipe`.",
        "",
    ]
    section = None
    for key, default, text in recipe_keys(show("recipe")):
        if section != (section := key.rpartition(".")[0] or key):
            out += ["", f"## {section}", "", "| key | default | meaning |", "| --- | --- | --- |"]
        out.append(f"| {cell(key)} | {cell(default)} | {cell(text, code=False)} |")
    return "\n".join(out) + "\n"


def recipe_keys(text: str) -> Iterator[tuple[str, str, str]]:
    """Key, default and help of each entry of `manticore show recipe`."""
    for entry in re.split(r"\n(?=\S)", text):
        first, _, rest = entry.partition("\n")
        key, _, default = first.partition(" = ")
        yield key, default, " ".join(rest.split())


def package_page(package: str) -> str:
    """The public names of a package and of all its modules."""
    options = "\n".join(f"      {option}" for option in ("show_submodules: true", "show_root_heading: false"))
    return f"# manticore.{package}\n\n::: manticore.{package}\n    options:\n{options}\n"


def notebook_page(file: Path) -> str:
    """A notebook as a page: prose as it is, code in fences, and the outputs that `docs/outputs/` has of it."""
    saved = ROOT / "docs" / "outputs" / f"{file.stem}.json"
    cells = iter(json.loads(saved.read_text(encoding="utf-8")) if saved.exists() else [])
    out = []
    for block in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        text = "".join(block["source"])
        if block["cell_type"] == "code":
            out.append(f"```python\n{text}\n```")
            out += map(output_block, next(cells, {"outputs": []})["outputs"])
        else:
            out.append(site_links(text.replace(".ipynb)", ".md)")))
    note = f"This tutorial is the notebook `notebooks/{file.name}`, with its outputs."
    title, _, rest = "\n\n".join(out).partition("\n")
    return f"{title}\n\n!!! note\n    {note}\n{rest}\n"


def output_block(output: dict[str, str]) -> str:
    """An output of a cell as Markdown."""
    if "png" in output:
        return f'<img alt="The figure that the code above draws" src="data:image/png;base64,{output["png"]}">'
    return output["markdown"] if "markdown" in output else f"```text\n{output['text']}\n```"


def site_links(text: str) -> str:
    """Links from the root of the repository into `docs/`, as links of the site."""
    for name, uri in REPOSITORY_PAGES.items():
        text = text.replace(f"]({name}", f"]({uri}")
    return text.replace("](docs/", "](").replace("](../docs/", "](../")


def cell(text: Any, code: bool = True) -> str:
    """Text that may stand in a table."""
    text = " ".join(str(text).split())
    if code:
        return f"`{text}`".replace("|", "\\|")
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
