"""A trial is everything its result depends on: nothing else changes its key, and nothing of that is left out."""

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
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.run_dir import RunDir
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.studies import trial
from manticore.studies.baselines import arm_kinds, nearest_depth
from manticore.studies.store import key_of
from manticore.studies.study import Arm, Study
from manticore.studies.trial import DIVERGED, TrialRunner
from manticore.tasks.catalog import load_task
from manticore.tasks.options import TaskOptions
from manticore.training.metrics import ACCURACY, BITS, Metric
from manticore.training.scoring import Score
from manticore.utils import assets
from tests.helpers.model_folders import model_folder
from tests.helpers.pico import component
from tests.helpers.pico_study import recipe
from tests.helpers.trained_tokenizers import small_tokenizer


def all_arms(study: Study) -> list[Arm]:
    """The hybrid, Mamba alone, and the other baselines, all with Mamba as base."""
    return [study.hybrid_arm("mamba"), study.component_arm("mamba"), *study.baseline_arms("mamba")]


def key(recipe: Recipe, name: str = "mamba alone", data: str = "data") -> str:
    """The key of an arm's trial with seed 0."""
    study = Study(recipe, data)
    return key_of(study.trial(next(arm for arm in all_arms(study) if arm.name == name), 0, 0.001))


@pytest.mark.parametrize(
    ("init", "name", "rate"),
    [
        ("components", "hybrid", 0.007),
        ("components", "soft hybrid", 0.007),
        ("components", "hub", 0.001),
        ("supernet", "hybrid", 0.001),
    ],
)
def test_a_search_for_the_path_alone_has_its_own_learning_rate(init: Any, name: str, rate: float) -> None:
    plain = recipe()
    plain = replace(
        plain,
        search=replace(plain.search, weights=replace(plain.search.weights, lr=0.007)),
        finetune=replace(plain.finetune, init=init),
        study=replace(plain.study, baselines=("components", "soft", "hub")),
    )
    study = Study(plain, "data")
    of_arm = study.trial(next(arm for arm in all_arms(study) if arm.name == name), 0, 0.001)["recipe"]
    assert of_arm["search"]["weights"]["lr"] == rate
    assert of_arm["finetune"]["weights"]["lr"] == 0.001


def test_settings_an_arm_does_not_use_are_not_in_its_trial() -> None:
    plain = recipe()
    entropy = replace(plain, search=replace(plain.search, entropy_weight=0.7))
    assert key(entropy) == key(plain)
    assert key(entropy, "hybrid") != key(plain, "hybrid")
    elsewhere = replace(
        plain, run=replace(plain.run, threads=2, log_every=3), task=replace(plain.task, cache_dir="/elsewhere")
    )
    for name in ("mamba alone", "hybrid", "hub", "striped"):
        assert key(elsewhere, name) == key(plain, name)
    smaller_search = replace(plain.search, batch_size=plain.search.batch_size // 2)
    longer_finetune = replace(plain.finetune, init="supernet", steps=plain.finetune.steps + 3)
    shifted = replace(plain, search=smaller_search, finetune=longer_finetune)
    assert Study(shifted, "data").steps == Study(plain, "data").steps
    for name in ("mamba alone", "striped", "uniform mixture"):
        assert key(shifted, name) == key(plain, name)
    assert key(shifted, "hybrid") != key(plain, "hybrid")
    with_base = replace(plain, space=replace(plain.space, base="mamba"))
    for name in ("mamba alone", "hybrid", "uniform mixture"):
        assert key(with_base, name) == key(plain, name), "the base is in the arm's config"
    more_seeds = replace(plain, study=replace(plain.study, seeds=9, paths=True))
    assert key(more_seeds, "hybrid") == key(plain, "hybrid")
    exports_best = replace(plain, selection=replace(plain.selection, export="best"))
    assert key(exports_best, "hybrid") == key(plain, "hybrid")


def test_settings_an_arm_uses_are_in_its_trial() -> None:
    plain = recipe()
    assert key(plain, data="other") != key(plain)
    wider = replace(plain.scratch, attention=replace(plain.scratch.attention, width=32))
    assert key(replace(plain, scratch=wider)) != key(plain)
    assert key(replace(plain, finetune=replace(plain.finetune, steps=5))) != key(plain)
    unlimited = replace(plain, selection=replace(plain.selection, max=()))
    assert key(unlimited, "hybrid") != key(plain, "hybrid")
    assert key(unlimited) == key(plain)


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


def test_the_folders_of_data_and_weights_do_not_matter(tmp_path: Path) -> None:
    plain, folders = recipe(), [tmp_path / "here", tmp_path / "there"]
    for name in ("gpt2", "mamba"):
        component(name).model.save_pretrained(folders[0] / name)
    shutil.copytree(folders[0], folders[1])
    here, there = (
        replace(
            plain,
            task=replace(plain.task, name="text", data_dir=str(folder)),
            space=SearchSpace([folder / name for name in ("gpt2", "mamba")], stages=2),
        )
        for folder in folders
    )
    assert key(here) == key(there)
    reversed_order = replace(here, space=replace(here.space, components=here.space.components[::-1]))
    assert key(reversed_order) != key(here)


def test_other_weights_of_a_shipped_model_are_another_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = replace(recipe(), space=SearchSpace(["gpt-neo-nano", "mamba-nano"], stages=2))
    before = key(shipped)
    shutil.copytree(assets.folder("models"), tmp_path / "models")
    monkeypatch.setattr(assets, "folder", lambda kind: tmp_path / kind)
    assert key(shipped) == before
    component("mamba").model.save_pretrained(tmp_path / "models" / "mamba-nano")
    assert key(shipped) != before


def test_a_fingerprint_depends_on_examples_and_splits() -> None:
    options = recipe().task
    task, same = load_task(options), load_task(replace(options, workers=1))
    assert task.fingerprint() == same.fingerprint()
    assert load_task(replace(options, seed=1)).fingerprint() != task.fingerprint()
    assert load_task(replace(options, val=31)).fingerprint() != task.fingerprint()
    splits = same.splits()
    labels = np.array(splits.test.labels)
    labels.flat[0] += 1
    object.__setattr__(splits.test, "labels", labels)
    assert same.fingerprint() != task.fingerprint()


def test_a_fingerprint_of_text_depends_on_documents_and_not_on_the_tokenizer() -> None:
    options = TaskOptions("text@length=32,passage=2000", preset="cpu", train=12, val=4, test=4)
    task, same = load_task(options), load_task(replace(options, workers=1))
    assert task.fingerprint() == same.fingerprint() == task.with_tokenizer(small_tokenizer(300)).fingerprint()
    for changed in (
        replace(options, seed=1),
        replace(options, val=3),
        replace(options, name="text@length=16,passage=2000"),
        replace(options, name="text@length=32,passage=1900"),
    ):
        assert load_task(changed).fingerprint() != task.fingerprint(), changed


def test_tokenizers_and_alignment_are_in_the_trials_of_text(tmp_path: Path) -> None:
    folders = [model_folder(tmp_path / name, family) for name, family in (("gpt", "gpt_neo"), ("mamba", "mamba"))]
    plain = replace(recipe(), space=SearchSpace(folders, stages=2))

    def keys(recipe: Recipe, metric: Metric) -> list[str]:
        study = Study(recipe, "data", metric)
        arms = [study.hybrid_arm("mamba"), study.path_arm("mamba", ["gpt", "mamba"]), study.component_arm("mamba")]
        return [key_of(study.trial(arm, 0, 0.001)) for arm in arms]

    aligned = replace(plain, align=replace(plain.align, tokens=512))
    assert [a == b for a, b in zip(keys(plain, BITS), keys(aligned, BITS), strict=True)] == [False, False, True]
    assert keys(plain, ACCURACY) == keys(aligned, ACCURACY)
    before = {metric: keys(plain, metric) for metric in (ACCURACY, BITS)}
    small_tokenizer(300).save_pretrained(folders[0])
    assert keys(plain, ACCURACY) == before[ACCURACY]
    assert not set(keys(plain, BITS)) & set(before[BITS])


def test_a_model_is_trained_once_and_then_tested(tmp_path: Path) -> None:
    study = Study(recipe(), "data")
    hybrid = study.trial(study.hybrid_arm("mamba"), 0, 0.001)
    runner = TrialRunner(tmp_path, study.recipe.run)
    result = runner(hybrid)
    assert len(result["path"]) == 2
    assert result["parameters"] > 0
    assert result["tokens"] == 10 * 8 * 6  # 4 + 2 + 4 steps of 8 sequences of 6 tokens
    weights = sorted((runner.model_dir(hybrid) / "checkpoints").glob("*.safetensors"))
    assert [file.stem for file in weights] == ["fine-tune", "search"]
    changed = {file: file.stat().st_mtime_ns for file in weights}
    assert runner(hybrid)["score"] == result["score"]
    assert {file: file.stat().st_mtime_ns for file in weights} == changed
    tested = runner(trial.test_trial(hybrid))
    assert set(tested["before"]) == {"soft", "discrete"}
    assert tested["score"]["count"] == 32
    assert not runner.model_dir(hybrid).exists()
    assert runner(trial.test_trial(hybrid)) == tested, "without the model it is trained again, and equal"


def test_a_test_that_was_killed_after_its_export_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(recipe(), "data")
    runner = TrialRunner(tmp_path, study.recipe.run)
    alone = study.trial(study.component_arm("mamba"), 0, 0.001)
    runner(alone)
    with monkeypatch.context() as patch:
        patch.setattr(TrialRunner, "delete_model", lambda *args: pytest.fail("killed"))
        with pytest.raises(pytest.fail.Exception):
            runner(trial.test_trial(alone))
    assert (runner.model_dir(alone) / "exported" / "config.json").exists()
    assert runner(trial.test_trial(alone))["score"]["count"] == 32


@pytest.mark.parametrize("strategy", ["darts", "uniform", "halving"])
def test_a_search_scores_every_path_and_selects_the_best(strategy: str, tmp_path: Path) -> None:
    plain = recipe()
    search, finetune = replace(plain.search, strategy=strategy, steps=16), replace(plain.finetune, steps=8)
    selection = replace(plain.selection, max=())
    study = Study(replace(plain, search=search, finetune=finetune, selection=selection), "data")
    result = TrialRunner(tmp_path, study.recipe.run)(study.trial(study.hybrid_arm("mamba"), 0, 0.001))
    by_path = dict(zip(study.space.choices.paths(), result["scores"], strict=True))
    assert max(by_path, key=lambda path: by_path[path]) == tuple(result["path"])
    assert len(set(by_path.values())) == len(by_path), "no two are the same"


@pytest.mark.parametrize(("name", "exports"), [("hybrid", 1), ("mamba alone", 1), ("uniform mixture", 0), ("soft", 0)])
def test_the_tested_model_has_been_exported_and_loaded(
    name: str, exports: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(recipe(baselines=["components", "uniform", "soft"]), "data")
    arm = next(arm for arm in all_arms(study) if name in (arm.name, arm.kind))
    folders: list[Path] = []
    scored: list[nn.Module] = []
    save, score = trial.save_checkpoint, Experiment.score

    def recorded_save(model: Any, tokenizer: Any, folder: Path, card: str) -> Path:
        folders.append(folder)
        return save(model, tokenizer, folder, card)

    def recorded_score(self: Experiment, net: nn.Module, *args: Any) -> Score:
        scored.append(net)
        return score(self, net, *args)

    monkeypatch.setattr(trial, "save_checkpoint", recorded_save)
    monkeypatch.setattr(Experiment, "score", recorded_score)
    TrialRunner(tmp_path, study.recipe.run)(trial.test_trial(study.trial(arm, 0, 0.001)))
    assert len(folders) == exports
    if exports:
        assert scored[-1].config._name_or_path == str(folders[0])  # type: ignore[union-attr]
    else:
        assert isinstance(scored[-1], Supernet)


@pytest.mark.parametrize("init", ["supernet", "components"])
def test_the_soft_hybrid_is_finetuned_with_the_alphas_of_the_search(
    init: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = recipe()
    changed = replace(plain, finetune=replace(plain.finetune, init=init))
    (tmp_path / "checkpoints").mkdir()
    exp = Experiment.open(changed, RunDir(tmp_path), Console(quiet=True))
    initial: list[dict[str, torch.Tensor]] = []
    train = exp.train

    def recorded_train(phase: str, build: Callable[[], nn.Module], *args: Any) -> PhaseResult[Any]:
        def recorded_build() -> nn.Module:
            net = build()
            initial.append({name: value.clone() for name, value in net.state_dict().items()})
            return net

        return train(phase, recorded_build, *args)

    monkeypatch.setattr(exp, "train", recorded_train)
    model = arm_kinds["soft"](exp, {"base": "mamba"})
    searched, finetuned = (phase.net.state_dict() for phase in model.phases)
    untrained = exp.supernet("mamba", "softmax", "search").state_dict()
    assert torch.equal(finetuned["alpha"], initial[1]["alpha"])
    assert not torch.equal(finetuned["alpha"], untrained["alpha"])
    weights = [name for name in untrained if name != "alpha"]
    equal = all(torch.equal(initial[1][name], untrained[name]) for name in weights)
    assert equal == (init == "components")
    assert not any(torch.equal(searched[name], untrained[name]) for name in weights if name.endswith("proj.weight"))


def test_operations_of_all_phases_are_counted(tmp_path: Path) -> None:
    study = Study(recipe(), "data")
    runner = TrialRunner(tmp_path, study.recipe.run)
    alone = runner(study.trial(study.component_arm("mamba"), 0, 0.001))
    assert alone["flops"] == pytest.approx(3 * alone["tokens"] * alone["flops_per_token"])
    hybrid = runner(study.trial(study.hybrid_arm("mamba"), 0, 0.001))
    uniform = runner(study.trial(study.baseline_arms("mamba")[2], 0, 0.001))
    assert hybrid["tokens"] == alone["tokens"] == uniform["tokens"]
    assert hybrid["flops"] < uniform["flops"]
    assert uniform["flops"] == pytest.approx(3 * uniform["tokens"] * uniform["flops_per_token"])


def test_a_loss_that_is_not_finite_is_a_result(tmp_path: Path) -> None:
    study = Study(recipe(), "data")
    runner = TrialRunner(tmp_path, study.recipe.run)
    assert runner(study.trial(study.component_arm("mamba"), 0, 1e30)) == DIVERGED
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("target", "layers"), [(0, 2), (200, 2), (250, 2), (251, 3), (449, 4), (451, 5)])
def test_depth_of_a_designed_hybrid(target: float, layers: int) -> None:
    assert nearest_depth(lambda count: 100 * count, target) == layers


def test_all_trials_of_a_process_share_a_task() -> None:
    options = TaskOptions(name="mad-compression@vocab_size=4,seq_len=6", preset="cpu", train=96, val=32, test=32)
    assert trial._load_task(options) is trial._load_task(options)
