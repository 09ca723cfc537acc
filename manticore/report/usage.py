"""How an exported model is loaded and used: its Auto class, its task on the Hub, and example code."""

from __future__ import annotations

import json
from dataclasses import dataclass

EXAMPLES = {"lra-listops": "[MAX 4 3 [MIN 2 3 ] 1 0 ]"}
PROMPT, INPUT, SECOND_INPUT = "Once upon a time", "an input of the task", "a second input, compared with the first"

ONE_LABEL = "print(model.config.id2label[model(**inputs).logits.argmax(-1).item()])"
TOKEN_LABELS = "print(*(model.config.id2label[label] for label in model(**inputs).logits.argmax(-1)[0].tolist()))"


@dataclass(frozen=True)
class Usage:
    """How models with one type of head are used.

    Attributes:
        kind: type of the head; `lm` for a language model.
        auto: class of transformers that loads the model.
        pipeline: task of the model on the Hub.
        output: code that prints the output for `inputs`.
    """

    kind: str
    auto: str
    pipeline: str
    output: str

    def code(self, task: str, example: str | None = None) -> str:
        """Python code that runs in the exported folder.

        Args:
            task: name of the task.
            example: an input as text. Default: a known example of the task, or a placeholder.
        """
        default = PROMPT if self.kind == "lm" else INPUT
        text = json.dumps(EXAMPLES.get(task.partition("@")[0], example or default))
        comment = ""
        if self.kind == "pair":
            text = f"[{text}, {json.dumps(SECOND_INPUT)}], padding=True"
            comment = "  # a batch of pairs: all first texts, then all second texts"
        truncation = "" if self.kind == "lm" else ", truncation=True"
        return (
            f"from transformers import {self.auto}, AutoTokenizer\n\n"
            'folder = "."  # the folder of this card\n'
            "tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)\n"
            f"model = {self.auto}.from_pretrained(folder, trust_remote_code=True).eval()\n"
            f'inputs = tokenizer({text}{truncation}, return_tensors="pt"){comment}\n{self.output}'
        )


_GENERATE = "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=20)[0]))"
_SEQUENCE = ("AutoModelForSequenceClassification", "text-classification", ONE_LABEL)
_TOKENS = ("AutoModelForTokenClassification", "token-classification", TOKEN_LABELS)

USAGES = {
    usage.kind: usage
    for usage in (
        Usage("lm", "AutoModelForCausalLM", "text-generation", _GENERATE),
        Usage("classification", *_SEQUENCE),
        Usage("pair", *_SEQUENCE),
        Usage("tokens", *_TOKENS),
        Usage("autoencoder", *_TOKENS),
    )
}
"""By type of head."""


def usage_of(kind: str) -> Usage:
    """The usage of a head type; a type that a user registers classifies tokens if it has `per_token`."""
    if kind in USAGES:
        return USAGES[kind]
    from manticore.modeling.heads import HEADS  # here, so that reports of built-in types need no torch

    return USAGES["tokens" if kind in HEADS and HEADS[kind].per_token else "classification"]
