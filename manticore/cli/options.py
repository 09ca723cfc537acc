"""Flags from options dataclasses: their types, defaults and help come from the fields.

A command has a table from flags to fields (`manticore/config/flags.py`). `add_options` adds the flags of a table to a
parser; `read_options` makes the dataclass from the parsed flags. Flags have no defaults of their own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from manticore.config.flags import Flags, nested
from manticore.errors import ManticoreError, UnknownName
from manticore.utils.fields import (
    KeysOf,
    Repeated,
    bare_type,
    bounds_note,
    convert,
    field_defaults,
    field_helps,
    field_types,
    from_mapping,
    note_of,
)

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with exit status 2.

    The flags of a command are added when they are first needed, so that `manticore --help` and `manticore ls` do not
    read the help of all fields.
    """

    add_flags: Callable[[], None] | None = None

    def complete(self) -> Parser:
        """The parser with all its flags."""
        add_flags, self.add_flags = self.add_flags, None
        if add_flags is not None:
            add_flags()
        return self

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, but an unknown argument is an error here, with the nearest flag."""
        self.complete()
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flag = unknown[0].partition("=")[0]
            known = [name for name in self._option_string_actions if name.startswith("--")]
            self.error(str(UnknownName("flag", flag, known)) if flag[:1] == "-" else f"unexpected argument '{flag}'")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        if "argument COMMAND: invalid choice" in message:
            name, known = message.split("'")[1], message.split("choose from ")[1].split(",")
            message = str(UnknownName("command", name, [choice.strip(" ')") for choice in known]))
        self.exit(2, f"{self.prog}: error: {' '.join(message.split())} (see {self.prog} --help)\n")


def command(
    commands: Any,
    name: str,
    kind: type[T],
    flags: Flags,
    run: Callable[[T], None],
    summary: str,
    examples: Sequence[str],
    notes: str = "",
    aliases: Sequence[str] = (),
) -> None:
    """Add a command to `commands`, the subparsers of the command line.

    Args:
        commands: the subparsers.
        name: what the user types.
        kind: dataclass of its options.
        flags: table of its flags, see above.
        run: called with the options.
        summary: what it does, as a sentence without capital and period.
        examples: command lines.
        notes: what else a user should know, shown after the examples.
        aliases: other names of the command.
    """
    parser: Parser = commands.add_parser(
        name,
        aliases=aliases,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog="\n".join(["example:", *(f"  {line}" for line in examples), *(["", fill(notes, 100)] if notes else [])]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_flags = partial(add_options, parser, kind, flags)
    parser.set_defaults(execute=lambda args: run(read_options(args, kind, flags)))


def add_options(parser: argparse.ArgumentParser, kind: type, flags: Flags) -> None:
    """Add the flags of a table to a parser, with the help, type and default of each field of `kind`."""
    for flag, key in flags.items():
        owner, name, default, recipe_key = _find_field(kind, key)
        hint = field_types(owner)[name]
        note = f"[{recipe_key}]" if recipe_key else _note(hint, default)
        text = f"{field_helps(owner)[name].removesuffix('.')} {note}".strip()
        settings = {**_settings(flag, hint, default), "default": None, "help": text.replace("%", "%%")}
        required = default is _REQUIRED and not recipe_key
        if flag.startswith("-"):
            settings |= {"dest": key, "required": required}
        elif not required:
            settings["nargs"] = "?"
        parser.add_argument(flag if flag.startswith("-") else key, **settings)


def read_options(args: argparse.Namespace, kind: type[T], flags: Flags) -> T:
    """The options that the user typed. Raises ManticoreError if they contradict each other."""
    return from_mapping(kind, nested(flags, vars(args)), "option")


_REQUIRED = object()


def _find_field(kind: type, key: str) -> tuple[type, str, Any, str]:
    """The field at a dotted key: its dataclass, its name and default, and its name as a recipe key, if it is one."""
    default: Any = None
    recipe_key = ""
    *parents, name = key.split(".")
    for depth, parent in enumerate(parents):
        hint = field_types(kind)[parent]
        keys = note_of(hint, KeysOf)
        if keys is None:
            kind, default = hint, field_defaults(kind, default).get(parent)
        else:
            section = [keys.section] if keys.section else []
            kind, default, recipe_key = keys.kind, None, ".".join([*section, *parents[depth + 1 :], name])
    return kind, name, field_defaults(kind, default).get(name, _REQUIRED), recipe_key


def _settings(flag: str, hint: Any, default: Any) -> dict[str, Any]:
    """Keyword arguments of argparse for the values of a flag."""
    bare, repeated = bare_type(hint), note_of(hint, Repeated)
    if bare is bool:
        return {"action": argparse.BooleanOptionalAction if default is True else "store_true"}
    if repeated is not None:
        return {"action": "append", "metavar": repeated.metavar}
    if bare == tuple[Path, ...]:
        return {"nargs": "+", "type": Path, "metavar": "PATH"}
    return {"type": partial(_read, hint=hint, name=flag.lstrip("-").replace("-", " ")), "metavar": _metavar(flag, bare)}


def _metavar(flag: str, hint: Any) -> str:
    """The placeholder of a value in the help: its choices, a letter for a number, or the last word of the flag."""
    bare = bare_type(hint)
    if get_origin(bare) is tuple:
        item = _metavar("--name", get_args(bare)[0]).strip("{}")
        return item if "," in item else f"{item},{item}"
    if get_origin(bare) is Literal:
        return "{" + ",".join(map(str, get_args(bare))) + "}"
    letters = {int: "N", float: "X", Path: "PATH"} if flag.startswith("-") else {}
    return letters.get(bare, flag.rpartition("-")[2].upper())


def _note(hint: Any, default: Any) -> str:
    """Bounds and default of a flag, for its help."""
    bounds = bounds_note(hint).strip("()")
    shown = default is not _REQUIRED and default not in (None, False, ())
    text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
    text = text.lower() if isinstance(default, bool) else text
    notes = [*([bounds] if bounds else []), *([f"default: {text}"] if shown else [])]
    return f"({'; '.join(notes)})" if notes else ""


def _read(text: str, hint: Any, name: str) -> Any:
    """The value of a flag. Raises ArgumentTypeError, which argparse turns into an error message."""
    bare = bare_type(hint)
    value: Any
    if get_origin(bare) is tuple:
        item = get_args(bare)[0]
        value = [_number(part.strip(), item) for part in text.split(",") if part.strip()]
        if is_dataclass(item):  # read by the dataclass that it is a field of
            return value
    else:
        value = _number(text, bare)
    try:
        return convert(value, hint, name)
    except ManticoreError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix(f"{name} ")) from None


def _number(text: str, hint: Any) -> Any:
    """Text as a number, if the annotation is numeric and the text is a number; the text otherwise."""
    bare = bare_type(hint)
    try:
        return bare(text) if bare in (int, float) else text
    except ValueError:
        return text
