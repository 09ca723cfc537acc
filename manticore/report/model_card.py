"""The card of an exported model: the README.md of its Hugging Face folder. Knows nothing of how it is written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from manticore.components import Component
from manticore.report.run.reading import Run, read_run
from manticore.report.run.summary import sentences
from manticore.report.run.tables import comparison_table
from manticore.report.usage import code, usage_of
from manticore.results.search import HYBRID, ComponentInfo, SearchResult
from manticore.utils.formatting import count

CITATION = """@article{roberts2024pretrained,
  author  = {Roberts, Nicholas and Guo, Samuel and Gao, Zhiqi and Satya Sai Srinath Namburi GNVV and Cromp, Sonia
             and Wu, Chengjun and Duan, Chengyu and Sala, Frederic},
  title   = {Pretrained Hybrids with MAD Skills},
  journal = {arXiv preprint arXiv:2406.00894},
  year    = {2024},
  url     = {https://arxiv.org/abs/2406.00894}
}"""


def model_card(folder: Path | str, result: SearchResult | None = None) -> str:
    """The card of what a run exported.

    Args:
        folder: the run folder.
        result: the result of a run that has not written its metrics.json yet. Default: read the file.

    Raises:
        ManticoreError: `folder` is not a run's.
        BadFile: one of its files is not what it should be.
    """
    run = read_run(folder, result)
    blocks = (
        f"---\n{yaml.safe_dump(front_matter(run), sort_keys=False, allow_unicode=True)}---",
        f"# {title(run)}",
        "\n".join(sentences(run)),
        "## How to load it",
        _loading(run.result),
        "## What it is made of",
        _made_of(run),
        "## Results",
        comparison_table(run.result).markdown().rstrip(),
        "All rows are scored on the same test split, which was read once; margins are 95% intervals.",
        "## How it was made",
        _story(run),
        "## Limits",
        _limits(run.result),
        "## Citation",
        _fenced("bibtex", CITATION),
    )
    return "\n\n".join(blocks) + "\n"


def title(run: Run) -> str:
    """What the model is called."""
    used = _used(run)
    if len(used) > 1:
        return f"A hybrid of {' and '.join(used)}, trained on {run.result.task}"
    return f"{used[0]}, trained on {run.result.task} in a search for hybrids"


def front_matter(run: Run) -> dict[str, Any]:
    """What the hub reads: library, tags, metrics, and the result as a model index."""
    result, used = run.result, _used(run)
    pipeline = usage_of(result.kind).pipeline
    bases = [hub_id for name in used if (hub_id := _hub_id(result.components[name]))]
    score = {"type": result.metric.name, "value": round(result.exported_row.score.value, 4)}
    entry = {
        "task": {"type": pipeline},
        "dataset": {"type": result.task, "name": result.task, "split": "test"},
        "metrics": [score],
    }
    return {
        "library_name": "transformers",
        "pipeline_tag": pipeline,
        "tags": ["manticore", "hybrid", "neural-architecture-search", *used],
        "metrics": [result.metric.name],
        **({"base_model": bases} if bases else {}),
        "model-index": [{"name": title(run), "results": [entry]}],
    }


def _used(run: Run) -> list[str]:
    """Names of the components that the exported model has parts of."""
    exported = run.result.exported
    parts = (run.architecture.base, *run.architecture.path) if exported == HYBRID else (exported,)
    return [name for name in run.architecture.components if name in parts]


def _hub_id(component: ComponentInfo) -> str | None:
    """The hub id of a pretrained component, or None."""
    on_hub = component.revision and re.fullmatch(r"[\w.-]+/[\w.-]+", component.source)
    return component.source if on_hub else None


def _loading(result: SearchResult) -> str:
    """Code that runs as it stands, in the exported folder."""
    return (
        f"{_fenced('python', code(result.kind, result.task, result.example))}\n\n"
        "`trust_remote_code=True` runs the modeling files in this folder, which need only torch and transformers. "
        "After `import manticore` (`pip install manticore-hybrids`) it can be left out."
    )


def _made_of(run: Run) -> str:
    """Components, path, topology, projectors, base."""
    lines, architecture, exported = [], run.architecture, run.result.exported
    for name, component in run.result.components.items():
        revision = f", revision `{component.revision}`" if component.revision else ""
        sizes = f"{component.layers} layers of width {component.width}, {count(component.parameters)} parameters"
        lines.append(f"- **{name}**: {component.source}{revision}; {sizes}")
    if exported != HYBRID:
        return "\n".join([*lines, "", f"The exported model is {exported} from its first layer to its last."])
    hub = not run.has_base
    lines += ["", "| stage | run by | |", "| --- | --- | --- |"]
    for stage, name in enumerate(architecture.path):
        how = "carries the stream" if run.carries_stream(stage) else "the stream passes untouched"
        if not run.carries_stream(stage) and name in architecture.components:
            how = "reads the stream through P, adds its update through Q"
        lines.append(f"| {stage + 1} | {name} | {run.layers(name, stage)}, {how} |")
    provided = "embedding and head" if hub else "embedding, residual stream, final norm and head"
    base = f"Base is **{architecture.base}**: it provides {provided}. "
    topology = f"Topology `{architecture.topology}`" + ("" if hub else f", projectors `{architecture.projector}`")
    return "\n".join([*lines, "", base + topology + "."])


def _story(run: Run) -> str:
    """What was done, and the recipe that does it again."""
    text = (
        f"With manticore {run.result.version}: the components were cut into {run.architecture.stages} stages, a "
        "differentiable search mixed them and moved the mixing weights, one path was kept and fine-tuned, and "
        "everything in the table was scored on the same examples."
    )
    if not run.recipe:
        return text
    return f"{text}\n\n`manticore search --config recipe.yaml` with this recipe does it again:\n\n" + _fenced(
        "yaml", run.recipe.rstrip()
    )


def _limits(result: SearchResult) -> str:
    """What the numbers do not say."""
    lines = [
        f"- One seed ({result.seed}): the margins are those of the test split's size and say nothing of how much "
        "another search or another initialisation would differ.",
        f"- Trained on {result.task} and scored on nothing else.",
    ]
    if "@" in result.task:
        lines.append("- This is not the official form of the task: the numbers do not compare with published ones.")
    if all("from scratch" in component.source for component in result.components.values()):
        lines.append("- All components started from random weights: this is no pretrained language model.")
    return "\n".join(lines)


def _fenced(language: str, text: str) -> str:
    """A code block whose fence the code cannot close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def plain_model_card(components: Sequence[Component], words: str, base: str, kind: str, note: str) -> str:
    """The card of a hybrid that no search has scored: what it is made of, how to load it, and a note.

    `kind` is that of its task, or `lm`.
    """
    made_of = "\n".join(
        f"- **{held.name}**: {held.source}" + (f" at revision `{held.revision}`" if held.revision else "")
        for held in components
    )
    usage = usage_of(kind)
    return (
        f"---\nlibrary_name: transformers\npipeline_tag: {usage.pipeline}\ntags: [manticore, hybrid]\n---\n\n"
        f"# A hybrid by hand\n\n{words}. Base is **{base}**: it lends embedding, residual stream, norm and head.\n\n"
        f"{made_of}\n\n{note}\n\n"
        f"```python\nfrom transformers import {usage.auto}, AutoTokenizer\n\n"
        f'model = {usage.auto}.from_pretrained(".", trust_remote_code=True)\n'
        'tokenizer = AutoTokenizer.from_pretrained(".", trust_remote_code=True)\n```\n\n'
        "Made with manticore (arXiv 2406.00894, Pretrained Hybrids with MAD Skills).\n"
    )
