"""What is known of a task before its data is there, and how it is told. Reads nothing, draws nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

WIDTH = 100

LABELS = {
    "classification": "a sequence has one label, one of {}",
    "pair": "two sequences, read apart, have one label together, one of {}",
    "tokens": "a token has a label, one of the vocabulary, or none; labels are told where their tokens stand",
    "autoencoder": "a token has a label, one of the vocabulary, or none; all are told from the last token's state",
    "lm": "a token's label is the token that comes next; the vocabulary is that of the base component's tokenizer",
}
"""What a label is, by the kind of task."""

METRICS = {
    "accuracy": ": share of the labels that are told right",
    "bits_per_byte": ": what it takes to tell a byte of text, the ends of documents included; less is better",
}
"""What is scored, by the metric's name."""

PARTS = {"train": "train (halved into weights and alphas)", "val": "val (models are chosen on it)", "test": "test"}
"""What the examples of each part are for."""


@dataclass(frozen=True)
class TaskInfo:
    """A task under one preset.

    Attributes:
        kind, metric, label_names, settings: see `Task`.
        vocabulary: number of tokens; None where the training examples decide it.
        max_length: most tokens of a sequence.
        sizes: examples of train, val and test, where they are known.
        origin: where examples come from without files; empty if from nowhere.
        files: what `--data-dir` must hold, and who has it.
        helps: what each setting means.
        sweep: by setting, the values that the benchmark tries one at a time.
    """

    kind: str
    metric: str
    label_names: Sequence[str]
    settings: Mapping[str, object]
    vocabulary: int | None
    max_length: int
    sizes: Mapping[str, int]
    origin: str
    files: str = ""
    helps: Mapping[str, str] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[object]] = field(default_factory=dict)


def render(sheets: Mapping[str, TaskInfo]) -> str:
    """The sheets of one task under several presets, as one page for humans."""
    blocks = [_labels(next(iter(sheets.values()))), _numbers(sheets), _settings(sheets), _data(sheets)]
    return "\n\n".join(filter(None, blocks))


def _labels(sheet: TaskInfo) -> str:
    """What a label is and what is scored."""
    classes = f"{len(sheet.label_names)} classes ({', '.join(sheet.label_names)})"
    what = LABELS.get(sheet.kind, "labels are {}").format(classes)
    scored = METRICS.get(sheet.metric, "")
    return f"{_wrapped(f'kind {sheet.kind}: {what}')}\nmetric {sheet.metric}{scored}"


def _numbers(sheets: Mapping[str, TaskInfo]) -> str:
    """Sizes, lengths and vocabulary under each preset."""
    told = list(sheets.values())
    longest = "tokens of each sequence" if told[0].kind == "pair" else "tokens of a sequence"
    rows: dict[str, list[int | None]] = {
        **{words: [sheet.sizes.get(part) for sheet in told] for part, words in PARTS.items()},
        f"{longest}, at most": [sheet.max_length for sheet in told],
        "vocabulary": [sheet.vocabulary for sheet in told],
    }
    known = {words: [f"{number:,}" if number else "-" for number in row] for words, row in rows.items() if any(row)}
    return "\n".join(_table({"preset": list(sheets), **known}))


def _settings(sheets: Mapping[str, TaskInfo]) -> str:
    """What can follow `@`: its value under each preset, its meaning, and what the benchmark tries."""
    sheet, *_ = sheets.values()
    if not sheet.settings:
        return ""
    rows = {f"  {key}": [written(held.settings.get(key)) for held in sheets.values()] for key in sheet.settings}
    head, *lines = _table({"settings, after @": list(sheets), **rows})
    return "\n".join([head, *(line + _note(sheet, key) for line, key in zip(lines, sheet.settings, strict=True))])


def _note(sheet: TaskInfo, key: str) -> str:
    """What a setting means, and the values the benchmark tries, a line each."""
    tried = ", ".join(map(written, sheet.sweep.get(key, ())))
    notes = [sheet.helps.get(key, ""), f"the benchmark also tries {tried}" if tried else ""]
    return "".join(f"\n      {note}" for note in notes if note)


def _data(sheets: Mapping[str, TaskInfo]) -> str:
    """Where the examples come from, once if it is the same under every preset, and what files may hold them."""
    origins = {f"data, {preset}": sheet.origin for preset, sheet in sheets.items()}
    if len(set(origins.values())) == 1:
        origins = {"data": next(iter(origins.values())) or "only in files"}
    files = next(iter(sheets.values())).files
    told = origins | ({"--data-dir": files} if files else {})
    return "\n".join(_wrapped(f"{key}: {text}") for key, text in told.items())


def _table(rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines of names, to the left, and values, to the right."""
    wide = max(map(len, rows))
    widths = [max(map(len, column)) for column in zip(*rows.values(), strict=True)]
    return [
        "  ".join([f"{name:{wide}}", *(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))])
        for name, values in rows.items()
    ]


def written(value: object) -> str:
    """A setting's value as a user writes it after `@`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
