"""Running a C kernel over the tensors of a step: one call, whatever their number and sizes."""

from __future__ import annotations

import array
import ctypes
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adana.optim.kernel.c_library import library
from adana.optim.kernel.c_source import source
from adana.optim.kernel.once import Once
from adana.optim.kernel.recipe import Recipe, Row, trace

SHARE = 1 << 15
"""Elements that are worth another thread."""


class _Threads:
    """OpenMP's threads: a forked process does not have them, but would wait for them for ever."""

    used = False
    """Whether a kernel of this process, or of one it was forked from, has run on several."""
    lost = False
    """Whether this process was forked from one that had used them."""

    def after_fork(self) -> None:
        self.lost = self.used

    def count(self, elements: int) -> int:
        """Return how many are to share the work on these elements."""
        count = 1 if self.lost else max(1, min(torch.get_num_threads(), elements // SHARE))
        self.used |= count > 1
        return count


_threads = _Threads()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.after_fork)

Kernel = tuple[Any, tuple[str, ...]]
"""A function of a compiled library, and names of sums."""


@Once
def kernel(recipe: Recipe) -> Kernel:
    """Return the compiled kernel of `recipe` and the names of the sums it makes.

    Raises:
        CannotCompile: see `c_library.library`.
    """
    traced = trace(recipe)
    function = library(source(traced)).adana_step
    pointer = ctypes.c_void_p
    function.argtypes = (ctypes.c_int64, pointer, pointer, pointer, ctypes.c_int32)
    function.restype = None
    return function, tuple(traced.sums)


def run(recipe: Recipe, rows: Sequence[Row], numbers: Tensor) -> dict[str, Tensor]:
    """Update all rows in place; return the sums of telemetry by name, one for each row.

    Args:
        recipe: what the rows have in common.
        rows: the tensors; all on the CPU.
        numbers: float32 on the CPU, one `Hyper` in each row.
    """
    function, names = kernel(recipe)
    table = array.array("q")
    total, width = 0, numbers.shape[1]
    for _, size, pointers, i, place, key in rows:
        total += size
        table.extend((size, i * width, *place, *key, *pointers))
    threads = _threads.count(total)
    call = len(rows), table.buffer_info()[0], numbers.data_ptr()
    if not names:
        function(*call, None, threads)
        return {}
    sums = torch.zeros(threads, len(rows), len(names), dtype=torch.float64, device="cpu")
    function(*call, sums.data_ptr(), threads)
    of_each = sums.sum(0)
    return {name: of_each[:, k] for k, name in enumerate(names)}
