"""A language model from nothing: learn a tokenizer, train on text, score what was held out, leave a model folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from manticore.components.families import families
from manticore.components.tokenizers import read_tokenizer
from manticore.config.pretrain import PretrainRecipe
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.experiment.run_dir import check_same_options
from manticore.experiment.seeding import seed_of
from manticore.nas.cost import parameters
from manticore.report.model_card import pretrain_card
from manticore.tasks.dataset import Example, Examples, pad_batch
from manticore.tasks.language.bpe import train_bpe
from manticore.tasks.language.chunking import boundary_tokens, chunk
from manticore.tasks.language.decontamination import drop_overlapping
from manticore.tasks.language.documents import passages, read_documents
from manticore.tasks.language.splitting import num_bytes
from manticore.training.batching import Batch, BatchSampler
from manticore.training.modules import LoopOptions, TrainModule
from manticore.training.scoring import score
from manticore.training.trainer import fit
from manticore.utils.console import info
from manticore.utils.io import atomic_dir, write_json, write_text

OPTIONS_FILE = "pretrain.json"
"""What was asked for; a pretraining is resumed with the same, or not at all."""

PretrainTexts = dict[str, list[str]]


def run(
    recipe: PretrainRecipe,
    text: Path,
    tokenizer: Path | None,
    out: Path,
    resume: bool,
    console: Console,
    decontaminate: Path | None = None,
) -> Path:
    """Train, and leave a Hugging Face folder in `out/model`.

    Args:
        recipe: what to train, and how.
        text: file or folder of documents.
        tokenizer: folder of a tokenizer; default: learn one from the text.
        out: the folder; must be empty unless `resume`.
        decontaminate: text to be evaluated on later: paragraphs that share 13 words in a row with it are
            left out of training.

    Raises ManticoreError if something cannot be read, or `out` is taken.
    """
    asked = {
        "recipe": asdict(recipe),
        "text": str(text.resolve()),
        "tokenizer": str(tokenizer or ""),
        "decontaminate": str(decontaminate or ""),
    }
    check_same_options(out / OPTIONS_FILE, asked, resume, "pretraining")
    if (out / "model").exists():
        info(console, f"{out} is complete; nothing to do.")
        return out / "model"
    machine = setup_hardware(recipe.run)
    documents = read_documents(text.expanduser())
    if decontaminate is not None:
        others = _all(read_documents(decontaminate.expanduser()))
        documents = {name: drop_overlapping(held, others) for name, held in documents.items()}
    cut = {
        name: [part for whole in held for part in passages(whole, recipe.passage)] for name, held in documents.items()
    }
    learnt, held = hold_out(cut, recipe.held_out)
    words = load_tokenizer(tokenizer) if tokenizer else _train_tokenizer(learnt, recipe, out)
    seen = chunk(_all(learnt), words, recipe.length)
    info(
        console,
        f"text: {_summary(learnt)}; held out: {_summary(held)}; {len(seen.flat):,} tokens of {len(words):,} kinds",
    )
    torch.manual_seed(seed_of(recipe.run.seed, "pretrain"))
    model = _build_model(recipe, words)
    per_step = recipe.batch_size * recipe.length
    info(
        console,
        f"model: {recipe.family}, {parameters(model):,} parameters; "
        f"{recipe.steps:,} steps of up to {per_step:,} tokens, {recipe.steps * per_step / len(seen.flat):.2f} epochs",
    )
    write_json(out / OPTIONS_FILE, asked)
    loop = LoopOptions(recipe.run.micro_batch_size, log_every=recipe.run.log_every, length=recipe.length)
    module = TrainModule(model, recipe.weights, recipe.steps, loop)
    stream = BatchSampler(seen, recipe.batch_size, seed_of(recipe.run.seed, "pretrain", "stream"), collate)
    (out / "checkpoints").mkdir(parents=True, exist_ok=True)
    fit(module, {"weights": stream}, "pretrain", out / "checkpoints", machine, console)
    model.half().float()  # scored as it is going to be kept
    rows = held_out_bits(model, {name: chunk(texts, words, recipe.length) for name, texts in held.items()}, recipe)
    for name, bits in rows.items():
        info(console, f"  held out of {name}: {bits:.3f} bits per byte")
    card = pretrain_card(recipe, parameters(model), module.tokens, rows)
    place = _write_model(model, words, recipe, card, out / "model")
    (out / "checkpoints" / "pretrain.ckpt").unlink(missing_ok=True)
    info(console, str(place))
    return place


def hold_out(texts: PretrainTexts, share: float) -> tuple[PretrainTexts, PretrainTexts]:
    """What is learnt from, and the last `share` of every file, by bytes and at least a document.

    Raises ManticoreError if a file has but one document.
    """
    learnt, held = {}, {}
    for name, documents in texts.items():
        if len(documents) < 2:
            raise ManticoreError(
                f"{name} is a single document, of which no part can be held out; set a smaller passage"
            )
        goal, reached, first = share * num_bytes(documents), 0, len(documents)
        while first > 1 and reached < goal:
            first -= 1
            reached += num_bytes(documents[first : first + 1])
        learnt[name], held[name] = documents[:first], documents[first:]
    return learnt, held


def held_out_bits(model: PreTrainedModel, held: dict[str, Examples], recipe: PretrainRecipe) -> dict[str, float]:
    """Bits per byte of what was held out of each file, and of `all` together."""
    bits = {}
    for name, examples in held.items():
        told = score(model, examples, collate, recipe.run.eval_batch_size).bits_per_byte
        assert told is not None
        bits[name] = told
    sizes = {
        name: 0 if examples.num_bytes is None else int(examples.num_bytes.sum()) for name, examples in held.items()
    }
    return {**bits, "all": sum(bits[name] * sizes[name] for name in bits) / sum(sizes.values())}


def collate(batch: Sequence[Example]) -> Batch:
    """One batch of chunks; what fills the rows is masked, whatever token it is."""
    return pad_batch(batch, 0, per_token=True)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder. Raises ManticoreError."""
    words = read_tokenizer(str(folder), {"local_files_only": True})
    if words is None:
        raise ManticoreError(f"{folder} holds no tokenizer that can be read")
    boundary_tokens(words)
    return words


def _train_tokenizer(learnt: PretrainTexts, recipe: PretrainRecipe, out: Path) -> PreTrainedTokenizerBase:
    """The tokenizer learnt from the text, now or before the pretraining was stopped."""
    kept = out / "checkpoints" / "tokenizer"
    if not (kept / "tokenizer.json").exists():
        train_bpe(_all(learnt), recipe.vocabulary, recipe.length).save_pretrained(kept)
    return load_tokenizer(kept)


def _build_model(recipe: PretrainRecipe, words: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model before its first step."""
    family = families[recipe.family]
    config = family.scratch(family.model_types[0], recipe.size, len(words), recipe.length)
    config.bos_token_id, config.eos_token_id = boundary_tokens(words)
    config.pad_token_id = words.pad_token_id
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def _write_model(
    model: PreTrainedModel, words: PreTrainedTokenizerBase, recipe: PretrainRecipe, card: str, out: Path
) -> Path:
    """The model folder, whole or not at all."""
    with atomic_dir(out) as part:
        model.half().save_pretrained(part)
        words.save_pretrained(part)
        recipe.save(part / "pretrain.yaml")
        write_text(part / "README.md", card)
    return out


def _all(texts: PretrainTexts) -> list[str]:
    return [text for documents in texts.values() for text in documents]


def _summary(texts: PretrainTexts) -> str:
    documents = _all(texts)
    return f"{len(documents):,} documents, {sum(map(len, documents)) / 1e6:.1f} M characters"
