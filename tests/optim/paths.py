"""The ways in which a step can be executed on a CPU, and what only some of them may do."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

PATHS = {
    "fused": {},
    "fused-capturable": {"capturable": True},
    "foreach": {"foreach": True},
    "single": {"foreach": False},
    "capturable": {"capturable": True, "foreach": False},
}
every_path = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
"""Runs a test once for each path, with arguments for the optimizer."""


class NothingRead(TorchDispatchMode):
    """Raises where the value of a tensor is read on the host."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise AssertionError("a tensor was read")
        return function(*args, **(kwargs or {}))


def snapshot(optimizer, params):
    """Copies of all weights, states and counters."""
    return [x.clone() for p in params for x in (p, *optimizer.state[p].values())]
