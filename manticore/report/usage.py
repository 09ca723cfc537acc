"""How an exported model is loaded and used: its class, the hub's name for what it does, and code. Loads nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass

EXAMPLES = {"lra-listops": "[MAX 4 3 [MIN 2 3 ] 1 0 ]"}

_ONE_LABEL = "print(model.config.id2label[model(**inputs).logits.argmax(-1).item()])"
_LABELS = "print(*(model.config.id2label[label] for label in model(**inputs).logits.argmax(-1)[0].tolist()))"


@dataclass(frozen=True)
class Usage:
    """What is done with a model of some kind.

    Attributes:
        auto: transformers' class that loads it.
        pipeline: what the hub calls what it does.
        line: what prints its answer to `inputs`.
    """

    auto: str
    pipeline: str
    line: str


USAGES = {
    "lm": Usage(
        "AutoModelForCausalLM",
        "text-generation",
        "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))",
    ),
    "classification": Usage("AutoModelForSequenceClassification", "text-classification", _ONE_LABEL),
    "pair": Usage("AutoModelForSequenceClassification", "text-classification", _ONE_LABEL),
    "tokens": Usage("AutoModelForTokenClassification", "token-classification", _LABELS),
    "autoencoder": Usage("AutoModelForTokenClassification", "token-classification", _LABELS),
}
"""By the kind of task, or `lm`."""


def usage_of(kind: str | None) -> Usage:
    """The usage of a kind; runs that do not name theirs are of classification."""
    return USAGES.get(kind or "", USAGES["classification"])


def code(kind: str | None, task: str, example: str | None = None) -> str:
    """Python that runs as it stands, in the exported folder.

    Args:
        kind: of the task, or `lm`.
        task: its name.
        example: an input as text. Default: one that is known of the task, or some words.
    """
    usage = usage_of(kind)
    given = EXAMPLES.get(task.partition("@")[0], example or ("Once upon a time" if kind == "lm" else _WORDS))
    text = f"[{json.dumps(given)}, {json.dumps(_OTHER_WORDS)}], padding=True" if kind == "pair" else json.dumps(given)
    text += "" if kind == "lm" else ", truncation=True"
    pairs = "  # of more pairs: first all first texts, then all second ones" if kind == "pair" else ""
    return (
        f"from transformers import {usage.auto}, AutoTokenizer\n\n"
        'folder = "."  # where this card is\n'
        "tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)\n"
        f"model = {usage.auto}.from_pretrained(folder, trust_remote_code=True).eval()\n"
        f'inputs = tokenizer({text}, return_tensors="pt"){pairs}\n{usage.line}'
    )


_WORDS = "an input of the task"
_OTHER_WORDS = "another one, to be compared with it"
