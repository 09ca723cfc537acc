"""A trial is what its result depends on: nothing else changes its key, and none of that is left out."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from manticore.config.recipe import Recipe
from manticore.experiment.environment import setup_hardware
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.run_dir import RunDir
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.studies import trial
from manticore.studies.baselines import arm_kinds, nearest_depth
from manticore.studies.store import key_of
from manticore.studies.study import Study
from manticore.studies.trial import DIVERGED, TrialRunner
from manticore.tasks.catalog import load_task
from manticore.tasks.language.task import LanguageTask
from manticore.tasks.options import TaskOptions
from manticore.training.metrics import ACCURACY, BITS, Metric
from manticore.training.modules import TrainModule
from manticore.training.scoring import Score
from manticore.utils import assets
from tests.helpers.model_folders import model_folder
from tests.helpers.pico import component
from tests.helpers.pico_study import recipe
from tests.helpers.trained_tokenizers import reader


def key(of: Recipe, kind: str = "mamba alone", data: str = "data") -> str:
    """The key of a side's trial with seed 0."""
    study = Study(of, data)
    sides = [study.hybrid_arm("mamba"), study.component_arm("mamba"), *study.baseline_arms("mamba")]
    return key_of(study.trial(next(side for side in sides if side.name == kind), 0, 0.001))


def test_what_a_contender_does_not_read_is_not_in_its_trial() -> None:
    plain = recipe()
    other = replace(plain, search=replace(plain.search, entropy_weight=0.7))
    assert key(other) == key(plain)
    assert key(other, "hybrid") != key(plain, "hybrid")
    elsewhere = replace(
        plain, run=replace(plain.run, threads=2, log_every=3), task=replace(plain.task, cache_dir="/elsewhere")
    )
    for kind in ("mamba alone", "hybrid", "hub", "striped"):
        assert key(elsewhere, kind) == key(plain, kind)
    tuned, search = plain.finetune, plain.search
    cheap = replace(search, batch_size=search.batch_size // 2)
    longer = replace(tuned, init="supernet", steps=tuned.steps + 3)
    parted = replace(plain, search=cheap, finetune=longer)
    assert Study(parted, "data").steps == Study(plain, "data").steps
    for kind in ("mamba alone", "striped", "uniform mixture"):
        assert key(parted, kind) == key(plain, kind)
    assert key(parted, "hybrid") != key(plain, "hybrid")
    settled = replace(plain, space=replace(plain.space, base="mamba"))
    for kind in ("mamba alone", "hybrid", "uniform mixture"):
        assert key(settled, kind) == key(plain, kind), "base is in the terms"
    many = replace(plain, study=replace(plain.study, seeds=9, paths=True))
    assert key(many, "hybrid") == key(plain, "hybrid")


def test_what_it_reads_is() -> None:
    plain = recipe()
    assert key(plain, data="other") != key(plain)
    wider = replace(plain.scratch, attention=replace(plain.scratch.attention, width=32))
    assert key(replace(plain, scratch=wider)) != key(plain)
    assert key(replace(plain, finetune=replace(plain.finetune, steps=5))) != key(plain)
    larger = replace(plain, selection=replace(plain.selection, max_parameters=None))
    assert (key(larger, "hybrid"), key(larger)) != (key(plain, "hybrid"), key(plain))
    assert key(larger) == key(plain)


def test_other_weights_in_a_local_folder_are_another_trial(tmp_path: Path) -> None:
    for name in ("gpt2", "mamba"):
        component(name).model.save_pretrained(tmp_path / name)
    space = SearchSpace([tmp_path / name for name in ("gpt2", "mamba")], stages=2)
    before = key(replace(recipe(), space=space))
    model = component("mamba").model
    with torch.no_grad():
        next(model.parameters()).add_(1.0)
    model.save_pretrained(tmp_path / "mamba")
    assert key(replace(recipe(), space=space)) != before


def test_where_data_and_weights_lie_is_no_part_of_a_trial(tmp_path: Path) -> None:
    plain, folders = recipe(), [tmp_path / "here", tmp_path / "there"]
    for name in ("gpt2", "mamba"):
        component(name).model.save_pretrained(folders[0] / name)
    shutil.copytree(folders[0], folders[1])
    held = [
        replace(
            plain,
            task=replace(plain.task, name="text", data_dir=str(folder)),
            space=SearchSpace([folder / name for name in ("gpt2", "mamba")], stages=2),
        )
        for folder in folders
    ]
    assert key(held[0]) == key(held[1])
    turned = replace(held[0], space=replace(held[0].space, components=held[0].space.components[::-1]))
    assert key(turned) != key(held[0])


def test_other_weights_under_a_name_of_the_shelf_are_another_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = replace(recipe(), space=SearchSpace(["gpt-neo-nano", "mamba-nano"], stages=2))
    before = key(held)
    shutil.copytree(assets.shelf("models"), tmp_path / "models")
    monkeypatch.setattr(assets, "shelf", lambda kind: tmp_path / kind)
    assert key(held) == before
    component("mamba").model.save_pretrained(tmp_path / "models" / "mamba-nano")
    assert key(held) != before


def test_the_digest_is_of_examples_and_splits() -> None:
    options = recipe().task
    one, same = load_task(options), load_task(replace(options, workers=1))
    assert one.fingerprint() == same.fingerprint()
    assert load_task(replace(options, seed=1)).fingerprint() != one.fingerprint()
    assert load_task(replace(options, val=31)).fingerprint() != one.fingerprint()
    splits = same.splits()
    labels = np.array(splits.test.labels)
    labels.flat[0] += 1
    object.__setattr__(splits.test, "labels", labels)
    assert same.fingerprint() != one.fingerprint()


def test_the_digest_of_text_is_of_documents_whoever_reads_them() -> None:
    options = TaskOptions("text@length=32,passage=2000", preset="cpu", train=12, val=4, test=4)
    one, same = load_task(options), load_task(replace(options, workers=1))
    assert isinstance(one, LanguageTask)
    assert one.fingerprint() == same.fingerprint() == one.with_tokenizer(reader(300)).fingerprint()
    for other in (
        replace(options, seed=1),
        replace(options, val=3),
        replace(options, name="text@length=16,passage=2000"),
        replace(options, name="text@length=32,passage=1900"),
    ):
        assert load_task(other).fingerprint() != one.fingerprint(), other


def test_a_tokenizer_and_the_alignment_are_of_a_trial_that_reads_text(tmp_path: Path) -> None:
    folders = [model_folder(tmp_path / name, family) for name, family in (("gpt", "gpt_neo"), ("mamba", "mamba"))]
    held = replace(recipe(), space=SearchSpace(folders, stages=2))

    def keys(of: Recipe, metric: Metric) -> list[str]:
        study = Study(of, "data", metric)
        sides = [study.hybrid_arm("mamba"), study.path_arm("mamba", ["gpt", "mamba"]), study.component_arm("mamba")]
        return [key_of(study.trial(side, 0, 0.001)) for side in sides]

    more = replace(held, align=replace(held.align, tokens=512))
    assert [a == b for a, b in zip(keys(held, BITS), keys(more, BITS), strict=True)] == [False, False, True]
    assert keys(held, ACCURACY) == keys(more, ACCURACY)
    before = {metric: keys(held, metric) for metric in (ACCURACY, BITS)}
    reader(300).save_pretrained(folders[0])
    assert keys(held, ACCURACY) == before[ACCURACY]
    assert not set(keys(held, BITS)) & set(before[BITS])


def test_a_trial_is_trained_once_and_tested_on_what_was_trained(tmp_path: Path) -> None:
    study = Study(recipe(), "data")
    held = study.trial(study.hybrid_arm("mamba"), 0, 0.001)
    work = TrialRunner(tmp_path, study.recipe.run)
    first = work(held)
    assert len(first["path"]) == 2
    assert first["parameters"] > 0
    assert first["tokens"] == 10 * 8 * 6  # 4 + 2 + 4 steps of 8 sequences of 6 tokens
    weights = sorted((work.model_dir(held) / "checkpoints").glob("*.safetensors"))
    assert [file.stem for file in weights] == ["fine-tune", "search"]
    changed = {file: file.stat().st_mtime_ns for file in weights}
    assert work(held)["score"] == first["score"]
    assert {file: file.stat().st_mtime_ns for file in weights} == changed
    result = work(trial.test_trial(held))
    assert set(result["before"]) == {"soft", "discrete"}
    assert result["score"]["count"] == 32
    assert not work.model_dir(held).exists()
    again = work(trial.test_trial(held))  # the model is gone: it is trained anew, and is the same
    assert again == result


@pytest.mark.parametrize(("name", "exported"), [("hybrid", 1), ("mamba alone", 1), ("uniform mixture", 0), ("soft", 0)])
def test_what_is_tested_has_been_exported_and_read_again(
    name: str, exported: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(recipe(baselines=["components", "uniform", "soft"]), "data")
    sides = [study.hybrid_arm("mamba"), study.component_arm("mamba"), *study.baseline_arms("mamba")]
    side = next(side for side in sides if name in (side.name, side.kind))
    folders: list[Path] = []
    scored: list[nn.Module] = []
    write, score = trial.save_checkpoint, Experiment.score

    def noted(self: Experiment, net: nn.Module, *rest: Any) -> Score:
        scored.append(net)
        return score(self, net, *rest)

    monkeypatch.setattr(
        trial, "save_checkpoint", lambda net, exp, to, card: folders.append(to) or write(net, exp, to, card)
    )
    monkeypatch.setattr(Experiment, "score", noted)
    TrialRunner(tmp_path, study.recipe.run)(trial.test_trial(study.trial(side, 0, 0.001)))
    assert len(folders) == exported
    if exported:
        assert scored[-1].config._name_or_path == str(folders[0])  # type: ignore[union-attr]
    else:
        assert isinstance(scored[-1], Supernet)


@pytest.mark.parametrize("init", ["supernet", "components"])
def test_the_soft_contender_is_fine_tuned_with_the_alphas_that_were_found(init: str, tmp_path: Path) -> None:
    plain = recipe()
    told = replace(plain, finetune=replace(plain.finetune, init=init))
    (tmp_path / "checkpoints").mkdir()
    exp = Experiment(told, load_task(told.task), setup_hardware(told.run), RunDir(tmp_path), Console(quiet=True))
    begun: list[dict[str, torch.Tensor]] = []
    train = exp.train

    def seen(phase: str, make: Callable[[], TrainModule], *rest: Any) -> PhaseResult:
        def noted() -> TrainModule:
            module = make()
            begun.append({name: value.clone() for name, value in module.net.state_dict().items()})
            return module

        return train(phase, noted, *rest)

    exp.train = seen  # type: ignore[method-assign]
    entry = arm_kinds["soft"](exp, {"base": "mamba"})
    found, tuned = (phase.net.state_dict() for phase in entry.phases)
    drawn = exp.supernet("mamba", "softmax", "search").state_dict()
    assert torch.equal(tuned["alpha"], begun[1]["alpha"])
    assert not torch.equal(tuned["alpha"], drawn["alpha"])
    fixed = [name for name in drawn if name != "alpha"]
    assert all(torch.equal(begun[1][name], drawn[name]) for name in fixed) == (init == "components")
    assert not any(torch.equal(found[name], drawn[name]) for name in fixed if name.endswith("proj.weight"))


def test_operations_are_counted_as_they_are_spent(tmp_path: Path) -> None:
    study = Study(recipe(), "data")
    alone = TrialRunner(tmp_path, study.recipe.run)(study.trial(study.component_arm("mamba"), 0, 0.001))
    assert alone["flops"] == pytest.approx(3 * alone["tokens"] * alone["flops_per_token"])
    hybrid = TrialRunner(tmp_path, study.recipe.run)(study.trial(study.hybrid_arm("mamba"), 0, 0.001))
    soft = TrialRunner(tmp_path, study.recipe.run)(study.trial(study.baseline_arms("mamba")[2], 0, 0.001))
    assert hybrid["tokens"] == alone["tokens"] == soft["tokens"]
    assert hybrid["flops"] < soft["flops"]
    assert soft["flops"] == pytest.approx(3 * soft["tokens"] * soft["flops_per_token"])


def test_a_loss_that_is_no_number_is_the_worst_result_not_the_end(tmp_path: Path) -> None:
    study = Study(recipe(), "data")
    work = TrialRunner(tmp_path, study.recipe.run)
    assert work(study.trial(study.component_arm("mamba"), 0, 1e30)) == DIVERGED
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("wanted", "layers"), [(0, 2), (200, 2), (250, 2), (251, 3), (449, 4), (451, 5)])
def test_depth_of_a_designed_hybrid(wanted: float, layers: int) -> None:
    assert nearest_depth(lambda layers: 100 * layers, wanted) == layers


def test_one_task_serves_all_trials_of_a_process() -> None:
    options = TaskOptions(name="mad-compression@vocab_size=4,seq_len=6", preset="cpu", train=96, val=32, test=32)
    assert trial._load_task(options) is trial._load_task(options)
