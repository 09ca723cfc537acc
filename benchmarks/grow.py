"""Which layers of a grown parent keep attention: recall in the objective against simple placements, and a repair.

    manticore grow smollm2-instruct --text TEXT/train --tokens 122880 --steps 150 --out twin
    python benchmarks/grow.py --parent smollm2-instruct --twin twin --text TEXT --out grow.json

TEXT has train/ and test/ with .txt files. The loss of each replaced layer is that of `growth.json`, on text that `grow`
held out; copying and pairs are measured here. Test text decides nothing. What is finished is in --out, so a run that
was stopped goes on. Every path has the same budget: a share of the parent's cache after `--length` tokens. Matrix
products are in bfloat16, but for the export.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

import torch

from manticore.components import Component, ComponentSpec, load
from manticore.export.load import load_language_model
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
from manticore.tasks.dataset import IGNORE, Examples
from manticore.tasks.language.copies import with_copies
from manticore.tasks.language.documents import read_texts
from manticore.tasks.language.probes import ProbeKind, make_probe, text_ids
from manticore.tasks.language.text import SAMPLE
from manticore.tasks.task import HeadSpec
from manticore.training.divergence import TeacherDivergence
from manticore.utils.io import read_json, write_json

LENGTHS = {256: 16, 1024: 4, 4096: 1}
"""Blocks of each text by their tokens."""

PROMPTS = {"copying": {128: 64, 512: 16}, "pairs": {128: 64}}
"""Prompts of each kind of probes by their tokens."""

HALF = partial(torch.autocast, "cpu", torch.bfloat16)
"""Matrix products in bfloat16: some 2.5 times as fast as in fp32 on a CPU that has instructions for it."""


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
    with HALF():
        hidden = net(prompts_NT, path=list(path)).float().log_softmax(-1)
    scored = labels_NT != IGNORE
    return -float(hidden[scored].gather(-1, labels_NT[scored][:, None]).mean())


@torch.no_grad()
def text_losses(model: Any, ids_NL: torch.Tensor) -> list[float]:
    """Mean next-token loss of each block, in nats."""
    with installed(), HALF():
        return [float(model(input_ids=ids, labels=ids, use_cache=False).loss) for ids in ids_NL.split(1)]


def measure(model: Any, blocks: dict[str, torch.Tensor], ids: Sequence[int]) -> dict[str, Any]:
    """Losses of the test blocks, and for each prompt the share of the answer's tokens that are right."""
    model.eval()
    scores: dict[str, Any] = {name: text_losses(model, block) for name, block in blocks.items()}
    for kind, counts in PROMPTS.items():
        for length, count in counts.items():
            probe = make_probe(cast(ProbeKind, kind), ids, length, count, seed=2)
            with HALF():
                right = generated(model, probe, 8) == probe.answers_NA
            scores[f"{kind}@{length}"] = right.mean(-1).tolist()
    return scores


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
            with HALF():
                value = loss(model, batch)
            value.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(value.item())
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
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.25, 0.75])
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--weight", type=float, default=0.5, help="of copying, and of pairs")
    parser.add_argument("--probes", type=int, default=8)
    parser.add_argument("--repair-tokens", type=int, default=299_008, help="0: no repair")
    parser.add_argument("--copies", type=float, default=0.25, help="share of the repair that is random tokens, twice")
    parser.add_argument("--hybrids", nargs="*", default=[], help="folders of hybrids that are measured too")
    parser.add_argument("--seed", type=int, default=3, help="of the order of the repair")
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-4)
    options = parser.parse_args()
    results = Results(Path(options.out))
    parent, twin = load(ComponentSpec(options.parent, "parent")), load(ComponentSpec(options.twin, "twin"))
    stages = parent.depth
    net = Supernet([parent, twin], SearchSpace(["parent", "twin"], stages=stages), "parent", HeadSpec()).eval()
    ids = text_ids(parent.tokenizer, read_text(SAMPLE))

    costs, resource = PathCosts(net, options.length), Resource("cache_bytes", options.length)
    whole = costs.cost(["parent"] * stages, resource)
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

    def path_by(weight: float, budget: Budget) -> list[str]:
        values = [[0.0] * 2 for _ in range(stages)]
        for stage, row in enumerate(values):
            row[column] = -text[stage] + weight * sum(table[stage][column] for table in tables.values())
        return StageScoreTable(net.candidates, values).best(net, budget)

    blocks = test_blocks(parent, Path(options.text) / "test")
    special = {"pad_token_id": parent.config.pad_token_id, "eos_token_id": parent.config.eos_token_id}

    def score(path: Sequence[str]) -> dict[str, Any]:
        return measure(discretize(net, path, **special), blocks, ids)

    for folder in options.hybrids:
        results.get(folder, lambda folder=folder: measure(load_language_model(folder)[0], blocks, ids))
    for share in options.shares:
        budget = Budget.of(options.length, cache_bytes=share * whole)
        paths: dict[str, Sequence[str]] = {"replace-one and recall": path_by(options.weight, budget)}
        paths |= placements(
            net, budget, get_args(Placement), random.Random(0), lambda limits=budget: tuple(path_by(0.0, limits))
        )
        bytes_of = {name: costs.cost(path, resource) for name, path in paths.items()}
        kept = {
            name: [index + 1 for index, each in enumerate(path) if each == "parent"] for name, path in paths.items()
        }
        results.get(f"{share} paths", lambda sizes=bytes_of, kept=kept: {"bytes": sizes, "attention": kept})
        if options.repair_tokens:
            repaired = repaired_path(net, paths["replace-one and recall"], special, parent, options, results, share)
            results.get(f"{share} repaired", lambda model=repaired: measure(model, blocks, ids))
            folder = Path(options.out).with_suffix(f".{share}.native")
            results.get(f"{share} native", lambda model=repaired, folder=folder: written(model, folder))
        results.get("parent", lambda: score(["parent"] * stages))
        for name, path in paths.items():
            results.get(f"{share} {name}", lambda path=path: score(path))


def repaired_path(
    net: Supernet,
    path: Sequence[str],
    special: dict[str, Any],
    parent: Component,
    options: argparse.Namespace,
    results: Results,
    share: float,
) -> Any:
    """A path after its repair, whose weights are in a file beside the results."""
    model: Any = discretize(net, path, **special)
    weights = Path(options.out).with_suffix(f".{share}.pt")

    def train() -> dict[str, float]:
        text = text_blocks(parent, read_texts(Path(options.text) / "train"), options.repair_tokens, 256)
        ids_NL = text.ids_NL[: len(text.ids_NL) - text.held_out]
        order = torch.randperm(len(ids_NL), generator=torch.Generator().manual_seed(options.seed))
        mixed = with_copies(Examples.from_arrays(ids_NL[order].numpy(), ids_NL[order].numpy()), options.copies, seed=7)
        teacher = load(ComponentSpec(options.parent, "teacher")).model
        report = repair(model, teacher, torch.from_numpy(mixed.flat.reshape(ids_NL.shape)), options)
        torch.save(model.state_dict(), weights)
        return report

    results.get(f"{share} repair", train)
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def written(model: Any, folder: Path) -> str:
    """What was checked of a native export of the model, which is written to a folder."""
    exported = native_export(model.eval())
    exported.model.save_pretrained(folder)
    return exported.note


if __name__ == "__main__":
    main()
