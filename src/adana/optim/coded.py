"""States and weights kept in fewer bits: what is stored, and the eager way through full precision.

The kernels decode and encode element by element; here the same codecs work on whole tensors, for
where there is no kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from adana.optim.codecs import CODECS, WEIGHTS, narrowed, widened
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


@contextmanager
def decoded(work: Work, i: int, names: Iterable[str]) -> Iterator[Work]:
    """Give the i-th parameter of `work` in full precision, and encode what becomes of it.

    `names` are those of what is stored of its state.
    """
    p, state = local(work.params[i]), {name: local(work.states[i][name]) for name in names}
    kind = rounding(work.group, work.params[i])
    codec, weights = CODECS[work.group["state_dtype"]], WEIGHTS[kind]
    of_weights = {"p": p, **{name: state.pop(name) for name in weights.parts()}}
    random = words(global_index(placement(work.params[i]), p), work.keys[i])

    load = Tensor.float if kind == "nearest" else widened
    wide_p = weights.decode({name: load(x) for name, x in of_weights.items()})
    wide = codec.decode({name: widened(x) for name, x in state.items()})
    yield one(work, i)._replace(
        params=[wide_p], grads=[local_like(work.grads[i], work.params[i])], states=[wide]
    )
    for name, code in weights.encode(wide_p, random).items():
        _store(of_weights[name], code, work.skip)
    for name, code in codec.encode(wide, random).items():
        _store(state[name], code, work.skip)


def _store(target: Tensor, new: Tensor, skip: Tensor | None) -> None:
    """Write floats, or codes cut to its dtype, into `target`, unless the step is skipped."""
    new = new.to(target.dtype) if new.is_floating_point() else narrowed(new, target.dtype)
    target.copy_(new if skip is None else target.where(skip, new))
