"""Law 7: a resumed search equals an uninterrupted one: alphas, weights, both optimizers, random states and data."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

import manticore as mc
from manticore.nas.relaxations import RelaxationContext, relaxations
from manticore.nas.strategies import Darts, PathStrategy, SampledSupernet, Strategy, TrainingFree, strategies
from manticore.pipelines import search as search_pipeline
from manticore.results.search import SearchResult
from manticore.tasks.catalog import tasks
from manticore.training.callbacks import AlphaRecord
from manticore.training.search_module import SearchModule
from tests.helpers.cli import pico_search
from tests.helpers.composed_strategy import RELAXATION, Composed, noisy_softmax
from tests.helpers.ops import CONV, EMA, OPS
from tests.helpers.search_module import STEPS, module, net, skip_if_refused, train
from tests.helpers.toy_task import NAME, QUICK, which_end

pytestmark = pytest.mark.e2e


def kill_when(ready: Callable[[], bool], out: Path, cache: Path, *more: str) -> None:
    """Start the search and SIGKILL it as soon as `ready`."""
    process = pico_search(out, cache, *more)
    while not ready():
        assert process.poll() is None, "the search ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (out / "metrics.json").exists()


def test_a_search_that_is_killed_twice_has_the_same_result(pico_run: Path, shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def past_first_checkpoint() -> bool:
        file = out / "alphas.jsonl"
        return file.exists() and len(file.read_text().splitlines()) >= 5  # step 13; the last state is of step 10

    kill_when(past_first_checkpoint, out, shared / "cache")
    assert (out / "checkpoints" / "search.ckpt").exists()
    kill_when((out / "checkpoints" / "fine-tune.ckpt").exists, out, shared / "cache", "--resume")
    process = pico_search(out, shared / "cache", "--resume")
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    for name in ("alphas.jsonl", "architecture.json", "hybrid/model.safetensors", "hybrid/config.json"):
        assert (out / name).read_bytes() == (pico_run / name).read_bytes(), name
    for file in sorted((pico_run / "checkpoints").glob("*.safetensors")):
        assert (out / "checkpoints" / file.name).read_bytes() == file.read_bytes(), file.name
    resumed, expected = (replace(SearchResult.load(folder), seconds={}) for folder in (out, pico_run))
    assert resumed == expected


class Stop(lightning.Callback):
    """Raises an exception after a step, as in a crash."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: object, searching: SearchModule, *_: object) -> None:
        if searching.step_count == self.step:
            raise InterruptedError(f"stopped at step {self.step}")


@pytest.fixture(autouse=True)
def noise() -> Iterator[None]:
    """Registers the relaxation that `Composed` needs."""
    relaxations.register(RELAXATION)(noisy_softmax)
    yield
    relaxations._items.pop(RELAXATION)


SPACES = {
    "all paths": {},
    "ops and choices of its own": {
        "ops": OPS,
        "skip": True,
        "stages": 2,
        "stage_candidates": {1: ["attention", CONV, EMA], 2: [CONV, EMA, "recurrent"]},
        "shared_stages": [[1, 2]],
        "cuts": {"recurrent": [0, 1, 3]},
    },
}


STEPWISE = [strategies[name] for name in strategies if not issubclass(strategies[name], TrainingFree | PathStrategy)]


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize(
    ("strategy", "stop"), [(Darts, 6), (Composed, 6), *((strategy, 11) for strategy in (*STEPWISE, Composed))]
)
def test_a_resumed_search_equals_an_uninterrupted_one(
    strategy: type[Strategy], stop: int, space: dict[str, Any], tmp_path: Path
) -> None:
    def run(folder: str, *callbacks: lightning.Callback) -> SearchModule:
        supernet = net(strategy.relaxation or "softmax", dropout=0.2, **space)
        skip_if_refused(strategy, supernet)
        searching = module(strategy, supernet)
        record = AlphaRecord(tmp_path / folder / "alphas.jsonl")
        torch.manual_seed(11)
        return train(searching, tmp_path / folder / "checkpoints", [record, *callbacks])

    uninterrupted = run("uninterrupted")
    with pytest.raises(InterruptedError):
        run("resumed", Stop(stop))
    state = torch.load(tmp_path / "resumed" / "checkpoints" / "search.ckpt", weights_only=True)
    assert state["manticore"]["step_count"] == stop - stop % 4
    resumed = run("resumed")
    assert resumed.step_count == uninterrupted.step_count == STEPS
    assert resumed.tokens == uninterrupted.tokens
    expected = uninterrupted.net.state_dict()
    assert all(torch.equal(expected[name], value) for name, value in resumed.net.state_dict().items())
    for moment, reference in zip(_moments(resumed), _moments(uninterrupted), strict=True):
        assert torch.equal(moment, reference)
    if not (tmp_path / "resumed" / "alphas.jsonl").read_text():
        assert issubclass(strategy, SampledSupernet)
    lines = [
        [json.loads(line) for line in (tmp_path / folder / "alphas.jsonl").read_text().splitlines()]
        for folder in ("uninterrupted", "resumed")
    ]
    assert lines[0] == lines[1]


def _moments(searching: SearchModule) -> list[torch.Tensor]:
    states = [optimizer.state for optimizer in searching.trainer.optimizers]
    return [moment for state in states for moments in state.values() for moment in moments.values()]


def test_dropout_makes_the_random_state_matter(tmp_path: Path) -> None:
    """Otherwise the test above would pass without a restored random state."""
    trained = []
    for seed in (1, 2):
        searching = module(supernet=net(dropout=0.2))
        torch.manual_seed(seed)
        trained.append(train(searching, tmp_path / str(seed)).net.state_dict())
    assert any(not torch.equal(trained[0][name], value) for name, value in trained[1].items())


@pytest.fixture
def sharpening() -> Iterator[str]:
    """A relaxation that depends on the progress of the search, and the task of the test."""

    @relaxations.register("sharpening")
    def sharpening(alpha_SK: torch.Tensor, context: RelaxationContext) -> torch.Tensor:
        return (alpha_SK * (1 + 9 * context.progress)).softmax(-1)

    tasks.register(NAME)(which_end)
    yield "sharpening"
    relaxations._items.pop("sharpening")
    tasks._items.pop(NAME)


def test_a_finished_search_is_read_again_with_its_progress(
    sharpening: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights: list[torch.Tensor] = []
    select_path = search_pipeline.select_path

    def record(exp: Any, search: Any) -> list[str]:
        weights.append(search.net.weights().detach())
        return select_path(exp, search)

    monkeypatch.setattr(search_pipeline, "select_path", record)
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba")
    options = {**QUICK, "search": {**QUICK["search"], "relaxation": sharpening}, "baselines": {"components": False}}

    def search() -> mc.Result:
        return mc.search(space, NAME, out=tmp_path / "run", resume=bool(weights), quiet=True, **options)

    search()
    (tmp_path / "run" / "metrics.json").unlink()
    result = search()
    assert torch.equal(weights[0], weights[1]), "resumed after the search, which is not run again"
    assert torch.equal(weights[0], result.supernet().weights())
    assert (weights[0] != 0.5).all()
