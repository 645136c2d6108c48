"""The fixture that lends tests a world of ranks."""

import pytest

from .ranks import World


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
