"""States and weights kept in fewer bits: what is stored, and the eager way through full precision.

The kernels decode and encode element by element; here the same codecs work on whole tensors, for
where there is no kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from adana.optim.codecs import CODECS, WEIGHTS, Codec, Weights, narrowed, widened
from adana.optim.placement import global_index, placement
from adana.optim.randomness import words
from adana.optim.storage import local, local_like, working_dtype
from adana.optim.work import Work, one

StateDtype = Literal["fp32", "bf16_sr", "fp24", "log16"]
Bf16Weights = Literal["stochastic", "nearest", "split24", "split32"]


def rounding(group: Mapping[str, Any], p: Tensor) -> str:
    """Return how the new weights of `p` are rounded; only bfloat16 has a choice."""
    return str(group["bf16_weights"]) if p.dtype == torch.bfloat16 else "nearest"


def is_coded(group: Mapping[str, Any], p: Tensor) -> bool:
    """Return whether a step of `p` goes through a codec, which needs random bits."""
    return group["state_dtype"] != "fp32" or rounding(group, p) != "nearest"


def stored_parts(
    group: Mapping[str, Any], p: Tensor, names: Iterable[str]
) -> dict[str, torch.dtype]:
    """Return the names and dtypes of what is kept of the states `names` of `p`, and of its weights.

    States in "fp32" have the dtype that `p` is updated in: float64 for float64 parameters.
    """
    codec, parts = CODECS[group["state_dtype"]], WEIGHTS[rounding(group, p)].parts()
    if group["state_dtype"] == "fp32":
        return {**dict.fromkeys(names, working_dtype(p)), **parts}
    return {**{k: dtype for name in names for k, dtype in codec.parts(name).items()}, **parts}


class _Stored(NamedTuple):
    """What this process keeps of a parameter and its state, and how."""

    weights: Weights
    codec: Codec
    load: Callable[[Tensor], Tensor]
    """Of the weights, to what their codec decodes."""
    of_weights: dict[str, Tensor]
    state: dict[str, Tensor]

    def wide(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return weights and state in full precision, as new tensors."""
        p = self.weights.decode({name: self.load(x) for name, x in self.of_weights.items()})
        return p, self.codec.decode({name: widened(x) for name, x in self.state.items()})


def _stored(work: Work, i: int, names: Iterable[str]) -> _Stored:
    """Return what is kept of the i-th parameter of `work`; `names` are those of its state."""
    p, state = local(work.params[i]), {name: local(work.states[i][name]) for name in names}
    kind = rounding(work.group, work.params[i])
    codec, weights = CODECS[work.group["state_dtype"]], WEIGHTS[kind]
    of_weights = {"p": p, **{name: state.pop(name) for name in weights.parts()}}
    load = Tensor.float if kind == "nearest" else widened
    return _Stored(weights, codec, load, of_weights, state)


def in_full(work: Work, i: int, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return weights and state of the i-th parameter of `work` in full precision, as copies."""
    return _stored(work, i, names).wide()


@contextmanager
def decoded(work: Work, i: int, names: Iterable[str]) -> Iterator[Work]:
    """Give the i-th parameter of `work` in full precision, and encode what becomes of it.

    `names` are those of what is stored of its state.
    """
    stored = _stored(work, i, names)
    p = work.params[i]
    random = words(global_index(placement(work.owners[i]), local(p)), work.keys[i])
    wide_p, wide = stored.wide()
    yield one(work, i)._replace(
        params=[wide_p], grads=[local_like(work.grads[i], p)], states=[wide]
    )
    for name, code in stored.weights.encode(wide_p, random).items():
        _store(stored.of_weights[name], code, work.skip)
    for name, code in stored.codec.encode(wide, random).items():
        _store(stored.state[name], code, work.skip)


def _store(target: Tensor, new: Tensor, skip: Tensor | None) -> None:
    """Write floats, or codes cut to its dtype, into `target`, unless the step is skipped."""
    new = new.to(target.dtype) if new.is_floating_point() else narrowed(new, target.dtype)
    target.copy_(new if skip is None else target.where(skip, new))
