"""What one call of the update is given, and how it is cut into pieces of a good size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from adana.dtensors import local
from adana.optim.randomness import Keys
from adana.optim.scratch import slices
from adana.optim.storage import local_like
from adana.optim.update import Hyper

PIECE = 1 << 26
"""Elements that are updated at once on a GPU: bounds the temporaries at 256 MB for each list."""
PIECE_ON_CPU = 1 << 16
"""Elements of small parameters that are updated at once on a CPU: keeps the temporaries few."""
SLICE_ON_CPU = 1 << 18
"""Elements of a large parameter that are updated at once on a CPU: temporaries fit the caches."""


class Work(NamedTuple):
    """Parameters of one group that share a step: what one call of the update is given."""

    group: dict[str, Any]
    params: list[Tensor]
    grads: list[Tensor]
    states: list[dict[str, Tensor]]
    hyper: Hyper | Tensor
    """Floats, or packed: one vector for all parameters, or a row for each (capturable)."""
    keys: Sequence[Keys] = ()
    """Keys of the parameters' random bits; empty where none are needed."""
    scaled: bool = False
    """Whether `Hyper.scale` may be another number than 1."""
    skip: Tensor | None = None
    """Where not None, a truth on the device: nothing is to change. Only with packed numbers."""
    owners: Sequence[Tensor] = ()
    """The parameters as the optimizer has them: `params` may be copies of what is here of them."""


class _Row(NamedTuple):
    """What is updated of one parameter."""

    param: Tensor
    grad: Tensor
    state: dict[str, Tensor]


def on_this_process(work: Work, names: Iterable[str]) -> Work:
    """Return `work` with what this process holds of all tensors; of the states, `names` only.

    Compiled code runs through here: a comprehension that closes over `work` would make it depend
    on the learning rate in the group, and compile anew when that changes.
    """
    params = [local(p) for p in work.params]
    grads = [local_like(g, p) for g, p in zip(work.grads, work.params, strict=True)]
    states = [{name: local(state[name]) for name in names} for state in work.states]
    return work._replace(params=params, grads=grads, states=states)


def pieces(work: Work, names: Iterable[str]) -> Iterator[Work]:
    """Cut `work` into pieces of a limited number of elements, as plain tensors of this process.

    Temporaries then stay small: all of a step's on a GPU, within the caches on a CPU. There a large
    parameter comes in slices too; elsewhere a piece has at least one whole parameter. Elements are
    independent of each other, so nothing else changes.
    """
    on_cpu = work.params[0].device.type == "cpu"
    limit = PIECE_ON_CPU if on_cpu else PIECE
    rows: list[_Row] = []
    size = 0
    for i in range(len(work.params)):
        here = on_this_process(one(work, i), names)
        whole = _Row(here.params[0], here.grads[0], here.states[0])
        for row in _sliced(whole, SLICE_ON_CPU) if on_cpu else [whole]:
            if rows and size + row.param.numel() > limit:
                yield _work(work, rows)
                rows, size = [], 0
            rows.append(row)
            size += row.param.numel()
    yield _work(work, rows)


def as_lists(work: Work) -> bool:
    """Return whether parameters are updated as lists, not one by one: yes unless told otherwise.

    Packed numbers are one by one: they may differ, and compiled or captured code has one kernel
    anyway.
    """
    return isinstance(work.hyper, Hyper) and work.group["foreach"] is not False


def numbers_of(hyper: Hyper | Tensor, i: int) -> Hyper:
    """Return the numbers of the i-th parameter: shared floats, a shared vector, or its own row."""
    if isinstance(hyper, Hyper):
        return hyper
    return Hyper.unpacked(hyper if hyper.ndim == 1 else hyper[i])


def one(work: Work, i: int) -> Work:
    """Return the work on the i-th parameter."""
    return chosen(work, [i])


def chosen(work: Work, which: Sequence[int]) -> Work:
    """Return the work on some of the parameters."""

    def take(items: Sequence[Any]) -> list[Any]:
        return [items[i] for i in which] if items else []

    hyper = work.hyper
    if not isinstance(hyper, Hyper) and hyper.ndim == 2:
        hyper = hyper[list(which)]
    return work._replace(
        params=take(work.params),
        grads=take(work.grads),
        states=take(work.states),
        keys=take(work.keys),
        owners=take(work.owners),
        hyper=hyper,
    )


def _sliced(row: _Row, limit: int) -> Iterator[_Row]:
    """Cut a row that is larger than `limit` into slices, where its tensors lie alike in memory."""
    tensors = (row.param, row.grad, *row.state.values())
    cut = slices(tensors, limit) if row.param.numel() > limit else None
    if cut is None:
        yield row
        return
    for param, grad, *state in cut:
        yield _Row(param, grad, dict(zip(row.state, state, strict=True)))


def _work(work: Work, rows: Iterable[_Row]) -> Work:
    """Return `work` with these rows instead of its own."""
    params, grads, states = (list(column) for column in zip(*rows, strict=True))
    return work._replace(params=params, grads=grads, states=states)
