"""The wheel has exactly its files and works without the checkout; the sdist builds the same wheel."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from packaging.metadata import Metadata

import manticore

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[1]
DATA_FOLDERS = ("search_spaces", "projectors", "configs", "models", "samples", "schemas", "benchmarks/hybridbench")
PICO = shlex.split("""
    search --models gpt-neo,mamba --task lra-listops --preset cpu --out run
    --set task.train=400 --set task.val=50 --set task.test=50
    --set scratch.attention.width=16 --set scratch.recurrent.width=16
    --set search.steps=4 --set search.warmup_steps=2 --set search.batch_size=8
    --set finetune.steps=2 --set finetune.batch_size=8
""")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    return build("wheel", ROOT, out)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("dist"))


def build(target: str, source: Path, out: Path) -> Path:
    """The file that the project in `source` is built to, by `python -m build` if it is installed, or by its backend."""
    spec = find_spec("build")
    if spec is not None and spec.origin is not None:  # no folder of that name
        tool = ["build", "--no-isolation", f"--{target}", "--outdir"]
    else:
        tool = ["hatchling", "build", "-t", target, "-d"]
    run_command(sys.executable, "-m", *tool, str(out), cwd=source)
    (built,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder outside the checkout; its environment `env` has the wheel, and finds other packages where tests do."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "env", with_pip=False)
    pip = (sys.executable, "-m", "pip", "--python", str(folder / "env"))
    run_command(
        *pip, "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel), cwd=folder
    )
    # Folders named in a .pth come last on the path, and the .pth files in them, editable installs too, are not read.
    site_packages = [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(site_packages) + "\n", encoding="utf-8")
    return folder


def run_command(*command: str, cwd: Path) -> str:
    """The output of a command that does not have the checkout on its path; it must succeed."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment.update(MANTICORE_CACHE=str(cwd / "cache"), HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")
    process = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, f"{' '.join(command)}\n{process.stdout[-2000:]}\n{process.stderr[-3000:]}"
    return process.stdout


def shipped() -> set[str]:
    """Files the wheel must have: the package, and the data folders in `_assets`."""
    package = {str(file.relative_to(ROOT)) for file in (ROOT / "manticore").rglob("*") if file.is_file()}
    assets = {
        f"manticore/_assets/{file.relative_to(ROOT)}" for name in DATA_FOLDERS for file in (ROOT / name).rglob("*.*")
    }
    return {name for name in package | assets if "__pycache__" not in name}


def test_the_wheel_has_the_package_and_the_assets(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert shipped() - names == set()
    for name in (
        "py.typed",
        "report/templates/style.css",
        "_assets/projectors/README.md",
        "_assets/configs/search/lra-listops.yaml",
    ):
        assert f"manticore/{name}" in names
    assert any(name.startswith("manticore/_assets/search_spaces/") and name.endswith(".yaml") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_the_wheel_has_no_other_files(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names - shipped() == set()


def test_the_sdist_builds_the_same_wheel(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    for name in ("tests/conftest.py", "docs/index.md", "Makefile", "SECURITY.md", "CITATION.cff", ".ci/run"):
        assert (source / name).is_file(), name
    (tmp_path / "dist").mkdir()
    contents = []
    for file in (wheel, build("wheel", source, tmp_path / "dist")):
        with zipfile.ZipFile(file) as archive:
            contents.append({entry.filename: entry.CRC for entry in archive.infolist()})
    assert contents[0] == contents[1]


def test_the_metadata_is_valid(wheel: Path, sdist: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Metadata.from_email(archive.read(name), validate=True)
    assert str(metadata.version) == manticore.__version__
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.description_content_type == "text/markdown"
    assert {"Typing :: Typed", "Environment :: Console"} <= set(metadata.classifiers or ())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(metadata.provides_extra or ()) == set(project["optional-dependencies"])
    if find_spec("twine"):
        run_command(sys.executable, "-m", "twine", "check", "--strict", str(wheel), str(sdist), cwd=wheel.parent)


def test_the_version_is_in_one_file() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "version" not in project
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert "version" not in citation
    assert citation["license"] == project["license"]
    assert citation["preferred-citation"]["url"] == project["urls"]["Paper"]


def test_an_installed_wheel_lists_its_assets(installation: Path) -> None:
    file = run_command(
        str(installation / "env/bin/python"), "-c", "import manticore; print(manticore.__file__)", cwd=installation
    )
    assert Path(file.strip()).is_relative_to(installation / "env")
    listed = run_command(str(installation / "env/bin/manticore"), "ls", cwd=installation)
    for name in ("gpt-neo+mamba", "search/lra-listops", "lra-listops", "mamba"):
        assert f"  {name} " in listed
    recipe = run_command(str(installation / "env/bin/manticore"), "show", "search/lra-listops", cwd=installation)
    assert recipe.strip() == (ROOT / "configs/search/lra-listops.yaml").read_text(encoding="utf-8").strip()


def test_an_installed_wheel_has_a_doctor(installation: Path) -> None:
    report = run_command(str(installation / "env/bin/manticore"), "doctor", "--no-hub", cwd=installation)
    assert report.startswith(f"manticore {manticore.__version__} in {installation / 'env'}")
    assert report.splitlines()[-1].endswith("no problems"), report


def test_an_installed_wheel_runs_a_search(installation: Path) -> None:
    out = run_command(str(installation / "env/bin/manticore"), *PICO, cwd=installation)
    assert "path: stage 1 " in out
    for name in ("recipe.yaml", "metrics.json", "report.html", "hybrid/config.json", "hybrid/model.safetensors"):
        assert (installation / "run" / name).is_file()
