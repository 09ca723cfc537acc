"""Takes a user's own projector along into a checkpoint, as source, so that it loads where the user's code is not."""

from __future__ import annotations

import ast
import builtins
import inspect
import textwrap
from pathlib import Path

from manticore.errors import ManticoreError
from manticore.modeling import projectors
from manticore.utils.io import write_text


def embed_projector_source(file: Path, kind: str) -> None:
    """Append the class registered as `kind` to a checkpoint's `projectors.py`; built-in kinds are there already."""
    source = projector_source(kind)
    if source:
        write_text(file, f"{file.read_text(encoding='utf-8')}\n\n{source}\n")


def projector_source(kind: str) -> str:
    """The source that a checkpoint with projectors of this kind carries; empty for built-in kinds.

    Raises ManticoreError if the source cannot be had, or it uses names that a checkpoint does not have.
    """
    held = projectors.PROJECTORS[kind]
    if held.__module__ == projectors.__name__:
        return ""
    tree = _class_tree(held, kind)
    donor = sorted(_outside_names(tree) - set(vars(projectors)) - set(dir(builtins)))
    if donor:
        raise ManticoreError(
            f"projector '{kind}' uses '{donor[0]}', which an exported checkpoint does not have; "
            "it may use torch, nn, F and Tensor, and nothing else from outside its class"
        )
    tree.decorator_list = []
    return f"@projector({kind!r})\n{ast.unparse(tree)}"


def _class_tree(held: type, kind: str) -> ast.ClassDef:
    try:
        parsed = ast.parse(textwrap.dedent(inspect.getsource(held))).body[0]
    except (OSError, TypeError):
        raise ManticoreError(
            f"the source of projector '{kind}' cannot be found; define it in a file or a notebook cell"
        ) from None
    assert isinstance(parsed, ast.ClassDef)
    return parsed


def _outside_names(tree: ast.ClassDef) -> set[str]:
    """Names that the class reads and does not define."""
    read: set[str] = set()
    defined = {tree.name, "__class__"}
    bodies = [*tree.bases, *tree.body]
    for node in (inner for body in bodies for inner in ast.walk(body)):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.alias):
            defined.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            defined.add(node.name)
    return read - defined
