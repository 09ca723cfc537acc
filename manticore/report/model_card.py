"""The card of an exported model: the README.md of its Hugging Face folder. Knows nothing of how it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from manticore.components import Component
from manticore.report.run.reading import Run, read_run
from manticore.report.run.summary import sentences
from manticore.report.run.table import as_markdown
from manticore.report.usage import code, usage_of
from manticore.utils.formatting import count

CITATION = """@article{roberts2024pretrained,
  author  = {Roberts, Nicholas and Guo, Samuel and Gao, Zhiqi and Satya Sai Srinath Namburi GNVV and Cromp, Sonia
             and Wu, Chengjun and Duan, Chengyu and Sala, Frederic},
  title   = {Pretrained Hybrids with MAD Skills},
  journal = {arXiv preprint arXiv:2406.00894},
  year    = {2024},
  url     = {https://arxiv.org/abs/2406.00894}
}"""


def model_card(folder: Path | str, metrics: Mapping[str, Any] | None = None) -> str:
    """The card of what a run exported.

    Args:
        folder: the run folder.
        metrics: what is going to be its metrics.json, for a run that is just finishing. Default: read the file.

    Raises:
        ManticoreError: `folder` is not a run's.
        BadFile: one of its files is not what it should be.
    """
    run = read_run(folder, metrics)
    blocks = (
        f"---\n{yaml.safe_dump(front_matter(run), sort_keys=False, allow_unicode=True)}---",
        f"# {title(run)}",
        "\n".join(sentences(run)),
        "## How to load it",
        _loading(run),
        "## What it is made of",
        _made_of(run),
        "## Results",
        as_markdown(run.metrics["rows"]).rstrip(),
        "All rows are scored on the same test split, which was read once; margins are 95% intervals.",
        "## How it was made",
        _story(run),
        "## Limits",
        _limits(run),
        "## Citation",
        _fenced("bibtex", CITATION),
    )
    return "\n\n".join(blocks) + "\n"


def title(run: Run) -> str:
    """What the model is called."""
    used = [name for name in run.architecture.components if name in _parts(run)]
    if len(used) > 1:
        return f"A hybrid of {' and '.join(used)}, trained on {run.task}"
    return f"{used[0]}, trained on {run.task} in a search for hybrids"


def front_matter(run: Run) -> dict[str, Any]:
    """What the hub reads: library, tags, metrics, and the result as a model index."""
    lm = run.metrics.get("kind") == "lm"
    pipeline = usage_of(run.metrics.get("kind")).pipeline
    used = [name for name in run.architecture.components if name in _parts(run)]
    held = run.metrics.get("components") or {}
    bases = [source for name in used if (source := _hub_id(held.get(name, {})))]
    metric, row = str(run.metrics.get("metric", "loss" if lm else "accuracy")), run.exported_row
    value = None if row is None else row.value
    out: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": pipeline,
        "tags": ["manticore", "hybrid", "neural-architecture-search", *used],
        "metrics": [metric],
    }
    if bases:
        out["base_model"] = bases
    if value is not None:
        result = {
            "task": {"type": pipeline},
            "dataset": {"type": run.task, "name": run.task, "split": "test"},
            "metrics": [{"type": metric, "value": round(value, 4)}],
        }
        out["model-index"] = [{"name": title(run), "results": [result]}]
    return out


def _parts(run: Run) -> tuple[str, ...]:
    """Names of what the exported model is made of."""
    exported = run.metrics.get("exported", "hybrid")
    return (run.architecture.base, *run.architecture.path) if exported == "hybrid" else (exported,)


def _hub_id(facts: Mapping[str, Any]) -> str | None:
    """The hub id of a pretrained component, or None."""
    source = str(facts.get("source", ""))
    return source if facts.get("revision") and re.fullmatch(r"[\w.-]+/[\w.-]+", source) else None


def _loading(run: Run) -> str:
    """Code that runs as it stands, in the exported folder."""
    example = run.metrics.get("example")
    told = code(run.metrics.get("kind"), run.task, None if example is None else str(example))
    return (
        f"{_fenced('python', told)}\n\n`trust_remote_code=True` runs the modeling files in this folder, which need "
        "only torch and transformers. After `import manticore` (`pip install manticore-hybrids`) it can be left out."
    )


def _made_of(run: Run) -> str:
    """Components, path, topology, projectors, base."""
    held, lines = run.metrics.get("components") or {}, []
    for name, facts in held.items():
        revision = f", revision `{facts['revision']}`" if facts.get("revision") else ""
        sizes = (
            f"{facts.get('layers')} layers of width {facts.get('width')}, {count(facts.get('parameters'))} parameters"
        )
        lines.append(f"- **{name}**: {facts.get('source')}{revision}; {sizes}")
    exported = run.metrics.get("exported", "hybrid")
    if exported != "hybrid":
        return "\n".join([*lines, "", f"The exported model is {exported} from its first layer to its last."])
    hub = run.architecture.topology == "hub"
    lines += ["", "| stage | run by | |", "| --- | --- | --- |"]
    for stage, name in enumerate(run.architecture.path):
        how = "carries the stream" if run.carries_stream(stage) else "the stream passes untouched"
        if not run.carries_stream(stage) and name in run.architecture.components:
            how = "reads the stream through P, adds its update through Q"
        lines.append(f"| {stage + 1} | {name} | {', '.join(filter(None, (run.layers(name, stage), how)))} |")
    lent = "embedding and head" if hub else "embedding, residual stream, final norm and head"
    ends = f"Base is **{run.architecture.base}**: it lends {lent}. "
    joined = f"Topology `{run.architecture.topology}`" + ("" if hub else f", projectors `{run.architecture.projector}`")
    return "\n".join([*lines, "", ends + joined + "."])


def _story(run: Run) -> str:
    """What was done, and the recipe that does it again."""
    version = run.metrics.get("manticore")
    told = (
        f"With manticore{f' {version}' if version else ''}: the components were cut into {run.architecture.stages} "
        "stages, a differentiable search mixed them and moved the mixing weights, one path was kept and fine-tuned, "
        "and everything in the table was scored on the same examples."
    )
    if not run.recipe:
        return told
    return f"{told}\n\n`manticore search --config recipe.yaml` with this recipe does it again:\n\n" + _fenced(
        "yaml", run.recipe.rstrip()
    )


def _limits(run: Run) -> str:
    """What the numbers do not say."""
    seed = run.metrics.get("seed")
    lines = [
        f"- One seed{f' ({seed})' if seed is not None else ''}: the margins are those of the test split's size and say "
        "nothing of how much another search or another initialisation would differ.",
        f"- Trained on {run.task} and scored on nothing else.",
    ]
    if "@" in run.task:
        lines.append("- This is not the official form of the task: the numbers do not compare with published ones.")
    if all("from scratch" in str(facts.get("source", "")) for facts in (run.metrics.get("components") or {}).values()):
        lines.append("- The components were drawn from scratch: this is no pretrained language model.")
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
