"""`manticore pretrain`: train a small language model from scratch, to be a component of hybrids later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from manticore.adapters.attach import attach, merged
from manticore.components.families import families
from manticore.components.loading import load
from manticore.components.spec import ComponentSpec
from manticore.config.commands import PretrainCommand
from manticore.config.loading import from_dotted, read_yaml
from manticore.config.pretrain import PretrainRecipe, pretrain_recipe
from manticore.experiment.adapters import describe
from manticore.experiment.estimate import print_training_estimate
from manticore.experiment.processes import run_together
from manticore.experiment.run_dir import check_same_options
from manticore.experiment.run_lock import RunLock
from manticore.experiment.seeding import seed_of
from manticore.nas.cost import parameters
from manticore.report.model_card import pretrain_card
from manticore.results.training import PretrainScores
from manticore.tasks.dataset import Batch, Example, Examples, pad_batch
from manticore.tasks.language.chunking import boundary_tokens, chunk
from manticore.tasks.language.pretraining import PretrainingText, all_documents, load_tokenizer, train_tokenizer
from manticore.training.batching import BatchSampler
from manticore.training.modules import TrainModule
from manticore.training.options import LoopOptions
from manticore.training.run_loggers import RunLoggers, check_loggers
from manticore.training.shared_scoring import score_together
from manticore.training.trainer import Hardware, fit
from manticore.utils import assets
from manticore.utils.console import info
from manticore.utils.io import atomic_dir, remove_leftover, write_json, write_text

OPTIONS_FILE = "pretrain.json"
"""Options of the run; a pretraining can be resumed with the same options only."""


@dataclass(frozen=True)
class PretrainResult:
    """A pretrained model.

    Attributes:
        folder: Hugging Face folder of the model, which `models` of a search takes.
        scores: on the text that was left out of its training.
    """

    folder: Path
    scores: PretrainScores

    @property
    def model(self) -> PreTrainedModel:
        """The model, in float32 and in evaluation mode."""
        return load(ComponentSpec(str(self.folder), init="pretrained")).model


def run_command(options: PretrainCommand, console: Console, recipe: PretrainRecipe | None = None) -> PretrainResult:
    """Train by `recipe`, or by that of the command, with its `--set`. Raises as `run` does, and for a wrong recipe."""
    layer = read_yaml(assets.find("configs", options.config)) if recipe is None else asdict(recipe)
    flags: dict[str, Any] = {} if options.adapter is None else {"adapter": {"name": options.adapter}}
    if options.precision is not None:
        flags["run"] = {"precision": options.precision}
    return run(pretrain_recipe([layer, flags, from_dotted(options.overrides)]), options, console)


def run(recipe: PretrainRecipe, options: PretrainCommand, console: Console) -> PretrainResult:
    """Train a language model and write it to `out/model`, a Hugging Face folder.

    Raises ManticoreError if a file cannot be read, `options.out` is not empty, or another process runs in it.
    """

    def work(hardware: Hardware) -> PretrainResult:
        with RunLock(options.out) as lock:
            return _run(recipe, options, console, lock, hardware)

    return run_together(options.processes, recipe.run, work)


def _run(
    recipe: PretrainRecipe, options: PretrainCommand, console: Console, lock: RunLock, hardware: Hardware
) -> PretrainResult:
    out = options.out
    settings = {
        "recipe": asdict(recipe),
        "text": str(options.text.resolve()),
        "tokenizer": str(options.tokenizer or ""),
        "decontaminate": str(options.decontaminate or ""),
    }
    check_same_options(out / OPTIONS_FILE, settings, options.resume, "pretraining")
    if (out / "model").exists():
        info(console, f"{out} is complete; nothing to do.")
        remove_leftover(out / "checkpoints" / "pretrain.ckpt")
        return PretrainResult(out / "model", PretrainScores.load(out))
    check_loggers(recipe.run.logger)
    lock.acquire(create=False)
    texts = PretrainingText.read(options.text, recipe.passage, recipe.held_out, options.decontaminate)
    documents = all_documents(texts.train)
    if options.tokenizer is not None:
        tokenizer = load_tokenizer(options.tokenizer)
    else:
        lock.acquire()
        write_json(out / OPTIONS_FILE, settings)  # first, so that a run that stops here can be resumed
        tokenizer = train_tokenizer(documents, recipe.vocabulary, recipe.length, out / "checkpoints" / "tokenizer")
    examples = chunk(documents, tokenizer, recipe.length)
    tokens = len(examples.flat)
    info(console, f"text: {texts.summary}; {tokens:,} training tokens, vocabulary of {len(tokenizer):,}")
    torch.manual_seed(seed_of(recipe.run.seed, "pretrain"))
    model = build_model(recipe, tokenizer)
    info(console, f"model: {recipe.family}, {parameters(model):,} parameters; {_schedule(recipe, tokens)}")
    if recipe.adapter.name is not None:
        for line in (*attach(model, recipe.adapter), f"adapter: {describe(model, recipe.adapter)}"):
            info(console, line)

    sampler = BatchSampler(examples, recipe.batch_size, seed_of(recipe.run.seed, "pretrain", "stream"), collate)
    micro_batch_size = recipe.run.micro_batch_size
    print_training_estimate(model, sampler, recipe.steps, micro_batch_size, hardware, console)

    lock.acquire()
    write_json(out / OPTIONS_FILE, settings)
    run = recipe.run
    loop = LoopOptions(micro_batch_size, run.gradient_checkpointing, run.log_every, recipe.length)
    module = TrainModule(model, recipe.weights, recipe.steps, loop)
    with RunLoggers(run.logger, out, settings) as loggers:
        fit(module, {"weights": sampler}, "pretrain", out / "checkpoints", hardware, console, loggers=loggers)

    model = merged(model)
    model.half().float()  # scored with the rounding of the saved weights
    held_out = {name: chunk(documents, tokenizer, recipe.length) for name, documents in texts.held_out.items()}
    bits = held_out_bits(model, held_out, recipe.run.eval_batch_size, hardware)
    model.to("cpu")
    for name, value in bits.items():
        info(console, f"  held out of {name}: {value:.3f} bits per byte")
    card = pretrain_card(recipe, parameters(model), module.tokens, bits)
    scores = PretrainScores(bits, module.tokens)
    scores.save(out)
    folder = save_model(model, tokenizer, recipe, card, out / "model")
    (out / "checkpoints" / "pretrain.ckpt").unlink(missing_ok=True)
    info(console, str(folder))
    return PretrainResult(folder, scores)


def build_model(recipe: PretrainRecipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A model of the recipe's family and size with random weights, for the tokens of a tokenizer."""
    family = families[recipe.family]
    config = family.scratch_config(family.model_types[0], recipe.size, len(tokenizer), recipe.length)
    config.bos_token_id, config.eos_token_id = boundary_tokens(tokenizer)
    config.pad_token_id = tokenizer.pad_token_id
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def collate(batch: Sequence[Example]) -> Batch:
    """One batch of chunks. The padding is masked, so it may be any token."""
    return pad_batch(batch, 0, per_token=True)


def held_out_bits(
    model: PreTrainedModel, files: dict[str, Examples], batch_size: int, hardware: Hardware
) -> dict[str, float]:
    """Bits per byte of the held-out examples of each file, and of `all` files together."""
    bits, sizes = {}, {}
    for name, examples in files.items():
        value = score_together(hardware, model, examples, collate, batch_size).bits_per_byte
        assert value is not None
        bits[name] = value
        sizes[name] = 0 if examples.num_bytes is None else int(examples.num_bytes.sum())
    return {**bits, "all": sum(bits[name] * sizes[name] for name in bits) / sum(sizes.values())}


def save_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: PretrainRecipe, card: str, out: Path
) -> Path:
    """Write model, tokenizer, recipe and card to a new folder, atomically; weights are fp16."""
    with atomic_dir(out) as part:
        model.half().save_pretrained(part)
        tokenizer.save_pretrained(part)
        recipe.save(part / "pretrain.yaml")
        write_text(part / "README.md", card)
    return out


def _schedule(recipe: PretrainRecipe, tokens: int) -> str:
    per_step = recipe.batch_size * recipe.length
    epochs = recipe.steps * per_step / tokens
    return f"{recipe.steps:,} steps of up to {per_step:,} tokens, {epochs:.2f} epochs"
