"""Workers that start quickly, so that comparisons of many trainings can be tested."""

from types import SimpleNamespace

import pytest

from tests.ranks import forkserver


@pytest.fixture(autouse=True)
def _quick_workers(monkeypatch):
    """Start workers from the tests' fork server; tests/tune and the demo start them as users do."""
    quick = SimpleNamespace(get_context=lambda method: forkserver())
    monkeypatch.setattr("adana.tune.local.multiprocessing", quick)
