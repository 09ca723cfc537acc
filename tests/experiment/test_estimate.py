"""A long run is announced with its time, from sequences that are timed; nothing of the run changes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from manticore.config.recipe import Recipe
from manticore.experiment import estimate
from manticore.experiment.estimate import (
    Speed,
    format_hours,
    measure_speed,
    print_estimate,
    print_search_estimate,
    search_seconds,
)
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import RunDir
from manticore.experiment.searched import saved_recipe
from manticore.training.trainer import Hardware

pytestmark = pytest.mark.usefixtures("cached")


def open_experiment(recipe: Recipe, console: Console) -> Experiment:
    return Experiment.open(recipe, RunDir(Path()), console)


@pytest.fixture
def exp(pico_run: Path) -> Experiment:
    return open_experiment(saved_recipe(pico_run), Console(quiet=True))


def test_a_search_costs_its_sequences(exp: Experiment) -> None:
    """24 short steps of weights, each on one path, 16 of alphas, 16 of fine-tuning; baselines get as many tokens."""
    speed = Speed(path=1.0, supernet=10.0)
    assert exp.recipe.search.sample_paths
    assert 0.2 < exp.search_length < 0.3, "the recipe searches on shorter expressions"
    matched, finetuned = round(40 * exp.search_length + 16) * 16, 16 * 16
    training = (24 * 16 + 16 * 16 * 10) * exp.search_length + finetuned + 2 * matched + matched * 10 + finetuned
    tests = 200 * (5 + 20)  # hybrid, its discretized form, two components and the random path; two supernets
    validation = 200 * 3
    assert search_seconds(exp, speed) == pytest.approx(training + (tests + validation) / 3)
    doubled = replace(exp, recipe=replace(exp.recipe, finetune=replace(exp.recipe.finetune, steps=32)))
    assert search_seconds(doubled, speed) > search_seconds(exp, speed)


def test_timing_changes_neither_models_nor_random_states(exp: Experiment) -> None:
    def state() -> list[torch.Tensor]:
        return [value.clone() for part in exp.components for value in part.model.state_dict().values()]

    before, modes = state(), [part.model.training for part in exp.components]
    torch.manual_seed(3)
    drawn = torch.rand(4)
    torch.manual_seed(3)
    speed = measure_speed(exp, 4)
    assert torch.equal(torch.rand(4), drawn)
    assert all(torch.equal(old, new) for old, new in zip(before, state(), strict=True))
    assert all(p.grad is None for part in exp.components for p in part.model.parameters())
    assert [part.model.training for part in exp.components] == modes
    assert 0 < speed.path < speed.supernet < 60


def test_a_batch_is_timed_in_its_micro_batches(exp: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    logits_of = estimate.logits_of

    def spy(model: torch.nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        sizes.append(len(batch["labels"]))
        return logits_of(model, batch)

    monkeypatch.setattr(estimate, "logits_of", spy)
    small = replace(exp, recipe=replace(exp.recipe, run=replace(exp.recipe.run, micro_batch_size=3)))
    measure_speed(small, 8)
    assert sizes == [3, 3, 3, 2] * 2, "the first of them to warm up"


@pytest.mark.parametrize(("seconds", "text"), [(3700, "1.0 h"), (9000, "2.5 h"), (35_990, "10 h"), (4e6, "1,111 h")])
def test_hours_are_rounded(seconds: float, text: str) -> None:
    assert format_hours(seconds) == text


def test_whole_batches_are_timed_only_if_the_run_may_be_long(capsys: pytest.CaptureFixture[str]) -> None:
    def announce(first: float, second: float) -> tuple[list[int], str]:
        timed: list[int] = []

        def seconds_at(sequences: int) -> float:
            timed.append(sequences)
            return first if len(timed) == 1 else second

        print_estimate(Console(width=200), Hardware(), 64, seconds_at)
        return timed, capsys.readouterr().out

    assert announce(3599, 1e9) == ([4], "")
    assert announce(9000, 3599) == ([4, 64], "")
    timed, out = announce(9000, 7200)
    assert (timed, out.startswith("estimated time: about 2.0 h on this machine (cpu); ")) == ([4, 64], True)


def test_the_estimate_is_about_what_a_step_takes(pico_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = saved_recipe(pico_run)
    long = replace(recipe, finetune=replace(recipe.finetune, steps=20_000_000))
    exp = open_experiment(long, Console(width=200))
    print_search_estimate(exp)
    match = re.match(r"estimated time: about ([\d,.]+) h on this machine \(cpu\)", capsys.readouterr().out)
    assert match is not None
    record = RunDir(pico_run).finished_phase("fine-tune")
    assert record is not None
    trained = record["seconds"] / record["steps"] * 20_000_000 / 3600  # of one of seven models of this length
    assert 0.05 < float(match[1].replace(",", "")) / (7 * trained) < 20
