"""The description of a task without its data, and its text for `manticore show`. Nothing is read or generated."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from manticore.tasks.options import format_setting

WIDTH = 100

LABELS = {
    "classification": "each sequence has one label, one of {}",
    "pair": "each pair of sequences, read separately, has one label, one of {}",
    "tokens": "each token has a label, one of the vocabulary, or none; it is predicted at the token's position",
    "autoencoder": "each token has a label, one of the vocabulary, or none; all are decoded from the last hidden state",
    "lm": "each token's label is the next token; the vocabulary is that of the base component's tokenizer",
}
"""What a label is, by the kind of task."""

METRICS = {
    "accuracy": ": share of the labels that are predicted correctly",
    "bits_per_byte": ": bits needed to encode a byte of text, ends of documents included; lower is better",
}
"""What is measured, by the name of the metric."""

SPLITS = {
    "train": "train (halved into train and train_arch)",
    "val": "val (models are selected on it)",
    "test": "test",
}
"""Use of each split."""


@dataclass(frozen=True)
class TaskInfo:
    """The description of a task under one preset.

    Attributes:
        kind, metric, label_names, settings: see `Task`.
        vocabulary: number of tokens; None if it depends on the training examples.
        max_length: largest number of tokens of a sequence.
        sizes: examples of train, val and test, where they are known.
        origin: source of the examples without files; empty if the task needs files.
        files: required content of `--data-dir`, and its publisher.
        setting_help: meaning of each setting.
        sweep: values of each setting that the benchmark tries.
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
    setting_help: Mapping[str, str] = field(default_factory=dict)
    sweep: Mapping[str, Sequence[object]] = field(default_factory=dict)


def render(infos: Mapping[str, TaskInfo]) -> str:
    """The text on one task, from its descriptions by preset."""
    sections = [_labels(next(iter(infos.values()))), _numbers(infos), _settings(infos), _data(infos)]
    return "\n\n".join(filter(None, sections))


def _labels(info: TaskInfo) -> str:
    """The meaning of a label, and the metric."""
    classes = f"{len(info.label_names)} classes ({', '.join(info.label_names)})"
    labels = LABELS.get(info.kind, "labels are {}").format(classes)
    return f"{_wrap(f'kind {info.kind}: {labels}')}\nmetric {info.metric}{METRICS.get(info.metric, '')}"


def _numbers(infos: Mapping[str, TaskInfo]) -> str:
    """Sizes, lengths and vocabulary under each preset."""
    presets = list(infos.values())
    length = "tokens of each sequence" if presets[0].kind == "pair" else "tokens of a sequence"
    rows: dict[str, list[int | None]] = {
        **{label: [info.sizes.get(split) for info in presets] for split, label in SPLITS.items()},
        f"{length}, at most": [info.max_length for info in presets],
        "vocabulary": [info.vocabulary for info in presets],
    }
    known = {label: [f"{number:,}" if number else "-" for number in row] for label, row in rows.items() if any(row)}
    return "\n".join(_table({"preset": list(infos), **known}))


def _settings(infos: Mapping[str, TaskInfo]) -> str:
    """Each setting: its value under each preset, its meaning, and the values that the benchmark tries."""
    info, *_ = infos.values()
    if not info.settings:
        return ""
    rows = {f"  {key}": [format_setting(each.settings.get(key)) for each in infos.values()] for key in info.settings}
    head, *lines = _table({"settings, after @": list(infos), **rows})
    return "\n".join([head, *(line + _notes(info, key) for line, key in zip(lines, info.settings, strict=True))])


def _notes(info: TaskInfo, key: str) -> str:
    """The meaning of a setting and the values that the benchmark tries, a line each."""
    sweep = ", ".join(map(format_setting, info.sweep.get(key, ())))
    notes = [info.setting_help.get(key, "").removesuffix("."), f"the benchmark also tries {sweep}" if sweep else ""]
    return "".join(f"\n      {note}" for note in notes if note)


def _data(infos: Mapping[str, TaskInfo]) -> str:
    """Where the examples come from, in one line if all presets agree, and which files are read."""
    lines = {f"data, {preset}": info.origin for preset, info in infos.items()}
    if len(set(lines.values())) == 1:
        lines = {"data": next(iter(lines.values())) or "only in files"}
    files = next(iter(infos.values())).files
    if files:
        lines["--data-dir"] = files
    return "\n".join(_wrap(f"{key}: {text}") for key, text in lines.items())


def _table(rows: Mapping[str, Sequence[str]]) -> list[str]:
    """Lines with names at the left and aligned values at the right."""
    name_width = max(map(len, rows))
    widths = [max(map(len, column)) for column in zip(*rows.values(), strict=True)]
    return [
        "  ".join([f"{name:{name_width}}", *(f"{value:>{width}}" for value, width in zip(values, widths, strict=True))])
        for name, values in rows.items()
    ]


def _wrap(text: str) -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
