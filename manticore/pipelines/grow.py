"""`manticore grow`: a twin of a pretrained transformer with recurrent mixers in place of attention."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import PretrainedConfig, PreTrainedModel

from manticore.components import Component, ComponentSpec, load
from manticore.config.grow import GrowCommand
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.experiment.run_lock import RunLock
from manticore.growth.distill import DistillOptions
from manticore.growth.jobs import layer_job, load_mixer, run_layer, save_attention
from manticore.growth.pairs import PairStore
from manticore.growth.scores import replaced_losses
from manticore.growth.text import Blocks, text_blocks
from manticore.growth.twin import (
    MixerSize,
    attention_of,
    check_growable,
    check_layers,
    twin_config,
    untrained_twin,
)
from manticore.report.model_card import growth_table, twin_card
from manticore.results.growth import GrownLayer, GrowthResult
from manticore.studies.pool import JobProgress, executor_for, run_all
from manticore.studies.store import JobStore
from manticore.tasks.language.documents import read_texts
from manticore.utils.console import info
from manticore.utils.devices import Precision, autocast
from manticore.utils.io import atomic_dir, read_json, write_json, write_text


@dataclass(frozen=True)
class Growth:
    """A twin that has been grown.

    Attributes:
        folder: its Hugging Face folder.
        result: the scores of its layers.
    """

    folder: Path
    result: GrowthResult

    @property
    def model(self) -> PreTrainedModel:
        """The twin, in float32 and in evaluation mode."""
        return load(ComponentSpec(str(self.folder))).model


def work_folder(out: Path) -> Path:
    """The folder of what is finished while a twin is grown."""
    return out.with_name(f"{out.name}.growing")


def run(options: GrowCommand, console: Console) -> Growth:
    """Grow a twin, print the scores of its layers, and write it to `options.out`.

    Layers whose results are in `work_folder(options.out)` are not trained again.

    Raises ManticoreError, before anything is written, if the model or the text cannot be used or the folder exists.
    """
    started = time.monotonic()
    texts = [text for path in options.text for text in read_texts(path)]
    setup_hardware(RunOptions())
    component = load(ComponentSpec(options.model))
    check_growable(component)
    layers = check_layers(options.layers, component.depth)
    size = MixerSize(options.expand, options.state_size, options.heads, options.groups)
    config = twin_config(component, options.mixer, size, layers)
    blocks = text_blocks(component, texts, options.tokens, options.length)
    folder = work_folder(options.out)
    store = PairStore(folder, len(blocks.ids_NL), options.length, component.width)
    groups = store.groups(layers, options.cache_gb * 1e9)
    with RunLock(folder) as lock:
        lock.acquire()
        source = _prepare(store, component, blocks, options.precision)
        training = DistillOptions(
            options.start,
            options.ridge,
            options.steps,
            options.batch_size,
            options.lr,
            options.seed,
            options.precision,
        )
        jobs = {layer: layer_job(layer, config, training, source, blocks.held_out) for layer in layers}
        seconds = 0.0
        scores: dict[int, dict[str, float]] = {}
        for group in groups:
            group_jobs = [jobs[layer] for layer in group]
            seconds += _cache(component, blocks, store, group, group_jobs, options.precision, console)
            scores |= _train(store, jobs, group, options.workers, console)
            store.drop(group)
        twin = _assemble(component, config, folder, layers)
        mixers = {layer: attention_of(_component_of(twin, component), layer) for layer in layers}
        held_out = blocks.ids_NL[-blocks.held_out :]
        with autocast(options.precision):
            loss, losses = replaced_losses(component, held_out, mixers)
            twin_loss = _loss(twin, held_out)
        result = GrowthResult(
            parent=component.source,
            mixer=options.mixer,
            tokens=blocks.tokens,
            held_out=held_out.numel(),
            loss=loss,
            twin_loss=twin_loss,
            layers=tuple(GrownLayer(layer + 1, loss=losses[layer], **scores[layer]) for layer in layers),
            cache_seconds=round(seconds, 2),
            seconds=round(time.monotonic() - started, 2),
        )
        _save(twin, component, result, options.out)
    shutil.rmtree(folder, ignore_errors=True)
    console.print(growth_table(result, f"{options.out}: {result.summary}").rich())
    parent = component.source
    info(
        console,
        f"""next, which layers keep attention if the cache has half of its size:
  manticore search --config search/twin --models {parent},{options.out} --base {parent} --teacher {parent} \\
      --stages {component.depth} --data-dir {options.text[0]} --max cache_bytes=50%@4096""",
    )
    return Growth(options.out, result)


def _prepare(store: PairStore, component: Component, blocks: Blocks, precision: Precision) -> dict[str, Any]:
    """What the pairs depend on. Pairs in the folder that depend on something else are removed."""
    text = hashlib.blake2b(blocks.ids_NL.numpy().tobytes(), digest_size=16).hexdigest()
    source = {"parent": component.weight_hash, "text": text, "shape": list(store.shape), "precision": precision}
    record = store.folder / "source.json"
    if record.exists() and read_json(record) != source:
        store.clear()
    write_json(record, source)
    return source


def _cache(
    component: Component,
    blocks: Blocks,
    store: PairStore,
    group: Sequence[int],
    jobs: Sequence[Any],
    precision: Precision,
    console: Console,
) -> float:
    """Cache the pairs of a group of layers, unless they are or all layers are trained; returns the seconds."""
    if store.has(group) or all(_jobs_in(store).has(job) for job in jobs):
        return 0.0
    started = time.monotonic()
    names = f"layer {group[0] + 1}" if len(group) == 1 else f"layers {group[0] + 1} to {group[-1] + 1}"
    info(console, f"caching attention's inputs and outputs in {names}, {blocks.ids_NL.numel():,} tokens")
    for layer in group:
        save_attention(component, layer, store.folder)
    with autocast(precision):
        store.fill(component, blocks.ids_NL, group)
    return time.monotonic() - started


def _jobs_in(store: PairStore) -> JobStore:
    return JobStore(store.folder / "layers")


def _train(
    store: PairStore, jobs: dict[int, dict[str, Any]], group: Sequence[int], workers: int, console: Console
) -> dict[int, dict[str, float]]:
    """The scores of the layers of a group, trained by several processes."""

    def show(progress: JobProgress) -> None:
        if progress.state == "finished":
            score = _jobs_in(store).get(progress.job)
            info(
                console,
                f"  layer {progress.job['layer'] + 1}: {score['error']:.3f} of the variance left "
                f"({score['start']:.3f} at the start), {score['seconds']:.0f} s",
            )

    threads = max(1, torch.get_num_threads() // workers)
    # A process of the pool may have been started in another working directory.
    location = {"folder": str(store.folder.resolve()), "threads": threads, "shape": list(store.shape)}
    located = [{**jobs[layer], "location": location} for layer in group]
    outcome = run_all(located, run_layer, _jobs_in(store), executor_for(workers), show)
    for index, failure in outcome.failed.items():
        raise ManticoreError(f"layer {group[index] + 1} failed: {failure.strip().splitlines()[-1]}")
    return dict(zip(group, outcome.results, strict=True))


def _assemble(component: Component, config: PretrainedConfig, folder: Path, layers: Sequence[int]) -> PreTrainedModel:
    """The twin with its trained mixers."""
    twin = untrained_twin(component, config)
    grown = _component_of(twin, component)
    for layer in layers:
        load_mixer(attention_of(grown, layer), folder, layer)
    return twin


def _component_of(twin: PreTrainedModel, parent: Component) -> Component:
    return load(ComponentSpec(name=parent.name, model=twin))


@torch.no_grad()
def _loss(model: PreTrainedModel, ids_NL: torch.Tensor) -> float:
    """Mean next-token loss of a model in nats."""
    sums = [float(model(input_ids=ids, labels=ids, use_cache=False).loss) * len(ids) for ids in ids_NL.split(4)]
    return sum(sums) / len(ids_NL)


def _save(twin: PreTrainedModel, component: Component, result: GrowthResult, out: Path) -> None:
    with atomic_dir(out) as part:
        twin.save_pretrained(part)
        if component.tokenizer is not None:
            component.tokenizer.save_pretrained(part)
        write_text(part / "README.md", twin_card(component, result))
        result.save(part)
