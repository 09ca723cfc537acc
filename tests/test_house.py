"""Law 10 and the form of the code: imports run downhill, everything public is documented, a file is one idea."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "manticore"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROWS = (  # from the command line down to the errors; docs/design/architecture.md draws it
    ("cli",),
    ("api", "register"),
    ("pipelines",),
    ("studies", "bench"),
    ("experiment",),
    ("report",),
    ("results",),
    ("export",),
    ("config",),
    ("training",),
    ("growth",),
    ("alignment",),
    ("nas",),
    ("tasks",),
    ("adapters",),
    ("components",),
    ("modeling",),
    ("kernels",),
    ("",),  # manticore/__init__.py, which looks names up lazily
    ("utils",),
    ("errors",),
)
HEIGHT = {name: -index for index, row in enumerate(ROWS) for name in row}

LINES = 400
"""A longer file has more than one idea."""

CRUMB = 40
"""A shorter file that a single file imports is half an idea, unless it registers something by name."""

DIALECT = {
    *("held", "told", "place", "made", "given", "found", "words", "one", "other", "others", "ours", "theirs"),
    *("asked", "wanted", "places", "price", "prices", "solved"),
}
"""Names that do not say what they are. Names are the field's nouns: state, record, config, mask, index, path, ..."""


def name_of(file: Path) -> str:
    """`manticore/pipelines/search.py` is `pipelines.search`; a package is its folder."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {name_of(file) for file in MODULES}


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path, inside_functions: bool = True, for_types: bool = False) -> Iterator[str]:
    """Modules of manticore that a file imports, with or without those of its `TYPE_CHECKING` blocks."""
    for node in _nodes(tree_of(file), inside_functions, for_types):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _base(file, node)
            names = [f"{base}.{alias.name}" for alias in node.names]
            names = [name if _ours(name) in NAMES else base for name in names]
        else:
            continue
        yield from {_ours(name) for name in names if name.split(".")[0] == "manticore"}


def _ours(name: str) -> str:
    return name.removeprefix("manticore").lstrip(".")


def _base(file: Path, node: ast.ImportFrom) -> str:
    """The module that `from ... import` names, relative ones resolved."""
    if not node.level:
        return node.module or ""
    package = ("manticore", *file.relative_to(PACKAGE).parent.parts)
    kept = package[: len(package) - node.level + 1]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _nodes(tree: ast.AST, inside_functions: bool, for_types: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if not for_types and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        if inside_functions or not isinstance(node, ast.FunctionDef):
            yield from _nodes(node, inside_functions, for_types)


def test_every_module_has_a_row() -> None:
    assert {name.split(".")[0] for name in NAMES} == set(HEIGHT)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_imports_run_downhill(file: Path) -> None:
    own = name_of(file).split(".")[0]
    for name in imported(file, for_types=bool(own)):  # manticore/__init__.py names what it looks up lazily
        other = name.split(".")[0]
        assert other == own or HEIGHT[other] < HEIGHT[own], f"{name_of(file)} imports manticore.{name}"


def test_there_are_no_cycles() -> None:
    graph = {name_of(file): {name for name in imported(file, False) if name != name_of(file)} for file in MODULES}
    assert set(TopologicalSorter(graph).static_order()) == NAMES


@pytest.mark.parametrize("file", sorted((PACKAGE / "modeling").glob("*.py")), ids=lambda file: file.name)
def test_the_runtime_imports_torch_and_transformers_alone(file: Path) -> None:
    for node in ast.walk(tree_of(file)):
        if isinstance(node, ast.ImportFrom) and ast.unparse(node) == "from manticore import kernels":
            assert file.name == "segments.py", "one file imports kernels, and works without them"
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.module or "").split(".")[0] in (
                {"torch", "transformers", "__future__"} | sys.stdlib_module_names
            ), f"{file.name}:{node.lineno}"
            assert node.level < 2, f"{file.name}:{node.lineno}"
        elif isinstance(node, ast.Import):
            roots = {alias.name.split(".")[0] for alias in node.names}
            assert roots <= {"torch", "transformers"} | sys.stdlib_module_names, f"{file.name}:{node.lineno}"
    assert not [entry for entry in (PACKAGE / "modeling").iterdir() if entry.is_dir() and entry.name != "__pycache__"]


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_everything_public_has_a_docstring(file: Path) -> None:
    assert ast.get_docstring(tree_of(file)), f"{file} has no docstring"
    if name_of(file) in WITHIN:
        return
    overrides = set(_overrides(file))
    for node, owner in _definitions(tree_of(file)):
        public = not node.name.startswith("_") and not owner.startswith("_")
        inherited = owner and (node.name in INHERITED or (owner, node.name) in overrides)
        if public and not inherited:
            assert ast.get_docstring(node), f"{file.relative_to(ROOT)}:{node.lineno}: {owner}.{node.name}".strip(".")


WITHIN = {
    "kernels.backends.cpu.scan_loops",
    "kernels.backends.cpu.tiles",
}  # parts of one kernel

INHERITED = {  # documented where they are declared: torch, transformers, Lightning, argparse, or our own interface
    *("forward", "backward", "extra_repr", "reset_parameters", "__call__"),
    *("get_input_embeddings", "set_input_embeddings", "get_output_embeddings", "set_output_embeddings"),
    *("configure_optimizers", "training_step", "state_dict", "load_state_dict", "error"),
    *("step", "build", "origin", "write"),
    *("check", "tokens", "draw", "test_targets"),  # of a MAD puzzle
    *("init_output", "select_states", "calls_per_token"),  # of a head
    *("branch", "position_tables"),  # of a wiring
}
INHERITED |= {
    f"on_{event}" for event in ("save_checkpoint", "load_checkpoint", "train_start", "train_end", "exception")
}
INHERITED |= {"on_train_batch_end"}


def _overrides(file: Path) -> Iterator[tuple[str, str]]:
    """(class, method) of a module where a base class in manticore documents the method."""
    for node in tree_of(file).body:
        if isinstance(node, ast.ClassDef):
            yield from ((node.name, method) for method in _inherited_methods(file, node))


def _inherited_methods(file: Path, node: ast.ClassDef) -> Iterator[str]:
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        for source, parent in _classes(file, name):
            yield from (m.name for m in parent.body if isinstance(m, ast.FunctionDef) and ast.get_docstring(m))
            yield from _inherited_methods(source, parent)


def _classes(file: Path, name: str) -> Iterator[tuple[Path, ast.ClassDef]]:
    """The class that a module calls `name`, with its file: its own, or one that it imports from manticore."""
    for node in tree_of(file).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            yield file, node
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            module = PACKAGE.parent / Path(*_base(file, node).split("."))
            source = module / "__init__.py" if module.is_dir() else module.with_suffix(".py")
            if source.exists():
                yield from _classes(source, name)


def _definitions(tree: ast.AST, owner: str = "") -> Iterator[tuple[ast.FunctionDef | ast.ClassDef, str]]:
    """Functions and classes of a module and of its classes, with the class they are in; not those inside functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node, owner
        if isinstance(node, ast.ClassDef):
            yield from _definitions(node, node.name)


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_a_file_is_one_idea(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= LINES, f"{file.relative_to(ROOT)} has {lines} lines"
    plug_in = ".register(" in text or file.stem.startswith("__") or file.parent.name in PLUG_INS
    if lines < CRUMB and not plug_in:
        importers = [source for source in MODULES if name_of(file) in set(imported(source))]
        assert len(importers) != 1, f"{file.relative_to(ROOT)} could be a part of {importers[0].relative_to(ROOT)}"


PLUG_INS = {"cli", "pipelines", "plain", "cuda", "mad"}
"""Folders of files of one kind: a command, a verb, an operation, a puzzle."""


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_no_name_is_of_the_dialect(file: Path) -> None:
    bound = {(line, name) for name, line in _bound_names(tree_of(file)) if name in DIALECT}
    assert not bound, f"{file.relative_to(ROOT)}: {sorted(bound)}"


def _bound_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Variables, arguments, functions and classes of a module, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno


def test_a_public_name_is_one_class_or_type() -> None:
    """Two classes or type aliases of one name, such as two `Batch`es, differ by their imports alone."""
    files: dict[str, list[str]] = {}
    for file in MODULES:
        for node in tree_of(file).body:
            if isinstance(node, ast.ClassDef):
                names = [node.name]
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            else:
                continue
            for name in names:
                if name[0].isupper() and not name.isupper() and len(name) > 1:
                    files.setdefault(name, []).append(name_of(file))
    assert not {name: modules for name, modules in files.items() if len(modules) > 1}


OPTIONAL = {"triton", "mamba_ssm", "causal_conv1d", "gguf", "peft", "lm_eval", "accelerate", "mambapy", "torchao"}
"""Packages that no module may need when it is imported."""


@pytest.mark.e2e
def test_every_module_imports_with_the_required_dependencies_alone() -> None:
    skipped = ("kernels.backends.triton", "kernels.backends.cuda", "cli.__main__", "bench.worker")
    names = sorted(f"manticore.{name}" for name in NAMES if name and not name.startswith(skipped))
    probe = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({sorted(OPTIONAL)!r}))  # None: not installed
for name in {names!r}:
    importlib.import_module(name)
"""
    process = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)
    assert not process.returncode, process.stderr[-2000:]


THIS_MACHINE = re.compile(
    r"(?<![\w.])/(?:work|root|home/\w+)/\w|/tmp/venv|pypi\.(?:org|python)|files\.pythonhosted|index-url|/simple/?\b"
)


def test_no_file_names_this_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.split("\0")):
        file = ROOT / name
        if file == Path(__file__) or not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        match = THIS_MACHINE.search(text)
        assert not match, f"{name}: {match[0] if match else ''}"
