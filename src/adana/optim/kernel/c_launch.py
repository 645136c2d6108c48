"""Running a C kernel over the tensors of a step: one call, whatever their number and sizes."""

from __future__ import annotations

import array
import ctypes
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana.optim.kernel.c_library import CannotCompile, library
from adana.optim.kernel.c_source import source
from adana.optim.kernel.recipe import Recipe, trace
from adana.optim.placement import Placement

SHARE = 1 << 15
"""Elements that are worth another thread."""


class Row(NamedTuple):
    """What a kernel works on of one parameter, all of it alike and without gaps in memory."""

    tensors: tuple[Tensor, ...]
    """p, g and the parts of the state, in the order of `recipe.parts`."""
    numbers: int
    """Which row of the numbers is its own."""
    placement: Placement
    """Where its elements are in the whole parameter, for random bits."""
    key: tuple[int, int]
    """Of its random bits."""


Kernel = tuple[Any, tuple[str, ...]]
"""A function of a compiled library, and names of sums."""


def kernel(recipe: Recipe) -> Kernel:
    """Return the compiled kernel of `recipe` and the names of the sums it makes.

    Raises:
        CannotCompile: see `c_library.library`. What failed once in this process is not tried again,
            so that steps without a working compiler cost no more than eager ones.
    """
    found = _kernel_or_error(recipe)
    if isinstance(found, CannotCompile):
        raise found
    return found


@functools.cache
def _kernel_or_error(recipe: Recipe) -> Kernel | CannotCompile:
    try:
        return _kernel(recipe)
    except CannotCompile as error:
        return error


def _kernel(recipe: Recipe) -> Kernel:
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
    total = 0
    for row in rows:
        size = row.tensors[0].numel()
        place = row.placement
        total += size
        table.extend((size, row.numbers * numbers.shape[1], *place, *row.key))
        table.extend([x.data_ptr() for x in row.tensors])
    threads = max(1, min(torch.get_num_threads(), total // SHARE))
    sums = torch.zeros(threads, len(rows), max(len(names), 1), dtype=torch.float64)
    function(len(rows), table.buffer_info()[0], numbers.data_ptr(), sums.data_ptr(), threads)
    of_each = sums.sum(0)
    return {name: of_each[:, k] for k, name in enumerate(names)}
