"""Law 9: every notebook runs from top to bottom, writes nothing to stderr, and is committed without outputs."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.notebook

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ANSI = re.compile(r"\x1b\[[0-9;]*m")

# A process of its own: the sockets of a kernel's client are closed late, and a warning is an error in this test run.
EXECUTE = """
import sys
from pathlib import Path
import nbformat
from render_outputs import execute

source, target, folder = sys.argv[1:]
nbformat.write(execute(Path(source), Path(folder)), target)
"""


def file_name(file: Path) -> str:
    return file.name


def execute(file: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, run by this interpreter with `folder` as the current folder."""
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "docs"), os.environ.get("PYTHONPATH")])),
        "MANTICORE_CACHE": str(folder / "cache"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", EXECUTE, str(file), str(folder / file.name), str(folder)]
    process = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, ANSI.sub("", process.stderr)[-4000:]
    return nbformat.read(folder / file.name, as_version=4)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=file_name)
def test_notebook_runs(file: Path, tmp_path: Path) -> None:
    outputs = [output for cell in execute(file, tmp_path).cells for output in cell.get("outputs", [])]
    assert outputs
    # tqdm warns where ipywidgets is not installed; the notebooks do not need it.
    errors = [output.text for output in outputs if output.get("name") == "stderr" and "TqdmWarning" not in output.text]
    assert not errors, f"{file.name} writes to stderr: {errors}"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=file_name)
def test_notebook_is_committed_without_outputs(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert notebook.nbformat_minor >= 5, "cells need ids"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code), "clear the outputs first"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=file_name)
def test_a_notebook_uses_public_names_alone(file: Path) -> None:
    code = "\n".join(cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code")
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in imports if isinstance(node, ast.ImportFrom)]
    assert [name for name in names if name.partition(".")[0] == "manticore"] == ["manticore"]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=file_name)
def test_the_outputs_in_the_docs_are_of_these_cells(file: Path) -> None:
    spec = importlib.util.spec_from_file_location("render_outputs", ROOT / "docs" / "render_outputs.py")
    assert spec is not None
    assert spec.loader is not None
    render_outputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render_outputs)
    code = [cell.source for cell in nbformat.read(file, as_version=4).cells if cell.cell_type == "code"]
    saved = json.loads((ROOT / "docs" / "outputs" / f"{file.stem}.json").read_text(encoding="utf-8"))
    assert [cell["source"] for cell in saved] == [render_outputs.source_hash(source) for source in code], (
        "the notebook has changed: make notebooks"
    )
    assert any(cell["outputs"] for cell in saved)


def test_the_notebooks_are_one_story() -> None:
    """Each opens with its number and its time, which the table has too, and ends with a link to the next one."""
    table = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    for number, file in enumerate(NOTEBOOKS, start=1):
        first, *_, last = nbformat.read(file, as_version=4).cells
        opening = re.search(r"^\*Notebook (\d) of (\d); (\d+) s of processor time\.\* \w", first.source, re.MULTILINE)
        assert opening is not None
        assert (int(opening[1]), int(opening[2])) == (number, len(NOTEBOOKS))
        assert file.name.startswith(f"{number:02}-")
        assert re.search(rf"^\| \[{re.escape(file.name)}\].*\| {opening[3]} s \|$", table, re.MULTILINE)
        if number < len(NOTEBOOKS):
            assert f"({NOTEBOOKS[number].name})." in last.source.splitlines()[-1]


def test_every_notebook_is_in_the_table() -> None:
    table = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    assert NOTEBOOKS
    assert [file.name for file in NOTEBOOKS if f"({file.name})" not in table] == []
