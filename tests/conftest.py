"""What tests borrow: a world of ranks, workers that start quickly, packages that come and go."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from .packages import Packages
from .ranks import World, forkserver

OF_LIBRARIES = {"examples", "hf", "optax", "test_ray_engine.py", "test_triton.py"}
"""Folders and files whose tests all have the marker `libraries`."""


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items):
    for item in items:
        if OF_LIBRARIES.intersection(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker("libraries")


@pytest.fixture(scope="session")
def worlds():
    """A function from a number of ranks to a `World` of them, started when first asked for."""
    started: dict[int, World] = {}

    def world(size):
        if size not in started or not started[size].alive:
            started[size] = World(size)
        return started[size]

    yield world
    for each in started.values():
        each.stop()


@pytest.fixture
def quick_workers(monkeypatch):
    """Let `run_jobs` start its workers from the tests' fork server, not as fresh processes.

    Some tests in tests/tune, and the demo, start them as users do.
    """
    quick = SimpleNamespace(get_context=lambda method: forkserver())
    monkeypatch.setattr("adana.tune.local.multiprocessing", quick)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A place where packages with optimizers can be installed, until the test ends."""
    own = Packages(tmp_path / "site-packages")
    monkeypatch.syspath_prepend(str(own.folder))
    yield own
    monkeypatch.undo()
    own.forget()
