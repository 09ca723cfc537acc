"""Fixtures for all tests, among them the run folder of one small search that all tests and workers share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from manticore.kernels import uninstall
from tests.helpers.cli import pico_search

settings.register_profile("patient", deadline=None, derandomize=True)  # a busy machine must not fail a test
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that reads the folder of a search needs that search."""
    for item in items:
        if "pico_run" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(autouse=True)
def plain_kernels() -> None:
    """Every test starts with the kernels of transformers, even if the test before it installed others."""
    uninstall()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of one test run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def pico_run(shared: Path) -> Path:
    """The folder of a finished search. Tests read it or copy it, and never write to it."""
    folder = shared / "pico-run"
    with FileLock(shared / "pico-run.lock"):
        if not folder.exists():
            done = pico_search(folder, shared / "cache").communicate()
            assert (folder / "metrics.json").exists(), done[1][-3000:]
    return folder


@pytest.fixture
def cached(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Lets commands called in this process use the shared cache of generated data."""
    monkeypatch.setenv("MANTICORE_CACHE", str(shared / "cache"))
    return shared / "cache"


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of models and generated data for one test; its folder is created when something is written."""
    monkeypatch.setenv("MANTICORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def toy_task() -> Iterator[None]:
    """The task of `tests.helpers.toy_task`, registered during one test."""
    from manticore.tasks.catalog import tasks
    from tests.helpers.toy_task import NAME, which_end

    tasks.register(NAME)(which_end)
    yield
    tasks._items.pop(NAME)
