"""Which layers of a grown parent keep attention: recall in the objective against simple placements, and a repair.

    manticore grow smollm2-instruct --text TEXT/train --tokens 122880 --steps 150 --out twin
    python benchmarks/grow.py --parent smollm2-instruct --twin twin --text TEXT --out grow.json

TEXT has train/ and test/ with .txt files. The loss of each replaced layer is that of `growth.json`, on text that `grow`
held out; copying and pairs are measured here. Test text decides nothing. What is finished is in --out, so a run that
was stopped goes on. Every path has the same budget: `--share` of the parent's cache after `--length` tokens.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from manticore.components import Component, ComponentSpec, load
from manticore.export.native import native_export
from manticore.growth.text import text_blocks
from manticore.kernels import installed
from manticore.nas.cost import PathCosts
from manticore.nas.discretize import discretize
from manticore.nas.options import Placement
from manticore.nas.resources import Resource
from manticore.nas.selection import Budget
from manticore.nas.selection.placements import placements
from manticore.nas.selection.replace_one import replaced_scores
from manticore.nas.selection.scores import StageScoreTable
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.pipelines.generation_scores import generated
from manticore.results.growth import GrowthResult
from manticore.tasks.data_files import read_text
from manticore.tasks.dataset import IGNORE
from manticore.tasks.language.documents import read_texts
from manticore.tasks.language.probes import ProbeKind, make_probe, text_ids
from manticore.tasks.language.text import SAMPLE
from manticore.tasks.task import HeadSpec
from manticore.training.divergence import TeacherDivergence
from manticore.utils.io import read_json, write_json

LENGTHS = {256: 8, 1024: 2}
"""Blocks of each text by their tokens."""


class Results:
    """Results by name in a file, each computed once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.values: dict[str, Any] = read_json(file) if file.exists() else {}

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self.values:
            started, cpu = time.monotonic(), time.process_time()
            value = compute()
            self.values[name] = {
                "value": value,
                "seconds": round(time.monotonic() - started, 1),
                "cpu_seconds": round(time.process_time() - cpu, 1),
            }
            write_json(self.file, self.values)
            print(name, self.values[name], flush=True)
        return self.values[name]["value"]


@torch.no_grad()
def recall_loss(net: Supernet, path: Sequence[str], kind: ProbeKind, ids: Sequence[int], count: int) -> float:
    """Mean loss of the answers to probes of 256 tokens, in nats."""
    probe = make_probe(kind, ids, 256, count, seed=1)
    prompts_NT, labels_NT = (torch.from_numpy(part.astype("int64")) for part in (probe.input_ids, probe.labels_NT))
    hidden = net(prompts_NT, path=list(path)).log_softmax(-1)
    scored = labels_NT != IGNORE
    return -float(hidden[scored].gather(-1, labels_NT[scored][:, None]).mean())


@torch.no_grad()
def text_loss(model: Any, ids_NL: torch.Tensor) -> float:
    """Mean next-token loss of blocks, in nats."""
    with installed():
        return sum(float(model(input_ids=ids, labels=ids, use_cache=False).loss) for ids in ids_NL.split(1)) / len(
            ids_NL
        )


def measure(model: Any, blocks: dict[str, torch.Tensor], ids: Sequence[int], examples: int) -> dict[str, float]:
    """Losses on the test blocks, and shares of prompts of 128 and 512 tokens with a wholly right answer."""
    model.eval()
    scores = {name: text_loss(model, block) for name, block in blocks.items()}
    for length in (128, 512):
        probe = make_probe("copying", ids, length, examples, seed=2)
        right = generated(model, probe, 8) == probe.answers_NA
        scores |= {f"copying@{length}": float(right.all(-1).mean()), f"copied tokens@{length}": float(right.mean())}
    probe = make_probe("pairs", ids, 128, 2 * examples, seed=2)
    return scores | {"pairs@128": float((generated(model, probe, 8) == probe.answers_NA).mean())}


def with_copies(ids_NL: torch.Tensor, share: float) -> torch.Tensor:
    """The blocks, with a share of them replaced by random tokens of the text, each half of a block given twice."""
    if not share:
        return ids_NL
    pool, rng, half = ids_NL.unique().numpy(), np.random.default_rng(7), ids_NL.shape[1] // 2
    out = ids_NL.clone()
    for index in range(0, len(out), round(1 / share)):
        out[index] = torch.from_numpy(np.tile(rng.choice(pool, half, replace=False), 2))
    return out


def repair(model: Any, teacher: Any, ids_NL: torch.Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Train all weights by divergence from the parent, blocks in order, with a linear rise and fall of the rate."""
    optimizer = torch.optim.AdamW(model.parameters(), options.lr, (0.9, 0.95), weight_decay=0.0)
    loss, batches, losses = TeacherDivergence(teacher), ids_NL.split(options.batch_size), []
    model.train()
    with installed():
        for step, ids in enumerate(batches):
            share = min(1.0, (step + 1) / (0.1 * len(batches)), (len(batches) - step) / (0.5 * len(batches)))
            optimizer.param_groups[0]["lr"] = options.lr * share
            batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
            optimizer.zero_grad()
            value = loss(model, batch)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(float(value))
            if step % 10 == 0:
                print(f"repair {step + 1}/{len(batches)}: {losses[-1]:.3f} nats from the parent", flush=True)
    tenth = max(1, len(losses) // 10)
    return {
        "tokens": ids_NL.numel(),
        "first": sum(losses[:tenth]) / tenth,
        "last": sum(losses[-tenth:]) / tenth,
    }


def test_blocks(parent: Component, folder: Path) -> dict[str, torch.Tensor]:
    """Blocks of each file of a folder, by name and length."""
    blocks = {}
    for file in sorted(folder.glob("*.txt")):
        ids = torch.tensor(text_ids(parent.tokenizer, read_texts(file)[0]))
        for length, count in LENGTHS.items():
            blocks[f"{file.stem}@{length}"] = ids[: count * length].view(count, length)
    return blocks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag in ("--parent", "--twin", "--text", "--out"):
        parser.add_argument(flag, required=True)
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--weight", type=float, default=0.5, help="of copying, and of pairs")
    parser.add_argument("--probes", type=int, default=8)
    parser.add_argument("--examples", type=int, default=16)
    parser.add_argument("--repair-tokens", type=int, default=51200)
    parser.add_argument("--copies", type=float, default=0.25, help="share of the repair that is random tokens, twice")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-4)
    options = parser.parse_args()
    results = Results(Path(options.out))
    parent, twin = load(ComponentSpec(options.parent, "parent")), load(ComponentSpec(options.twin, "twin"))
    stages = parent.depth
    net = Supernet([parent, twin], SearchSpace(["parent", "twin"], stages=stages), "parent", HeadSpec()).eval()
    ids = text_ids(parent.tokenizer, read_text(SAMPLE))

    costs, resource = PathCosts(net, options.length), Resource("cache_bytes", options.length)
    limit = options.share * costs.cost(["parent"] * stages, resource)
    budget = Budget.of(options.length, cache_bytes=limit)
    grown = GrowthResult.load(Path(options.twin))
    text = {index: layer.loss - grown.loss for index, layer in enumerate(grown.layers)}

    def recall(kind: ProbeKind) -> list[list[float]]:
        with installed():
            table = replaced_scores(
                net.choices, "parent", lambda path: recall_loss(net, path, kind, ids, options.probes)
            )
        return [list(row) for row in table.values]

    tables = {kind: results.get(f"replaced {kind}", lambda kind=kind: recall(kind)) for kind in ("copying", "pairs")}
    column = net.candidates.index("twin")

    def path_by(weight: float) -> list[str]:
        values = [[0.0] * 2 for _ in range(stages)]
        for stage, row in enumerate(values):
            row[column] = -text[stage] + weight * sum(table[stage][column] for table in tables.values())
        return StageScoreTable(net.candidates, values).best(net, budget)

    paths: dict[str, Sequence[str]] = {"replace-one and recall": path_by(options.weight)}
    paths |= placements(net, budget, get_args(Placement), random.Random(0), lambda: tuple(path_by(0.0)))
    paths |= {"parent": ["parent"] * stages}
    bytes_of = {name: costs.cost(path, resource) for name, path in paths.items()}
    kept = {name: [index + 1 for index, each in enumerate(path) if each == "parent"] for name, path in paths.items()}
    results.get("paths", lambda: {"limit": limit, "bytes": bytes_of, "attention": kept})

    blocks = test_blocks(parent, Path(options.text) / "test")
    special = {"pad_token_id": parent.config.pad_token_id, "eos_token_id": parent.config.eos_token_id}
    searched = paths["replace-one and recall"]

    def score(model: Any) -> dict[str, float]:
        return measure(model, blocks, ids, options.examples)

    results.get("replace-one and recall", lambda: score(discretize(net, searched, **special)))
    repaired: Any = discretize(net, searched, **special)
    weights = Path(options.out).with_suffix(".pt")

    def train() -> dict[str, float]:
        text = text_blocks(parent, read_texts(Path(options.text) / "train"), options.repair_tokens, 256)
        order = torch.randperm(len(text.ids_NL), generator=torch.Generator().manual_seed(3))
        teacher = load(ComponentSpec(options.parent, "teacher")).model
        blocks = with_copies(text.ids_NL[order][: options.repair_tokens // 256], options.copies)
        report = repair(repaired, teacher, blocks, options)
        torch.save(repaired.state_dict(), weights)
        return report

    results.get("repair", train)
    repaired.load_state_dict(torch.load(weights, weights_only=True))
    results.get("repaired", lambda: score(repaired))

    def native() -> str:
        written = native_export(repaired.eval())
        written.model.save_pretrained(Path(options.out).with_suffix(".native"))
        return written.note

    results.get("native", native)
    order = ("parent", "base evenly", "replace-one alone", *paths)
    for name in dict.fromkeys(order):
        path = paths[name]
        results.get(name, lambda path=path: score(discretize(net, path, **special)))


if __name__ == "__main__":
    main()
