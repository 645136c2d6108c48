"""The fixture that lends tests a world of ranks."""

import pytest
import torch

pytest.register_assert_rewrite(f"{__package__}.training")

from .ranks import World  # noqa: E402


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


@pytest.fixture(autouse=True)
def one_thread():
    """Compute references as the ranks compute: with more threads, bfloat16 sums round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
