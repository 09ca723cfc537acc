"""Search and fine-tuning by an ordinary Trainer: strategies, steps, flags, checkpoints, callbacks and loggers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import lightning
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, GradientAccumulationScheduler, LearningRateMonitor
from lightning.pytorch.callbacks import ModelCheckpoint as Checkpoints
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset, random_split

import manticore as mc
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.relaxations import relaxations
from manticore.nas.searchable import MixedOpModel
from manticore.nas.strategies import (
    Darts,
    Halving,
    HeadWise,
    PathStrategy,
    SampledSupernet,
    Simultaneous,
    Strategy,
    TrainingFree,
    strategies,
)
from manticore.tasks.dataset import Batch
from manticore.training.callbacks import AlphaRecord
from manticore.training.modules import TrainModule
from tests.helpers.composed_strategy import RELAXATION, Composed, noisy_softmax
from tests.helpers.mixed_model import classifier
from tests.helpers.random_task import random_task
from tests.helpers.search_module import LABELS, batch, collate, examples, net, skip_if_refused

STEPS = 8
SETTINGS: dict[str, Any] = {"warmup_steps": 2, "weights": {"lr": 1e-2, "warmup_steps": 2}, "batch_size": 4}

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Lightning's advice on workers and loggers


class Streams:
    """A data loader of a user's own: batches of every stream, an epoch of five."""

    def __init__(self, names: tuple[str, ...] = ("weights", "alphas"), count: int = 5) -> None:
        self.names, self.count = names, count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        for step in range(self.count):
            yield {name: batch(2 * step + index, 4) for index, name in enumerate(self.names)}


def trainer(folder: Path, **flags: Any) -> lightning.Trainer:
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "logger": False}
    defaults = {**quiet, "enable_checkpointing": "callbacks" in flags, "default_root_dir": folder}
    return lightning.Trainer(**{**defaults, **flags})


@pytest.fixture(autouse=True)
def noise() -> Iterator[None]:
    """Registers the relaxation and the strategy of `Composed`."""
    relaxations.register(RELAXATION)(noisy_softmax)
    yield
    relaxations._items.pop(RELAXATION)


TRAINING = [strategies[name] for name in strategies if not issubclass(strategies[name], TrainingFree | PathStrategy)]


class Simplex(lightning.Callback):
    """Law 5: the mixing weights of every layer are on the simplex after every step."""

    steps = 0

    def on_train_batch_end(self, fitted: Any, module: Any, *_: Any) -> None:
        self.steps += 1
        weights_SK = module.net.weights().detach()
        assert weights_SK.min() >= 0
        torch.testing.assert_close(weights_SK.sum(-1), torch.ones(2))


@pytest.mark.parametrize("strategy", [*TRAINING, Composed], ids=lambda kind: kind.__name__)
def test_every_strategy_that_trains_searches_a_model_of_mixed_ops(strategy: type[Strategy], tmp_path: Path) -> None:
    model = classifier()
    skip_if_refused(strategy, MixedOpModel(model))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    module = mc.SearchModule(model, strategy, alphas={"lr": 0.2}, **SETTINGS)
    simplex = Simplex()
    trainer(tmp_path, max_steps=STEPS, callbacks=[simplex]).fit(module, Streams())
    assert simplex.steps == STEPS
    after = model.state_dict()
    moved = [not torch.equal(before[f"mixers.{layer}.alpha"], after[f"mixers.{layer}.alpha"]) for layer in (0, 1)]
    assert moved == [not issubclass(strategy, SampledSupernet)] * 2
    assert not torch.equal(before["head.weight"], after["head.weight"])
    assert module.step_count == STEPS
    assert mc.nn.discretize(model) == module.path


def test_a_strategy_that_trains_paths_by_themselves_is_refused() -> None:
    with pytest.raises(ManticoreError, match="strategy 'halving' trains each path by itself"):
        mc.SearchModule(classifier(), Halving, **SETTINGS)


def test_a_sampled_path_trains_its_candidates_alone(tmp_path: Path) -> None:
    model = classifier()
    module = mc.SearchModule(model, "darts", sample_paths=True, **SETTINGS)
    assert module.samples_paths
    paths: list[Any] = []
    draw = module.net.sample
    module.net.sample = lambda: paths.append(draw()) or paths[-1]
    trainer(tmp_path, max_steps=STEPS).fit(module, Streams())
    assert len(paths) == STEPS
    assert module.flops > 0


@pytest.mark.parametrize("strategy", ["simultaneous", Simultaneous, Simultaneous()], ids=["name", "class", "object"])
def test_a_strategy_is_a_name_a_class_or_an_object(strategy: Any, tmp_path: Path) -> None:
    module = mc.SearchModule(classifier(), strategy, steps=2, warmup_steps=0)
    trainer(tmp_path).fit(module, Streams(("weights",)))
    assert module.step_count == 2


def test_one_stream_needs_no_name(tmp_path: Path) -> None:
    loader = DataLoader(examples(12), batch_size=4, collate_fn=collate)  # type: ignore[arg-type]
    module = mc.SearchModule(classifier(), "simultaneous", warmup_steps=0)
    trainer(tmp_path, max_epochs=1).fit(module, loader)
    assert (module.step_count, module.steps) == (3, 3)
    with pytest.raises(ManticoreError, match=r"reads 2 streams .* \{'weights': loader, 'alphas': loader\}"):
        trainer(tmp_path, max_epochs=1).fit(mc.SearchModule(classifier(), "darts", warmup_steps=0), loader)


def test_a_loss_of_ones_own_gets_the_model_and_the_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows = TensorDataset(torch.randint(3, 20, (32, 6)), torch.randint(LABELS, (32,)))
    seen = []

    def loss(model: Any, rows: list[Tensor]) -> Tensor:
        seen.append(model)
        ids_BL, labels_B = rows
        return F.cross_entropy(model(ids_BL), labels_B)

    model = classifier()
    module = mc.SearchModule(model, "darts", loss=loss, warmup_steps=0)
    weights, alphas = (DataLoader(half, batch_size=4) for half in random_split(rows, [16, 16]))
    trainer(tmp_path, max_epochs=1).fit(module, {"weights": weights, "alphas": alphas})
    assert seen == [model] * 8
    assert module.tokens == 8 * 4 * 6


def mean_square(model: Any, rows: list[Tensor]) -> Tensor:
    logits: Tensor = model(rows[0])
    return logits.square().mean()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (None, "without loss= a batch is a mapping with input_ids, attention_mask, labels, not a list of Tensor"),
        (lambda model, rows: model(rows[0]), r"loss= must return a scalar tensor, .* not a tensor of shape \(4, 5\)"),
        (lambda model, rows: 1.5, r"loss= must return a scalar tensor, such as a mean, not 1\.5"),
        (lambda model, rows: torch.tensor(1.0), "the loss does not depend on the parameters that are trained"),
    ],
)
def test_a_loss_that_cannot_be_trained_is_refused_in_one_line(loss: Any, message: str, tmp_path: Path) -> None:
    rows = DataLoader(TensorDataset(torch.randint(3, 20, (8, 6)), torch.zeros(8)), batch_size=4)
    with pytest.raises(ManticoreError, match=message):
        trainer(tmp_path, max_steps=1).fit(mc.FinetuneModule(classifier(), loss=loss), rows)


class Shifted(nn.Module):
    """Takes its ids under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = classifier()

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.inner(ids)
        return out


class Listed(Shifted):
    """Returns a list."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> list[Tensor]:  # type: ignore[override]
        return [self.inner(input_ids)]


def test_a_model_that_does_not_take_a_batch_is_refused() -> None:
    for kind in (mc.SearchModule, mc.FinetuneModule):
        with pytest.raises(ManticoreError, match=r"input_ids and attention_mask, and Shifted\.forward has no"):
            kind(Shifted(), steps=4).loss(batch())
        with pytest.raises(ManticoreError, match="must return logits, or an output that has them, not a list"):
            kind(Listed(), steps=4).loss(batch())
        with pytest.raises(TypeError):
            kind(Shifted(), steps=4, loss=lambda model, rows: model(rows, 3)).loss(batch())


def test_a_record_of_alphas_is_of_a_search(tmp_path: Path) -> None:
    record = AlphaRecord(tmp_path / "alphas.jsonl")
    with pytest.raises(ManticoreError, match="AlphaRecord records a SearchModule; FinetuneModule has no search"):
        trainer(tmp_path, callbacks=[record]).fit(mc.FinetuneModule(classifier(), steps=2), Streams(("weights",)))


def test_labels_of_another_shape_than_the_logits_are_refused() -> None:
    odd = {**batch(), "labels": batch()["input_ids"]}
    with pytest.raises(ManticoreError, match=r"returns logits of shape \(\d+, 5\) for labels of shape \(\d+, \d+\)"):
        mc.SearchModule(classifier(), "darts", steps=4).loss(odd)
    with pytest.raises(ManticoreError, match="loss= is a function from the model and a batch to a scalar, not 3"):
        mc.SearchModule(classifier(), "darts", loss=3)  # type: ignore[arg-type]


ROWS = TensorDataset(torch.arange(96).view(16, 6) % 20)


def subsets(first: range, second: range) -> dict[str, DataLoader[Any]]:
    return {"weights": DataLoader(Subset(ROWS, first), 4), "alphas": DataLoader(Subset(ROWS, second), 4)}


def samplers(first: range, second: range) -> dict[str, DataLoader[Any]]:
    return {
        "weights": DataLoader(ROWS, 4, sampler=SubsetRandomSampler(first)),
        "alphas": DataLoader(ROWS, 4, sampler=SubsetRandomSampler(second)),
    }


@pytest.mark.parametrize("halves", [subsets, samplers])
def test_a_bilevel_search_on_the_same_examples_is_refused(halves: Any, tmp_path: Path) -> None:
    def fit(loaders: Any) -> None:
        module = mc.SearchModule(classifier(), "darts", loss=mean_square, warmup_steps=0)
        trainer(tmp_path, max_steps=1).fit(module, loaders)

    fit(halves(range(8), range(8, 16)))
    by_batch = {"weights": [[0, 1]], "alphas": [[2, 3]]}
    fit({name: DataLoader(ROWS, batch_sampler=batches) for name, batches in by_batch.items()})
    loader = DataLoader(ROWS, 4)
    for same in (halves(range(9), range(8, 16)), {"weights": loader, "alphas": loader}):
        with pytest.raises(ManticoreError, match="the loaders of 'weights' and 'alphas' read the same examples"):
            fit(same)


def test_a_checkpoint_is_continued_by_its_own_strategy(tmp_path: Path) -> None:
    loaders, options = subsets(range(8), range(8, 16)), {"loss": mean_square, "steps": 4}
    first = trainer(tmp_path, max_steps=2)
    first.fit(mc.SearchModule(classifier(), "darts", warmup_steps=1, **options), loaders)
    first.save_checkpoint(file := tmp_path / "search.ckpt")
    again = mc.SearchModule(classifier(), Darts(), warmup_steps=1, **options)
    trainer(tmp_path).fit(again, loaders, ckpt_path=file)
    assert again.step_count == 4
    for module in (
        mc.SearchModule(classifier(), "simultaneous", warmup_steps=1, **options),
        mc.FinetuneModule(classifier(), **options),
    ):
        with pytest.raises(ManticoreError, match="is of a training with strategy 'darts', which a training with"):
            trainer(tmp_path).fit(module, loaders["weights"], ckpt_path=file)
    for model, message in (
        (
            classifier(layers=[("attention", "mamba")]),
            r"net.model.mixers.0.alpha has the shape \(3,\), not \(2,\)",
        ),
        (nn.Sequential(mc.nn.MixedOp([nn.Linear(2, 2), nn.Identity()])), "it has no net.model.0.alpha"),
    ):
        with pytest.raises(ManticoreError, match=f"the checkpoint is of another model: {message}"):
            trainer(tmp_path).fit(mc.SearchModule(model, "darts", **options), loaders, ckpt_path=file)
    state = torch.load(file, weights_only=False)
    del state["manticore"]
    torch.save(state, file)
    with pytest.raises(ManticoreError, match="the checkpoint is of another module"):
        trainer(tmp_path).fit(again, loaders, ckpt_path=file)


def test_a_loss_of_ones_own_for_a_supernet_runs_the_path_it_is_given(tmp_path: Path) -> None:
    supernet = net()
    module = mc.SearchModule(
        supernet, "darts", steps=4, loss=lambda model, rows: model(rows["input_ids"]).square().mean()
    )
    path = ["recurrent", "attention"]
    expected = supernet(batch()["input_ids"], path=path).square().mean()
    assert torch.equal(module.loss(batch(), path=path), expected)


class Scores(TrainingFree):
    """Sets alphas from the losses of single candidates."""

    batches: ClassVar[int] = 3

    def alphas(self, supernet: Any, batches: Any) -> Tensor:
        self.seen = batches
        return torch.arange(supernet.alpha_table.numel()).view_as(supernet.alpha_table).float()


@pytest.mark.parametrize("model", [net, classifier], ids=["supernet", "mixed ops"])
def test_a_strategy_that_trains_nothing_sets_the_alphas_and_ends(model: Any, tmp_path: Path) -> None:
    searched = model()
    before = {name: value.clone() for name, value in searched.state_dict().items() if "alpha" not in name}
    strategy = Scores()
    module = mc.SearchModule(searched, strategy, steps=50)
    trainer(tmp_path).fit(module, Streams(("alphas",), 50))
    assert len(strategy.seen) == module.step_count == 3
    trainer(tmp_path, max_epochs=1).fit(mc.SearchModule(model(), short := Scores()), Streams(("alphas",), 2))
    assert len(short.seen) == 2
    assert module.net.alpha_table[0].tolist()[:2] == [0.0, 1.0]
    assert all(torch.equal(before[name], searched.state_dict()[name]) for name in before)


def test_zero_shot_needs_a_base_model() -> None:
    with pytest.raises(ManticoreError, match="strategy 'zero-shot' compares donors with an aligned base model, which"):
        mc.SearchModule(classifier(), "zero-shot")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"accumulate_grad_batches": 4}, "accumulate_grad_batches does not work .* use run.micro_batch_size"),
        ({"gradient_clip_val": 1.0}, "use search.weights.max_grad_norm"),
        ({"precision": "16-true"}, "precision=16-true keeps .*weights in 16 bits, .* use bf16-mixed"),
        ({"plugins": [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]}, "use bf16-mixed"),
        ({"callbacks": [GradientAccumulationScheduler({0: 2})]}, "Scheduler does not work .* run.micro_batch_size"),
        ({"strategy": "ddp", "devices": 1}, "strategy=DDPStrategy is for several devices; a search runs on one"),
        ({"max_steps": 20}, r"max_steps=20\) is more than the 8 steps .* pass steps=20"),
    ],
)
@pytest.mark.parametrize("kind", ["search", "fine-tune"])
def test_a_flag_that_cannot_work_names_the_option_that_does(
    flags: dict[str, Any], message: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))  # ddp sets variables that other tests must not see
    if kind == "search":
        module: TrainModule = mc.SearchModule(classifier(), "darts", steps=STEPS, **SETTINGS)
    else:
        module = mc.FinetuneModule(classifier(), steps=STEPS)
    before = [p.clone() for p in module.parameters()]
    with pytest.raises(ManticoreError, match=message) as refused:
        trainer(tmp_path, **flags).fit(module, Streams())
    assert "\n" not in str(refused.value)
    assert all(torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


def test_options_are_checked() -> None:
    with pytest.raises(ManticoreError, match="Did you mean 'steps'"):
        mc.SearchModule(classifier(), "darts", step=3)
    with pytest.raises(ManticoreError, match="Did you mean 'darts'"):
        mc.SearchModule(classifier(), "dart")
    with pytest.raises(ManticoreError, match="lr must be a number above 0"):
        mc.FinetuneModule(classifier(), {"lr": -1.0})
    for make, message in (
        (lambda: mc.SearchModule(3), "a search takes a supernet, or a torch module with MixedOps, not 3"),
        (lambda: mc.SearchModule(classifier(), 3), "a strategy is a name, or a Strategy or its class, not 3"),
        (lambda: mc.SearchModule(classifier(), nn.Linear), "a strategy is a name, or a Strategy or its class, not"),
        (lambda: mc.SearchModule(classifier(), Darts, strategy_options={"a": 1}), "strategy 'darts' has no options"),
        (lambda: mc.SearchModule(classifier(), HeadWise(2), strategy_options={"a": 4}), "'head-wise' is an object and"),
        (lambda: mc.SearchModule(classifier(), "darts", 3), "options are SearchOptions or a mapping, not 3"),
        (lambda: mc.SearchModule(classifier(), "darts", loop=3), "'loop' has keys of its own, it cannot be 3"),
        (lambda: mc.SearchModule(classifier(), "darts", weights=3), "'weights' has keys of its own, it cannot be 3"),
        (lambda: mc.FinetuneModule(3), "a torch module is trained, not 3"),
        (lambda: mc.FinetuneModule(classifier(), 3), "'weights' has keys of its own, it cannot be 3"),
        (lambda: mc.FinetuneModule(classifier(), steps=0), "steps must be a whole number of at least 1, got 0"),
        (lambda: mc.FinetuneModule(classifier(), loop={"micro_batch_size": -1}), "loop.micro_batch_size must be a"),
    ):
        with pytest.raises(ManticoreError, match=message):
            make()
    given = mc.SearchModule(classifier(), options={"strategy": "simultaneous", "steps": 8, "weights": {"lr": 0.5}})
    assert (given.steps, given.options.warmup_steps, type(given.strategy)) == (8, 2, Simultaneous)
    with pytest.raises(ManticoreError, match=r"nothing to search: Linear has no mc\.nn\.MixedOp"):
        mc.SearchModule(nn.Linear(2, 2), "darts")


def test_the_schedule_is_as_long_as_the_trainer_trains(tmp_path: Path) -> None:
    module = mc.SearchModule(classifier(), "darts")
    fitted = trainer(tmp_path, max_steps=STEPS)
    fitted.fit(module, Streams())
    assert (module.steps, module.options.warmup_steps, fitted.global_step) == (STEPS, STEPS // 4, STEPS)
    assert module.progress == 1.0
    by_epochs = mc.FinetuneModule(classifier())
    trainer(tmp_path, max_epochs=2).fit(by_epochs, Streams())
    assert (by_epochs.steps, by_epochs.step_count) == (10, 10)
    endless = mc.FinetuneModule(classifier())
    with pytest.raises(ManticoreError, match="how many steps"):
        trainer(tmp_path, max_epochs=-1).fit(endless, Streams())


def test_the_module_ends_the_training_after_its_steps_and_can_be_trained_again(tmp_path: Path) -> None:
    module = mc.SearchModule(classifier(), "darts", steps=7, warmup_steps=1)
    for _ in range(2):
        trainer(tmp_path, max_epochs=100).fit(module, Streams())
        assert module.step_count == 7


def test_bf16_keeps_mixing_weights_in_float32(tmp_path: Path) -> None:
    module = mc.SearchModule(net(), "darts", steps=4, **SETTINGS)
    trainer(tmp_path, precision="bf16-mixed").fit(module, Streams())
    weights = module.net.weights()
    assert weights.dtype == torch.float32
    assert weights.sum(-1).tolist() == pytest.approx([1.0, 1.0])
    assert module.step_count == 4


def test_alphas_are_not_trained_in_half_precision(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match="precision=bf16-true keeps alphas and weights in 16 bits"):
        trainer(tmp_path, precision="bf16-true").fit(mc.SearchModule(net(), "darts", steps=4, **SETTINGS), Streams())
    hybrid = mc.FinetuneModule(classifier(), steps=2)
    trainer(tmp_path, precision="bf16-true").fit(hybrid, Streams(("weights",)))
    assert hybrid.step_count == 2


@pytest.fixture(scope="module")
def task() -> Any:
    return random_task()


class Phases(lightning.Callback):
    """Records the phase and the metrics that a callback sees."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, set[str]]] = []

    def on_train_batch_end(self, fitted: Any, module: Any, *_: Any) -> None:
        self.seen.append((module.phase, set(fitted.callback_metrics)))


def test_callbacks_and_loggers_read_the_phase_and_the_losses(task: Any, tmp_path: Path) -> None:
    logger, phases = CSVLogger(tmp_path, name="logs"), Phases()
    record = AlphaRecord(tmp_path / "alphas.jsonl")
    module = mc.SearchModule(classifier(), "darts", steps=STEPS, **SETTINGS)
    fitted = trainer(tmp_path, logger=logger, log_every_n_steps=2, callbacks=[phases, record, LearningRateMonitor()])
    fitted.fit(module, mc.SearchData(task))
    assert [phase for phase, _ in phases.seen] == ["search"] * STEPS
    assert phases.seen[-1][1] >= {"loss", "alpha_loss"}
    assert "val_loss" in fitted.callback_metrics
    assert len((tmp_path / "alphas.jsonl").read_text().splitlines()) == STEPS - 2
    rows = (Path(logger.log_dir) / "metrics.csv").read_text().splitlines()
    assert "alpha_loss" in rows[0]
    assert len(rows) >= 1 + STEPS // 2


def test_a_callback_can_stop_the_training(task: Any, tmp_path: Path) -> None:
    module = mc.FinetuneModule(classifier(), {"lr": 1e-9}, steps=40)
    stop = EarlyStopping("val_loss", patience=1, mode="min", min_delta=1.0)
    fitted = trainer(tmp_path, callbacks=[stop], val_check_interval=2)
    fitted.fit(module, mc.SearchData(task, batch_size=4))
    assert module.step_count < 10


@pytest.mark.parametrize("kind", ["supernet", "mixed ops", "fine-tune"])
@pytest.mark.parametrize("strategy", [Darts, Composed])
def test_a_resumed_training_equals_an_uninterrupted_one(
    kind: str, strategy: type[Strategy], task: Any, tmp_path: Path
) -> None:
    if kind == "fine-tune" and strategy is Composed:
        pytest.skip("a fine-tuning has no strategy")

    def module() -> TrainModule:
        if kind == "fine-tune":
            hybrid = discretize(net(dropout=0.2), ["recurrent", "attention"])
            return mc.FinetuneModule(hybrid, SETTINGS["weights"], steps=STEPS)
        model = net(dropout=0.2) if kind == "supernet" else classifier(dropout=0.2)
        return mc.SearchModule(model, strategy, steps=STEPS, **SETTINGS)

    def fit(folder: str, seed: int, **more: Any) -> TrainModule:
        checkpoints = Checkpoints(tmp_path / folder, "{step}", every_n_train_steps=3, save_top_k=-1)
        torch.manual_seed(seed)
        trained = module()
        ckpt_path = more.pop("ckpt_path", None)
        torch.manual_seed(seed)
        fitted = trainer(tmp_path, callbacks=[checkpoints], **more)
        fitted.fit(trained, mc.SearchData(task, batch_size=4, seed=1), ckpt_path=ckpt_path)
        trained.moments = [  # type: ignore[assignment]
            value for optimizer in fitted.optimizers for state in optimizer.state.values() for value in state.values()
        ]
        return trained

    whole = fit("whole", 5)
    assert sorted(file.name for file in (tmp_path / "whole").iterdir()) == ["step=3.ckpt", "step=6.ckpt"]
    stopped = fit("stopped", 5, max_steps=4)
    assert stopped.step_count == 4
    resumed = fit("resumed", 77, ckpt_path=tmp_path / "stopped" / "step=3.ckpt")
    assert (resumed.step_count, resumed.tokens, resumed.flops) == (STEPS, whole.tokens, whole.flops)
    expected: Mapping[str, Tensor] = whole.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(whole.moments, resumed.moments, strict=True))  # type: ignore[arg-type]
    other = fit("other", 6).state_dict()
    assert any(not torch.equal(expected[name], value) for name, value in other.items()), "dropout draws random numbers"
