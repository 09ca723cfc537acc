"""The main story: components alone, search, select, discretize, fine-tune, compare, export, report."""

from __future__ import annotations

import math
import random
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from itertools import combinations
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from manticore import __version__
from manticore.architecture import SKIP, Architecture
from manticore.cost import branch_costs, fixed_costs, flops, parameters
from manticore.discretization import discretize
from manticore.errors import BadFile, ManticoreError
from manticore.files import read_json, write_json
from manticore.recipe import Recipe, read_yaml, resolve
from manticore.report.card import model_card
from manticore.report.page import write_report
from manticore.report.table import comparison
from manticore.runs.export import export, label_fields, tokenizer
from manticore.runs.folder import RunFolder, open_folder
from manticore.runs.machine import facts, prepare
from manticore.runs.workshop import Trained, Workshop, seed_of
from manticore.selection import best_path
from manticore.strategies import strategies
from manticore.supernet import Supernet
from manticore.tasks.catalog import load_task
from manticore.tasks.presets import choose_preset
from manticore.training.callbacks import AlphaRecord
from manticore.training.modules import SearchModule, TrainModule
from manticore.training.scoring import Score

BOTH = ("weights", "alphas")


@dataclass(frozen=True)
class Result:
    """What a search came to.

    Attributes:
        folder: the run folder.
        architecture: the path that was found.
        metrics: the comparison table and everything about it, as in metrics.json.
    """

    folder: Path
    architecture: Architecture
    metrics: dict[str, Any]

    @property
    def path(self) -> Path:
        """The exported Hugging Face folder."""
        return RunFolder(self.folder).hybrid

    @property
    def hybrid(self) -> PreTrainedModel:
        """The exported model."""
        return AutoModelForSequenceClassification.from_pretrained(self.path)


def run(recipe: Recipe, out: Path, resume: bool, console: Console) -> Result:
    """Search, and leave everything in `out`.

    Args:
        recipe: what to do.
        out: the run folder; must be empty unless `resume`.
        resume: go on with the run in `out` if it holds one.
        console: where the user watches.

    Raises ManticoreError, before anything is written, if something about the recipe cannot be.
    """
    folder, resuming = open_folder(out, resume)
    if resuming:
        _check_same(recipe, folder)
    if folder.metrics.exists():
        console.print(f"{out} is complete; nothing to do.", highlight=False, soft_wrap=True)
        return conclude(folder, console)
    task = load_task(recipe.task)
    shop = Workshop(recipe, task, prepare(recipe.run), folder, console)
    _ = shop.components
    check_buildable(shop)
    introduce(shop)
    recipe.save(folder.recipe)
    folder.checkpoints.mkdir(exist_ok=True)

    alone = train_alone(shop)
    home, reason = choose_home(shop, alone)
    console.print(f"home: {home} ({reason})", highlight=False, soft_wrap=True)
    found = train_supernet(shop, home)
    supernet = found.net
    assert isinstance(supernet, Supernet)
    path = select(shop, supernet)
    architecture = supernet.architecture(path)
    architecture.save(folder.architecture)
    console.print(f"path: {architecture.words()}", highlight=False, soft_wrap=True)
    tuned = finetune(shop, supernet, path, "fine-tune")
    others = train_baselines(shop, supernet, home, path)
    metrics = compare(shop, home, reason, alone, found, path, tuned, others)
    finish(shop, metrics, tuned, alone)
    return conclude(folder, console)


def check_buildable(shop: Workshop) -> None:
    """Raises ManticoreError if the projectors cannot be made, or if no path fits the budget whoever is home."""
    options = shop.recipe.selection
    bounded = options.max_parameters is not None or options.max_flops is not None
    homes = (shop.space.home,) if shop.space.home else shop.space.names
    for home in homes if bounded else homes[:1]:
        try:
            supernet = shop.supernet(home, shop.recipe.search.relaxation, "check")
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise ManticoreError(f"the search space cannot be built with {home} as home: {error}") from None
        if bounded:
            select(shop, supernet)


def introduce(shop: Workshop) -> None:
    """Say what was chosen and why, before it is done."""
    preset, why = choose_preset(shop.recipe.task.preset)
    shop.console.print(f"preset: {preset} ({why})", highlight=False, soft_wrap=True)
    shop.console.print(f"task: {shop.task.describe()}", highlight=False, soft_wrap=True)
    space = shop.space
    sizes = ", ".join(
        f"{c.name} ({c.depth} layers of width {c.width}, {parameters(c.model):,} parameters, {c.source})"
        for c in shop.components
    )
    shop.console.print(f"components: {sizes}", highlight=False, soft_wrap=True)
    shop.console.print(
        f"space: {space.stages} stages, {space.topology} topology, {space.projector} projectors, "
        f"{len(space.candidates)}^{space.stages} = {len(space.candidates) ** space.stages} paths; "
        f"{shop.machine.accelerator}, {shop.machine.precision}",
        highlight=False,
        soft_wrap=True,
    )
    slow = shop.machine.accelerator == "cuda" and find_spec("mamba_ssm") is None
    if slow and any(component.anatomy.recurrent for component in shop.components):
        shop.console.print(
            "note: mamba-ssm is not installed, so Mamba layers run in transformers' plain loop on this GPU, which is "
            "slow on long sequences: pip install 'manticore-hybrids[cuda]'",
            highlight=False,
            soft_wrap=True,
        )


def fair_steps(recipe: Recipe) -> int:
    """Steps that show a baseline as many sequences as the hybrid saw in search and fine-tuning together."""
    search = recipe.search
    alpha_steps = search.steps - search.warmup_steps if len(strategies[search.strategy].splits) > 1 else 0
    sequences = (search.steps + alpha_steps) * search.batch_size + recipe.finetune.steps * recipe.finetune.batch_size
    return round(sequences / recipe.finetune.batch_size)


def train_alone(shop: Workshop) -> dict[str, Trained]:
    """Every component by itself, with its own embedding, norm and head, on as much as the hybrid will see."""
    if not shop.recipe.compare.components:
        return {}
    stages, options = shop.space.stages, shop.recipe.finetune
    steps = fair_steps(shop.recipe)
    out = {}
    for name in shop.space.names:

        def make(name: str = name) -> TrainModule:
            net = discretize(
                shop.supernet(name, "softmax", f"alone {name}"), [name] * stages, **label_fields(shop.task)
            )
            return TrainModule(net, options.weights, steps)

        out[name] = shop.train(
            f"alone {name}", make, lambda: {"weights": shop.stream(BOTH, options.batch_size, "alone")}
        )
    return out


def choose_home(shop: Workshop, alone: dict[str, Trained]) -> tuple[str, str]:
    """Who is home, and why."""
    if shop.space.home is not None:
        return shop.space.home, "you asked for it"
    if not alone:
        return shop.space.names[0], "named first; components were not trained alone"
    scores = {name: shop.score(trained.net, "choice").accuracy for name, trained in alone.items()}
    best = max(scores, key=lambda name: scores[name])
    told = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in scores.items())
    return best, f"best alone on the model-choice split: {told}"


def train_supernet(shop: Workshop, home: str) -> Trained:
    """The search itself."""
    options = shop.recipe.search
    strategy = strategies[options.strategy]()

    def make() -> SearchModule:
        net = shop.supernet(home, options.relaxation, "search")
        temperature = (options.temperature_start, options.temperature_end)
        return SearchModule(
            net, strategy, options.weights, options.alphas, options.steps, options.warmup_steps, temperature
        )

    def streams() -> dict[str, Any]:
        return {
            name: shop.stream(splits, options.batch_size, f"search {name}") for name, splits in strategy.splits.items()
        }

    return shop.train("search", make, streams, [AlphaRecord(shop.folder.alphas)])


def select(shop: Workshop, supernet: Supernet) -> list[str]:
    """The path with the largest product of mixing weights, within the budget if there is one."""
    options = shop.recipe.selection
    scores = [[math.log(max(w, 1e-30)) for w in row] for row in supernet.weights().tolist()]
    if options.max_parameters is None and options.max_flops is None:
        return [supernet.candidates[choice] for choice in best_path(scores)]
    return _select_within(supernet, scores, options.max_parameters, options.max_flops, shop.task.max_length)


def _select_within(
    supernet: Supernet, scores: list[list[float]], max_parameters: float | None, max_flops: float | None, length: int
) -> list[str]:
    """The best path under one budget; exact, also where a foreign component brings a position table of its own."""
    parameter_table, flop_table = branch_costs(supernet, length)
    fixed_parameters, fixed_flops = fixed_costs(supernet, length)
    if max_flops is not None:
        chosen = best_path(scores, flop_table, max_flops, fixed_flops)
        return [supernet.candidates[choice] for choice in chosen]
    assert max_parameters is not None
    carriers = [name for name in supernet.positions if name != supernet.home]
    best: tuple[float, tuple[int, ...]] | None = None
    refusal: ManticoreError | None = None
    for held in (set(group) for size in range(len(carriers) + 1) for group in combinations(carriers, size)):
        # A position table is paid once however many stages use it: fix who may be used, then costs add up again.
        allowed = [i for i, name in enumerate(supernet.candidates) if name not in carriers or name in held]
        tables = sum(parameters(supernet.positions[name]) for name in held)
        rows = [[row[i] for i in allowed] for row in scores]
        costs = [[row[i] for i in allowed] for row in parameter_table]
        try:
            inner = best_path(rows, costs, max_parameters, fixed_parameters + tables)
        except ManticoreError as error:
            refusal = refusal or error
            continue
        chosen = tuple(allowed[i] for i in inner)
        total = sum(row[i] for row, i in zip(scores, chosen, strict=True))
        if best is None or total > best[0]:
            best = (total, chosen)
    if best is None:
        assert refusal is not None
        raise refusal
    return [supernet.candidates[choice] for choice in best[1]]


def finetune(shop: Workshop, supernet: Supernet, path: list[str], phase: str) -> Trained:
    """The discrete hybrid on `path`, with the supernet's weights, trained further on weights and alphas together."""
    options = shop.recipe.finetune

    def make() -> TrainModule:
        return TrainModule(discretize(supernet, path, **label_fields(shop.task)), options.weights, options.steps)

    return shop.train(phase, make, lambda: {"weights": shop.stream(BOTH, options.batch_size, "fine-tune")})


def train_baselines(shop: Workshop, supernet: Supernet, home: str, path: list[str]) -> dict[str, Trained]:
    """The uniform mixture, and a random path of the same supernet."""
    out = {}
    if shop.recipe.compare.uniform:
        options, steps = shop.recipe.finetune, fair_steps(shop.recipe)
        out["uniform mixture"] = shop.train(
            "uniform mixture",
            lambda: TrainModule(shop.supernet(home, "fixed", "search"), options.weights, steps),
            lambda: {"weights": shop.stream(BOTH, options.batch_size, "alone")},
        )
    if shop.recipe.compare.random:
        out["random path"] = finetune(shop, supernet, random_path(shop, supernet, path), "random path")
    return out


def random_path(shop: Workshop, supernet: Supernet, path: list[str]) -> list[str]:
    """A path drawn uniformly from all but the one that was found."""
    rng = random.Random(seed_of(shop.recipe.run.seed, "random path"))
    while True:
        drawn = [rng.choice(supernet.candidates) for _ in path]
        if drawn != path and any(choice != SKIP for choice in drawn):
            return drawn


def compare(
    shop: Workshop,
    home: str,
    reason: str,
    alone: dict[str, Trained],
    found: Trained,
    path: list[str],
    tuned: Trained,
    others: dict[str, Trained],
) -> dict[str, Any]:
    """Everything on the same untouched test split, which is read here and nowhere else."""
    supernet = found.net
    assert isinstance(supernet, Supernet)
    shop.console.print("comparing on the test split", highlight=False, soft_wrap=True)
    raw = discretize(supernet, path, **label_fields(shop.task))
    rows = [
        _row(shop, "soft supernet", "search", supernet, found.tokens),
        _row(shop, "discretized, before fine-tuning", "search", raw, found.tokens),
        _row(shop, "discretized, after fine-tuning", "search", tuned.net, found.tokens + tuned.tokens),
        *(_row(shop, f"{name} alone", "component", held.net, held.tokens) for name, held in alone.items()),
    ]
    for name, held in others.items():
        inherited = found.tokens if name == "random path" else 0
        rows.append(_row(shop, name, "baseline", held.net, inherited + held.tokens))
    count = len(shop.task.splits().test)
    for name, accuracy in shop.task.guesses().items():
        guess = Score(math.nan, accuracy, count)
        empty = dict.fromkeys(("loss", "parameters", "flops_per_token", "training_tokens"))
        rows.append({"name": name, "group": "guess", **guess.to_dict(), **empty})
    exported, why = weigh_home(shop, tuned, alone)
    preset, preset_why = choose_preset(shop.recipe.task.preset)
    architecture = supernet.architecture(path)
    return {
        "task": shop.task.name,
        "metric": shop.task.metric,
        "kind": shop.task.kind,
        "manticore": __version__,
        "seed": shop.recipe.run.seed,
        "preset": preset,
        "preset_reason": preset_why,
        "home": architecture.home,
        "home_reason": reason,
        "path": path,
        "words": architecture.words(),
        "exported": exported,
        "exported_reason": why,
        "gap": {
            "soft": rows[0]["accuracy"],
            "discrete": rows[1]["accuracy"],
            "finetuned": rows[2]["accuracy"],
        },
        "components": {
            component.name: {
                "source": component.source,
                "revision": component.revision,
                "parameters": parameters(component.model),
                "layers": component.depth,
                "width": component.width,
                "cuts": component.cuts(shop.space.stages),
            }
            for component in shop.components
        },
        "machine": facts(),
        "seconds": shop.seconds,
        "rows": rows,
    }


def _row(shop: Workshop, name: str, group: str, net: Any, tokens: int) -> dict[str, Any]:
    result = shop.score(net, "test")
    length = int(shop.task.splits().test.lengths.mean())
    own = parameters(net) - (net.alpha.numel() if isinstance(net, Supernet) else 0)
    # The classifier's head runs once a sequence; counting it once a token would be wrong by less than it matters.
    cost = {"parameters": own, "flops_per_token": flops(net, length), "training_tokens": tokens}
    return {"name": name, "group": group, **result.to_dict(), **cost}


def weigh_home(shop: Workshop, tuned: Trained, alone: dict[str, Trained]) -> tuple[str, str]:
    """What is exported, and why: the hybrid, or the best component if that is better on the model-choice split."""
    hybrid = shop.score(tuned.net, "choice").accuracy
    if not alone:
        return "hybrid", f"model-choice accuracy {hybrid:.1%}; components were not trained alone"
    scores = {name: shop.score(held.net, "choice").accuracy for name, held in alone.items()}
    best = max(scores, key=lambda name: scores[name])
    told = f"model-choice accuracy {hybrid:.1%}, best component {best} {scores[best]:.1%}"
    if scores[best] > hybrid and shop.recipe.selection.weigh_home:
        return best, told
    return "hybrid", told


def finish(shop: Workshop, metrics: dict[str, Any], tuned: Trained, alone: dict[str, Trained]) -> None:
    """Export, then write metrics and report; metrics.json is what marks the run as complete."""
    chosen = tuned if metrics["exported"] == "hybrid" else alone[metrics["exported"]]
    folder = shop.folder
    write_json(folder.root / ".metrics.json", metrics)
    card = model_card(folder.root, metrics)
    if not folder.hybrid.exists():
        assert isinstance(chosen.net, PreTrainedModel)
        export(chosen.net, tokenizer(shop.task), folder.hybrid, card)
    (folder.root / ".metrics.json").replace(folder.metrics)
    write_report(folder.root)


def conclude(folder: RunFolder, console: Console) -> Result:
    """Show the table and say where things are."""
    metrics = read_json(folder.metrics)
    if not isinstance(metrics, dict) or "rows" not in metrics:
        raise BadFile(folder.metrics, "not the metrics of a run")
    architecture = Architecture.load(folder.architecture)
    console.print(comparison(metrics["rows"], title=f"{metrics['task']}, test split"))
    console.print(f"path: {metrics['words']}", highlight=False, soft_wrap=True)
    console.print(f"exported: {metrics['exported']} ({metrics['exported_reason']})", highlight=False, soft_wrap=True)
    for label, place in {
        "hybrid": folder.hybrid,
        "report": folder.root / "report.html",
        "metrics": folder.metrics,
        "alphas": folder.alphas,
    }.items():
        console.print(f"  {label:8}{place}", highlight=False, soft_wrap=True)
    return Result(folder.root, architecture, metrics)


def _check_same(recipe: Recipe, folder: RunFolder) -> None:
    """Raises ManticoreError if the recipe given now differs from that of the run to be resumed."""
    held = asdict(resolve([read_yaml(folder.recipe)], "auto"))
    given = asdict(replace(recipe))
    for key in held:
        if held[key] != given[key]:
            raise ManticoreError(
                f"{folder.root} was started with another recipe: '{key}' differs; "
                "resume with the same flags, or choose another --out"
            )
