"""From a trained hybrid to a folder anyone can load: weights, code, tokenizer, card. Written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from manticore.components import Component
from manticore.errors import ManticoreError
from manticore.files import whole_folder, write_text
from manticore.report.usage import usage_of
from manticore.runs.carrying import carry_projector


def export(hybrid: PreTrainedModel, words: PreTrainedTokenizerBase | None, out: Path, card: str) -> Path:
    """Write `hybrid` as a Hugging Face checkpoint.

    Args:
        hybrid: the discrete hybrid.
        words: the tokenizer, if there is one.
        out: the folder; must not exist.
        card: text of its README.md.

    Raises ManticoreError if `out` exists.
    """
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    with whole_folder(out) as part:
        hybrid.save_pretrained(part)
        carry_projector(part / "projectors.py", hybrid.config.projector["kind"])
        if words is not None:
            words.save_pretrained(part)
        write_text(part / "README.md", card)
    return out


def plain_card(components: Sequence[Component], words: str, home: str, kind: str, note: str) -> str:
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
        f"# A hybrid by hand\n\n{words}. Home is **{home}**: it lends embedding, residual stream, norm and head.\n\n"
        f"{made_of}\n\n{note}\n\n"
        f"```python\nfrom transformers import {usage.auto}, AutoTokenizer\n\n"
        f'model = {usage.auto}.from_pretrained(".", trust_remote_code=True)\n'
        'tokenizer = AutoTokenizer.from_pretrained(".", trust_remote_code=True)\n```\n\n'
        "Made with manticore (arXiv 2406.00894, Pretrained Hybrids with MAD Skills).\n"
    )
