"""Comparisons of many trainings are tested with workers that start quickly."""

import pytest


@pytest.fixture(autouse=True)
def _quick_workers(quick_workers):
    """Use them everywhere in this folder."""
