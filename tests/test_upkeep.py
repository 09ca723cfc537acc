"""Templates and workflow of the repository: valid YAML, real targets of the Makefile, the doctor in the bug report."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOW = yaml.safe_load((GITHUB / "workflows" / "ci.yml").read_text("utf-8"))
TARGETS = WORKFLOW["jobs"]["run"]["strategy"]["matrix"]["target"]


@pytest.mark.parametrize("target", TARGETS)
def test_the_workflow_runs_targets_of_the_makefile(target: str) -> None:
    dry = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert dry.returncode == 0, dry.stderr
    assert "pytest" in dry.stdout


def test_the_matrix_has_the_oldest_transformers_of_the_project_and_the_newest() -> None:
    assert TARGETS == ["check", "minimal", "oldest", "newest"]
    (lowest,) = re.findall(r'"transformers>=([\d.]+),', (ROOT / "pyproject.toml").read_text("utf-8"))
    dry = {name: subprocess.check_output(["make", "-n", name], cwd=ROOT, text=True) for name in ("oldest", "newest")}
    assert f'"transformers=={lowest}.0"' in dry["oldest"]
    assert '"transformers" -e' in dry["newest"]


def test_every_step_calls_the_script_that_developers_run() -> None:
    commands = [step["run"] for step in WORKFLOW["jobs"]["run"]["steps"] if "run" in step]
    assert commands == [".ci/run ${{ matrix.target }}"]
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    assert 'make "${1:-check}"' in script.read_text("utf-8")


@pytest.mark.parametrize("file", sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda file: file.name)
def test_issue_forms_have_what_github_requires(file: Path) -> None:
    form = yaml.safe_load(file.read_text("utf-8"))
    if file.name == "config.yml":
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert all(field["attributes"]["label"] for field in fields)


def test_a_bug_report_asks_for_the_doctor() -> None:
    form = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / "bug.yml").read_text("utf-8"))
    first = form["body"][0]
    assert first["attributes"]["label"] == "Output of manticore doctor"
    assert first["validations"] == {"required": True}
