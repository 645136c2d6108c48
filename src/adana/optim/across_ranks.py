"""Sums over a whole parameter, of which each process has added up its part."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from adana.dtensors import is_dtensor


def summed(parts: Sequence[Tensor], params: Sequence[Tensor]) -> list[Tensor]:
    """Return the vectors in `parts`, one for each parameter, summed over the ranks that share it.

    One exchange for all parameters that are sharded over the same ranks; none without sharding.
    """
    whole = list(parts)
    together: dict[Any, list[int]] = defaultdict(list)
    for i, (part, p) in enumerate(zip(parts, params, strict=True)):
        if is_dtensor(p):
            cut = tuple(not x.is_replicate() for x in p.placements)
            if any(cut):
                together[p.device_mesh, cut, len(part)].append(i)
    if together:
        from torch.distributed.tensor import DTensor, Partial, Replicate  # noqa: PLC0415
    for (mesh, cut, _), which in together.items():
        placements = [Partial() if x else Replicate() for x in cut]
        stacked = torch.stack([parts[i] for i in which])
        sums = DTensor.from_local(stacked, mesh, placements, run_check=False).full_tensor()
        for i, row in zip(which, sums, strict=True):
            whole[i] = row.to(parts[i].device)  # which ranks need not exchange from
    return whole
