"""`manticore completion`: shell completion of commands, flags, and the names of models, tasks and recipes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from typing import Any

from manticore.cli.options import Parser, command
from manticore.config.tool_commands import CompletionCommand
from manticore.utils import assets
from manticore.utils.io import read_json

WORDS = "MANTICORE_WORDS"
"""Environment variable with the words before the cursor, one on a line; then candidates are printed, not a script."""

BASH = f"""_manticore() {{
  local IFS=$'\\n'
  local words="${{COMP_WORDS[*]:1:COMP_CWORD}}"
  COMPREPLY=( $({WORDS}="$words" manticore completion bash 2>/dev/null) )
  [[ ${{#COMPREPLY[@]}} == 1 && ${{COMPREPLY[0]}} == *= ]] && compopt -o nospace 2>/dev/null
  return 0
}}
complete -o default -F _manticore manticore
"""

SCRIPTS = {
    "bash": BASH,
    "zsh": f"autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n{BASH}",
    "fish": f"""function _manticore
  set -lx {WORDS} (string join \\n -- (commandline -opc)[2..-1] (commandline -ct) | string collect -N)
  manticore completion fish 2>/dev/null
end
complete -c manticore -a '(_manticore)'
""",
}
"""The script of each shell, which defines a function that calls this program."""


def add(commands: Any) -> None:
    """Add `manticore completion` to the subparsers."""
    command(
        commands,
        "completion",
        CompletionCommand,
        {"shell": "shell"},
        run,
        "print a script that completes commands, flags, and names of models, tasks and recipes in a shell",
        examples=(
            "manticore completion bash",
            "manticore completion bash >> ~/.bashrc",
            "manticore completion zsh >> ~/.zshrc",
            "manticore completion fish > ~/.config/fish/completions/manticore.fish",
        ),
    )


def run(options: CompletionCommand) -> None:
    """Print the script of a shell, or candidates if the environment has the words of a command line."""
    if WORDS not in os.environ:
        print(SCRIPTS[options.shell], end="")
        return
    from manticore.cli import parser  # the parent package, which imports this module when it makes the parser

    print("\n".join(candidates(parser(), os.environ[WORDS].split("\n"))))


def candidates(top: Parser, typed: list[str]) -> list[str]:
    """What the last word of a command line may become; empty for a file name, which the shell completes.

    Args:
        top: the whole command line.
        typed: words after `manticore` up to the cursor; the last one may be empty.
    """
    *before, last = typed
    commands = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    if not before:
        return _matching([*commands.choices, "--help"], last)
    if before[0] not in commands.choices:
        return []
    parser = commands.choices[before[0]].complete()
    flags: dict[str, argparse.Action] = parser._option_string_actions
    action = flags.get(before[-1])
    if action is not None and action.nargs != 0:
        return _values(action, last)
    if last.startswith("-"):
        return _matching(flags, last)
    positional = [action for action in parser._actions if not action.option_strings]
    return _values(positional[0], last) if len(before) == 1 and positional else []


def _matching(names: Iterable[str], start: str) -> list[str]:
    return sorted({name for name in names if name.startswith(start)})


def _values(action: argparse.Action, start: str) -> list[str]:
    """Values of a flag or an argument; in a list with commas, of its last item."""
    lead, comma, last = start.rpartition(",")
    metavar = str(action.metavar)
    names = _choices(metavar) or _names(action.dest)
    if not comma or "," not in metavar or metavar.startswith("{"):
        return _matching(names, start)
    taken = set(lead.split(","))
    return [f"{lead},{name}" for name in _matching(names, last) if name not in taken]


def _choices(metavar: str) -> list[str]:
    """The choices of a placeholder such as `{cpu,cuda}`, or `tokens,flops` where several may be given."""
    items = metavar.strip("{}").split(",")
    return items if len(set(items)) > 1 else []


def _names(dest: str) -> list[str]:
    """Names that the field at a dotted key may have; empty where it is a path, a number or text."""
    field = dest.rpartition(".")[2]
    if field in ("components", "models", "target_models", "model"):
        return _models()
    if dest in ("task.name", "keys.task.name", "tasks", "proxies", "target", "for_task"):
        return _tasks()
    if dest in ("name", "file"):
        kinds = ("configs", "spaces", "projectors")
        more = ["recipe", *_models(), *_tasks()] if dest == "name" else []
        return [*more, *(name for kind in kinds for name in assets.names(kind))]
    folders = {"config": "configs", "space": "spaces", "projectors": "projectors"}
    if field in folders:
        return assets.names(folders[field])
    if dest == "overrides":
        return [f"{key}=" for key in _recipe_keys()]
    section = "SearchOptions" if field == "strategy" else "SearchSpace"
    return list(_schema()["definitions"][section]["properties"].get(field, {}).get("enum", ()))


def _models() -> list[str]:
    from manticore.components.catalog import CATALOG

    return [*CATALOG, *assets.names("models")]


def _tasks() -> list[str]:
    from manticore.tasks.catalog import tasks

    return [*tasks]


def _schema() -> dict[str, Any]:
    """The shipped schema of recipes: names of strategies and the like without importing torch."""
    schema: dict[str, Any] = read_json(assets.data_folder("schemas") / "recipe.schema.json")
    return schema


def _recipe_keys() -> list[str]:
    """All recipe keys, nested ones dotted."""
    schema = _schema()

    def keys(properties: dict[str, Any], prefix: str) -> Iterable[str]:
        for name, value in properties.items():
            reference = (value.get("allOf") or [{}])[0].get("$ref", "").rpartition("/")[2]
            if reference:
                yield from keys(schema["definitions"][reference]["properties"], f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    sections = {name: value for name, value in schema["properties"].items() if name != "presets"}
    return list(keys(sections, ""))
