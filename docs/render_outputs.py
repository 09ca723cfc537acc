"""Runs the notebooks and keeps their outputs in `docs/outputs/`, which the pages of the tutorials show.

    make notebooks

A notebook is committed without outputs. `docs/outputs/NAME.json` has, for each code cell, a hash of its source and its
outputs: text, Markdown, and pictures as PNG in base64. A report page in a frame is left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OUTPUTS = ROOT / "docs" / "outputs"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def source_hash(source: str) -> str:
    """Hash of a cell's source, by which its outputs are recognized."""
    return hashlib.blake2b(source.encode(), digest_size=8).hexdigest()


def output_of(output: Any) -> dict[str, str] | None:
    """One output as plain data; None for one that a page does not show."""
    data = output.get("data", {})
    if output["output_type"] == "stream":
        return {"text": ANSI.sub("", output["text"]).rstrip()} if output["name"] == "stdout" else None
    if "image/png" in data:
        return {"png": data["image/png"].strip()}
    if "text/markdown" in data:
        return {"markdown": data["text/markdown"].strip()}
    markup = data.get("text/html", "")
    if markup.startswith("<pre "):  # a line of progress
        return None
    if "<iframe" in markup:
        return {"markdown": "*(The report page, in a frame.)*"}
    return {"text": data["text/plain"].rstrip()} if "text/plain" in data else None


def execute(file: Path, folder: Path) -> Any:
    """The notebook with its outputs, run in `folder` by this interpreter."""
    import nbformat
    from ipykernel.kernelspec import make_ipkernel_cmd
    from jupyter_client import AsyncKernelManager
    from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
    from nbclient import NotebookClient

    class ThisInterpreter(KernelSpecManager):  # type: ignore[misc]
        """Whatever kernel a notebook names, it is run by this interpreter."""

        def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
            return KernelSpec(argv=make_ipkernel_cmd(), display_name=kernel_name, language="python")

    notebook = nbformat.read(file, as_version=4)
    manager = AsyncKernelManager(kernel_spec_manager=ThisInterpreter())
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, km=manager, timeout=240, resources=resources).execute()
    return notebook


def code_cells(notebook: Any) -> list[dict[str, Any]]:
    """The code cells of a notebook that was run, as plain data."""
    return [
        {
            "source": source_hash(cell.source),
            "outputs": [shown for output in cell.outputs if (shown := output_of(output)) is not None],
        }
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def main() -> None:
    """Run the notebooks named on the command line, or all."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    OUTPUTS.mkdir(exist_ok=True)
    named = [Path(name) for name in sys.argv[1:]]
    for file in named or sorted((ROOT / "notebooks").glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            cells = code_cells(execute(file, Path(folder)))
        (OUTPUTS / f"{file.stem}.json").write_text(json.dumps(cells, indent=1) + "\n", encoding="utf-8")
        print(file.name)


if __name__ == "__main__":
    main()
