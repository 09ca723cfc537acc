"""`manticore doctor` prints what there is, hides what is private, and names the remedy of every problem."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import constants

from manticore.kernels.dispatch import OPERATIONS
from manticore.kernels.hf_patches import install
from manticore.pipelines import doctor
from tests.helpers.cli import call

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report() -> str:
    return doctor.run(hub=False)


def section(text: str, title: str) -> list[str]:
    return text.split(f"\n{title}\n")[1].split("\n\n")[0].splitlines()


def test_versions_are_those_that_run(report: str) -> None:
    rows = {line.split()[0]: line.split()[1] for line in section(report, "versions")}
    assert rows["torch"] == torch.__version__
    assert rows["transformers"] == transformers.__version__


def test_every_operation_has_a_backend_and_the_reasons_against_faster_ones(report: str) -> None:
    lines = section(report, "kernels on cpu")
    chosen = {line.split()[0]: line.split()[1] for line in lines if line[2] != " "}
    assert chosen == {
        "selective_scan": "cpu:",
        "selective_state_update": "plain:",
        "causal_conv1d": "cpu:",
        "causal_conv1d_update": "plain:",
        "ssd_scan": "chunked:",
    }
    assert set(chosen) == set(OPERATIONS)
    assert lines[1].strip() == "not mamba_ssm: it runs on cuda alone"


def test_extras_are_those_of_the_project() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(doctor.EXTRAS) == set(declared) - {"dev", "docs"}
    for name, extra in doctor.EXTRAS.items():
        names = (line.split(">")[0].removeprefix("transformers[").rstrip("]") for line in declared[name])
        packages = {package.removesuffix("-skinny").replace("-", "_") for package in names}
        assert packages == set(extra.packages), name


def test_a_missing_part_comes_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "importable", lambda package: package != "gguf")
    assert "gguf" in (line := next(line for line in doctor.run(hub=False).splitlines() if "[gguf]" in line))
    assert line.endswith("missing (gguf): pip install 'manticore-hybrids[gguf]'")


def test_problems_are_counted_and_have_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(doctor, "LEAST_FREE", 2**80)
    monkeypatch.setenv("MANTICORE_CACHE", str(tmp_path))
    text = doctor.run(hub=True)
    first, *problems = text[text.rindex("\n\n") :].split("\n")[2:]
    assert first == f"{len(problems)} problems"
    assert any("http://127.0.0.1:9 does not answer: set HF_ENDPOINT" in problem for problem in problems)
    assert any(problem.endswith("point MANTICORE_CACHE at another folder") for problem in problems)


def test_a_version_out_of_range_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=99", "peft>=99; extra == 'adapters'"])
    problems = doctor.run(hub=False).splitlines()[-1:]
    assert problems == [f"  torch {torch.__version__} is not >=99: pip install 'torch>=99'"]


def test_no_token_and_no_home_folder_is_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("MANTICORE_CACHE", raising=False)
    text = doctor.run(hub=False)
    assert "hf_secret" not in text
    assert "token      present" in text
    assert "generated data     ~/.cache/manticore: " in text


def test_the_command_prints_the_report_and_leaves_transformers_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "doctor", "--no-hub")
    assert (status, err) == (0, "")
    assert out.splitlines()[0].startswith("manticore ")
    assert "reachable  not tried" in out
    assert not install.is_installed()
