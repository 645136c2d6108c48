"""One thread for tests that take many steps on small tensors."""

import contextlib

import torch


@contextlib.contextmanager
def one_thread():
    """Keep torch on one thread; two that wait for each other on a busy machine are 40 x slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
