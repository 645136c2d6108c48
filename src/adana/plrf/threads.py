"""How many CPU threads a simulation gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

PARALLEL = 1_000_000
"""Numbers of state from which on a step is long enough to be shared."""


@contextmanager
def threads_for(numbers: int) -> Iterator[None]:
    """Let torch use one thread within the block if a step changes few numbers.

    A simulation makes some ten short operations a step, and threads that wait for one another at
    each of them spin: on two busy cores that took up to 15 times as long. The setting is torch's,
    for the whole process, and is put back at the end.
    """
    before = torch.get_num_threads()
    if numbers < PARALLEL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
