"""What one call of the update is given, and how it is cut into pieces of a good size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from adana.optim.storage import local
from adana.optim.update import Hyper

PIECE = 1 << 26
"""Elements that are updated at once on a GPU: bounds the temporaries at 256 MB for each list."""
PIECE_ON_CPU = 1 << 17
"""Elements that are updated at once on a CPU: a few lists of them fit its caches."""


class Work(NamedTuple):
    """Parameters of one group that share a step: what one call of the update is given."""

    group: dict[str, Any]
    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Tensor]]
    hyper: Hyper | Tensor
    """Floats, or packed: one vector for all parameters, or a row for each (capturable)."""


def pieces(work: Work) -> Iterator[Work]:
    """Cut `work` into pieces of a limited number of elements held here, or of one parameter.

    Temporaries then stay small (all of a step's on a GPU, within the caches on a CPU); parameters
    are independent of each other, so nothing else changes.
    """
    limit = PIECE_ON_CPU if work.params[0].device.type == "cpu" else PIECE
    begin = size = 0
    for i, p in enumerate(work.params):
        elements = local(p).numel()
        if i > begin and size + elements > limit:
            yield _cut(work, begin, i)
            begin, size = i, 0
        size += elements
    yield _cut(work, begin, len(work.params))


def _cut(work: Work, begin: int, end: int) -> Work:
    return work._replace(
        params=work.params[begin:end],
        grads=work.grads[begin:end],
        states=work.states[begin:end],
    )


def wants_foreach(group: Mapping[str, Any]) -> bool:
    """Return whether the group's parameters are updated as lists: yes unless told otherwise."""
    return group["foreach"] is None or group["foreach"]


def numbers_of(hyper: Hyper | Tensor, i: int) -> Hyper:
    """Return the numbers of the i-th parameter: shared floats, a shared vector, or its own row."""
    if isinstance(hyper, Hyper):
        return hyper
    return Hyper.unpacked(hyper if hyper.ndim == 1 else hyper[i])
