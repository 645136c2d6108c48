"""Comparisons of many trainings are tested with workers that start quickly."""

import pytest


@pytest.fixture(autouse=True)
def _quick_workers(quick_workers):
    """Use them everywhere in this folder."""


@pytest.fixture(autouse=True)
def _few_checkpoints(monkeypatch):
    """Trainings in this process save at their end alone: most of their time would go there."""
    monkeypatch.setattr("adana.train.config.CHECKPOINTS", 1)
