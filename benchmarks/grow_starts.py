"""Which start of a recurrent mixer is best: attention's weights, with the gate, with least squares, or random.

    python benchmarks/grow_starts.py --parent smollm2-instruct --text TEXT/train --out starts.json

Of each layer and start the error on held-out text, as a share of the variance of attention's outputs, before and after
training. What is finished is in --out, so a run that was stopped goes on; cached pairs are beside it.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import get_args

import torch

from manticore.components import ComponentSpec, load
from manticore.growth.attention_weights import attention_weights
from manticore.growth.distill import DistillOptions, distill
from manticore.growth.jobs import new_mixer
from manticore.growth.pairs import PairStore
from manticore.growth.starts import Start
from manticore.growth.text import text_blocks
from manticore.growth.twin import MixerSize, attention_of, twin_config
from manticore.tasks.language.documents import read_texts
from manticore.utils.devices import autocast
from manticore.utils.io import read_json, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--parent", "--text", "--out"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--layers", type=int, nargs="+", default=[2, 6, 12, 17, 20], help="counted from 1")
    parser.add_argument("--tokens", type=int, default=61440)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    out, layers = Path(options.out), [layer - 1 for layer in options.layers]
    rows: dict[str, dict[str, float]] = read_json(out) if out.exists() else {}
    parent = load(ComponentSpec(options.parent, "parent"))
    blocks = text_blocks(parent, read_texts(Path(options.text)), options.tokens, 256)
    store = PairStore(out.with_suffix(".pairs"), *blocks.ids_NL.shape, parent.width)
    if not store.has(layers):
        with autocast("bf16-mixed"):
            store.fill(parent, blocks.ids_NL, layers)
    config = twin_config(parent, "mamba2", MixerSize(), layers).to_dict()
    for layer, start, ridge in product(layers, get_args(Start), (False, True)):
        name = f"layer {layer + 1}, {start}{', least squares' if ridge else ''}"
        if name in rows:
            continue
        torch.manual_seed(0)
        mixer, cpu = new_mixer(config, layer).mixer, time.process_time()
        weights = attention_weights(attention_of(parent, layer), parent.config)
        training = DistillOptions(start, ridge, options.steps, 8, 2e-3, 0, "bf16-mixed")
        score = distill(mixer, weights, store.pairs(layer), blocks.held_out, training)
        rows[name] = asdict(score) | {"cpu_seconds": round(time.process_time() - cpu, 1)}
        write_json(out, rows)
        print(name, rows[name], flush=True)


if __name__ == "__main__":
    main()
