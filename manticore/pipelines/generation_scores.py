"""`manticore evaluate --generation`: copying and recall by a hybrid and by its parents, from what they generate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from transformers import AutoConfig, GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from manticore.components.context_length import declared_context_lengths
from manticore.config.commands import EvaluateCommand
from manticore.config.loading import with_overrides
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.export.load import hybrid_folder, is_hybrid, load_language_model
from manticore.kernels import installed
from manticore.report.card_sections import put_section, update_card
from manticore.report.table import Row, Table
from manticore.tasks.data_files import read_text
from manticore.tasks.language.probes import ANSWER, KINDS, Probe, make_probe, text_ids
from manticore.tasks.language.text import SAMPLE
from manticore.utils.console import info
from manticore.utils.formatting import DASH, percent
from manticore.utils.io import write_json

LARGEST_BATCH = 16
SECTION = "Generation"


@dataclass(frozen=True)
class GenerationScore:
    """How much of its context a model reproduces.

    Attributes:
        model: its name in the table.
        kind: a `ProbeKind`.
        length: tokens of the prompts.
        exact: share of prompts whose whole answer is right.
        tokens: share of right tokens.
        count: number of prompts.
    """

    model: str
    kind: str
    length: int
    exact: float
    tokens: float
    count: int


def run(options: EvaluateCommand, console: Console) -> list[GenerationScore]:
    """Score a model and, of a hybrid, its parents; print a table, and write it to the card and to `options.json`.

    The parents are the pretrained components as they were before the search. Lengths that do not fit into the context
    of a model are left out for it, with a line.

    Raises ManticoreError if the model is no language model, has no tokenizer, or has too few positions for all lengths.
    """
    options = with_overrides(options)
    hardware = setup_hardware(options.run)
    hybrid = _is_folder_of_hybrid(options.model)
    model, tokenizer = load_language_model(options.model, options.trust_code)
    name = "hybrid" if hybrid else options.model
    if not (lengths := _lengths(name, model, options.lengths, console)):
        raise ManticoreError(f"--lengths: a prompt and an answer of {ANSWER} tokens do not fit into {options.model}")
    scores = [*_scores(name, model, tokenizer, lengths, options, hardware.accelerator)]
    for name, source in parents_of(options.model):
        try:
            model, tokenizer = load_language_model(source)
        except ManticoreError as error:
            info(console, f"parent {name} is left out: {error}")
            continue
        lengths = _lengths(name, model, options.lengths, console)
        scores += _scores(name, model, tokenizer, lengths, options, hardware.accelerator)
    table = score_table(scores)
    console.print(table.rich())
    if options.json is not None:
        write_json(options.json, [asdict(score) for score in scores])
    if hybrid:
        folder = hybrid_folder(Path(options.model).expanduser())
        note = (
            f"Share of {options.examples} prompts of which the model writes the whole answer: {ANSWER} tokens, and of "
            "pairs one."
        )
        body = f"{note} Parents are as they were before the search.\n\n{table.markdown()}"
        if update_card(folder, lambda card: put_section(card, SECTION, body)):
            info(console, f"added to the card {folder / 'README.md'}")
    return scores


def _is_folder_of_hybrid(source: str) -> bool:
    return is_hybrid(Path(source).expanduser())


def parents_of(source: str) -> Iterator[tuple[str, str]]:
    """Name and source of each pretrained component of a hybrid; none for another model."""
    if not _is_folder_of_hybrid(source):
        return
    config: Any = AutoConfig.from_pretrained(hybrid_folder(Path(source).expanduser()), trust_remote_code=False)
    for name, component in config.components.items():
        if component.get("pretrained") and component.get("source"):
            yield name, str(component["source"])


def _lengths(name: str, model: PreTrainedModel, lengths: Sequence[int], console: Console) -> list[int]:
    """The lengths of prompts that fit with their answers into the context of a model; a line names the others."""
    limit = min(declared_context_lengths(model.config).values(), default=None)
    fitting = [length for length in lengths if limit is None or length + ANSWER <= limit]
    if fitting != list(lengths):
        left_out = ", ".join(f"{length:,}" for length in lengths if length not in fitting)
        info(console, f"{name} reads at most {limit:,} tokens: prompts of {left_out} are left out")
    return fitting


def _scores(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lengths: Sequence[int],
    options: EvaluateCommand,
    device: str,
) -> Iterator[GenerationScore]:
    """The scores of one model, by kind and length."""
    ids = text_ids(tokenizer, read_text(SAMPLE))
    model.to(torch.device(device))
    for kind in KINDS:
        for length in lengths:
            probe = make_probe(kind, ids, length, options.examples, options.run.seed)
            right_NA = generated(model, probe, options.run.eval_batch_size) == probe.answers_NA
            exact, tokens = float(right_NA.all(-1).mean()), float(right_NA.mean())
            yield GenerationScore(name, kind, length, exact, tokens, len(right_NA))


def generated(model: Any, probe: Probe, batch_size: int) -> np.ndarray[Any, Any]:
    """The most likely tokens that the model writes after each prompt, as many as the answer has, (N, A)."""
    size, tokens = min(batch_size, LARGEST_BATCH), probe.answers_NA.shape[1]
    config = GenerationConfig(
        max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, pad_token_id=0, use_cache=True
    )
    parts = []
    for start in range(0, len(probe.prompts_NL), size):
        ids_BL = torch.from_numpy(probe.prompts_NL[start : start + size]).to(model.device)
        with torch.no_grad(), installed():
            out_BL = model.generate(input_ids=ids_BL, attention_mask=torch.ones_like(ids_BL), generation_config=config)
        parts.append(out_BL[:, ids_BL.shape[1] :].cpu().numpy())
    return np.concatenate(parts)


def score_table(scores: Sequence[GenerationScore]) -> Table:
    """A row for each kind and model, a column for each length; the best model of a length is marked."""
    lengths = sorted({score.length for score in scores})
    by_cell = {(score.kind, score.model, score.length): score.exact for score in scores}
    models = list(dict.fromkeys(score.model for score in scores))
    rows = []
    for kind in KINDS:
        best = {length: max(by_cell.get((kind, model, length), 0.0) for model in models) for length in lengths}
        for model in models:
            cells = [by_cell.get((kind, model, length)) for length in lengths]
            marked = [
                index + 1
                for index, (cell, length) in enumerate(zip(cells, lengths, strict=True))
                if cell and cell == best[length] and len(models) > 1
            ]
            texts = (DASH if cell is None else percent(cell) for cell in cells)
            rows.append(Row((f"{kind}, {model}", *texts), group=kind, best=tuple(marked)))
    return Table(("exact match", *(f"{length:,}" for length in lengths)), tuple(rows))
