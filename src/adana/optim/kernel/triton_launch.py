"""Running a Triton kernel over the tensors of a step: a launch or two, whatever their number."""

from __future__ import annotations

import array
import contextlib
import logging
import time
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adana.optim.kernel.c_library import CannotCompile
from adana.optim.kernel.once import Once
from adana.optim.kernel.recipe import Recipe, Row, symbols_used, trace
from adana.optim.kernel.triton_library import loaded
from adana.optim.kernel.triton_source import ALIGNMENT, COLUMNS, source
from adana.optim.kernel.uploads import Tables, sent

BLOCK = 1024
"""Elements of a program."""
WARPS = 8
"""Of 32 threads, so that each has 4 elements: the widest access for float32, and the same elements
for every dtype, so that none change threads."""
OPTIONS = {"num_warps": WARPS, "enable_fp_fusion": False}
"""A product and a sum are rounded apart: codes rely on it, and all launches then agree."""

log = logging.getLogger("adana")
_tables = Tables()


class Kernel(NamedTuple):
    """A loaded kernel, and what its launches depend on."""

    function: Any
    sums: tuple[str, ...]
    """Names of what it adds up."""
    keyed: bool
    """Whether it uses random bits."""


@Once
def kernel(recipe: Recipe) -> Kernel:
    """Return the kernel of `recipe`.

    Raises:
        CannotCompile: see `triton_library.loaded`.
    """
    traced = trace(recipe)
    return Kernel(loaded(source(traced)), tuple(traced.sums), "index" in symbols_used(traced))


def run(recipe: Recipe, rows: Sequence[Row], numbers: Tensor) -> dict[str, Tensor]:
    """Update all rows in place; return the sums of telemetry by name, one for each row.

    Nothing waits for the device, and a CUDA graph may be captured around it.

    Args:
        recipe: what the rows have in common.
        rows: the tensors; all on one device.
        numbers: float32 on the device or the CPU, one `Hyper` in each row.

    Raises:
        CannotCompile: Triton cannot compile for this device; nothing has changed.
        RuntimeError: a CUDA graph is being captured, and the numbers or keys are not on the device.
    """
    device = rows[0].tensors[0].device
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        return launch(kernel(recipe), rows, numbers, device)


def launch(
    step: Kernel, rows: Sequence[Row], numbers: Tensor, device: torch.device
) -> dict[str, Tensor]:
    """Launch a kernel over all rows on `device`, which is the current one; see `run`."""
    numbers = sent(numbers, device)
    keys = sent(_keys(rows), device) if step.keyed else numbers
    sums = numbers
    if step.sums:
        sums = torch.zeros(len(rows), len(step.sums), device=device)
    gaps = step.keyed and any(x.placement.run < x.size for x in rows)
    table, launches = _tables_of(rows, numbers.shape[1], device)
    calls = [
        (
            (table, blocks, numbers, keys, sums),
            {"ALIGNED": aligned, "RUNS": gaps, "BLOCK": BLOCK, **OPTIONS},
        )
        for blocks, aligned in launches
    ]
    for arguments, options in calls:
        _compile(step, device, arguments, options)
    for arguments, options in calls:
        step.function[(len(arguments[1]),)](*arguments, **options)
    return {name: sums[:, k] for k, name in enumerate(step.sums)}


def _keys(rows: Sequence[Row]) -> Tensor:
    """Return the keys of the rows: on the device if they were computed there."""
    flat = [x for row in rows for x in row.key]
    if isinstance(flat[0], Tensor):
        return torch.stack(flat).to(torch.int32)
    return torch.tensor(flat, dtype=torch.int32, device="cpu")


def _tables_of(
    rows: Sequence[Row], width: int, device: torch.device
) -> tuple[Tensor, list[tuple[Tensor, bool]]]:
    """Return the table of the rows, and for each launch its blocks and whether they are aligned."""
    entries = array.array("q")
    for row in rows:
        entries.extend((row.size, row.numbers * width, *row.placement, *row.pointers))
    table = torch.frombuffer(entries, dtype=torch.int64).view(len(rows), -1)
    sizes = table[:, 0]
    aligned = (table[:, len(COLUMNS) :] % ALIGNMENT == 0).all(1)
    size_key, aligned_key = sizes.numpy().tobytes(), aligned.numpy().tobytes()
    launches = []
    for k, fast in enumerate((True, False)):
        blocks = _tables.get(
            (size_key, aligned_key, fast),
            lambda k=k: programs(sizes, aligned)[k],  # type: ignore[misc]
            device,
            room=(size_key, fast),
        )
        if len(blocks) > 0:
            launches.append((blocks, fast))
    table = _tables.get(entries.tobytes(), lambda table=table: table, device, room=size_key)  # type: ignore[misc]
    return table, launches


def programs(size: Tensor, aligned: Tensor) -> tuple[Tensor, Tensor]:
    """Return which block of which tensor each program has: of the aligned launch, of the other.

    The last block of an aligned tensor goes to the other launch if it ends within an access.
    """
    every = (size + BLOCK - 1) // BLOCK
    whole = torch.where(size % ALIGNMENT == 0, every, size // BLOCK)
    fast = whole * aligned
    return _ranges(torch.zeros_like(fast), fast), _ranges(fast, every)


def _ranges(begin: Tensor, end: Tensor) -> Tensor:
    """Return the pairs (i, k) with begin[i] <= k < end[i], as int32."""
    count = end - begin
    row = torch.repeat_interleave(torch.arange(len(count), device="cpu"), count)
    before = count.cumsum(0) - count
    k = torch.arange(len(row), device="cpu") - before[row] + begin[row]
    return torch.stack([row, k], dim=1).to(torch.int32)


_compiled: dict[Hashable, str] = {}
"""What was compiled, and how it failed if it did: not every step is to try again."""


def _compile(
    step: Kernel, device: torch.device, arguments: tuple[Tensor, ...], options: dict[str, Any]
) -> None:
    """Compile the kernel for these options, unless that was done: before anything is changed.

    Raises:
        CannotCompile: Triton failed.
    """
    key = (id(step.function), device, *options.values())
    if key in _compiled:
        if failed := _compiled[key]:
            raise CannotCompile(failed)
        return
    start = time.perf_counter()
    try:
        step.function.run(*arguments, grid=(1,), warmup=True, **options)
    except Exception as error:  # of many kinds: no C compiler, an old driver, ...
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        _compiled[key] = f"Triton failed for {device}: {said}"
        raise CannotCompile(_compiled[key]) from error
    log.info("compiled a fused step in %.1f s for %s", time.perf_counter() - start, device)
    _compiled[key] = ""
