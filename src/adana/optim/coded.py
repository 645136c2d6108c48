"""States and weights kept in fewer bits: what is stored, and the eager way through full precision.

The kernels decode and encode element by element; here the same codecs work on whole tensors, for
where there is no kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from adana.dtensors import local
from adana.optim.codecs import CODECS, WEIGHTS, Codec, Random, Weights, X, narrowed, widened
from adana.optim.placement import Placement, Section, global_index, placement, sections
from adana.optim.randomness import words
from adana.optim.storage import local_like, working_dtype
from adana.optim.work import Work, one

StateDtype = Literal["fp32", "bf16_sr", "fp24", "log16"]
Bf16Weights = Literal["stochastic", "nearest", "split24", "split32"]
AT_ONCE = 1 << 24
"""Elements that are in full precision at once on a GPU: about 1 GB with what is between."""
AT_ONCE_ON_CPU = 1 << 18
"""Elements that are in full precision at once on a CPU: they fit the caches."""


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


def match_parts(
    state: dict[str, Tensor], group: Mapping[str, Any], p: Tensor, home: torch.device
) -> None:
    """Add what is kept beside bfloat16 weights, if the parameter became bfloat16 after a step.

    On the device `home`. Zeros: the weights are then what the parameter says. From parameters that
    are no longer bfloat16, what was kept beside them goes: it would be stale when they become so.
    """
    parts = WEIGHTS[rounding(group, p)].parts()
    for name in WEIGHTS[group["bf16_weights"]].parts().keys() - parts.keys():
        state.pop(name, None)
    for name, dtype in parts.items():
        if name not in state:
            state[name] = torch.zeros_like(
                p, dtype=dtype, device=home, memory_format=torch.preserve_format
            )


class Stored(NamedTuple):
    """What this process keeps of a parameter and its state, and how."""

    weights: Weights
    codec: Codec
    load: Callable[[Tensor], Tensor]
    """Of the weights, to what their codec decodes."""
    of_weights: dict[str, Tensor]
    state: dict[str, Tensor]

    def wide(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Return weights and state in full precision, as new tensors unless they are kept so."""
        p = self.weights.decode({name: self.load(x) for name, x in self.of_weights.items()})
        return p, self.codec.decode({name: widened(x) for name, x in self.state.items()})

    def tensors(self) -> tuple[Tensor, ...]:
        """Return all that is kept: of the weights, then of the state."""
        return (*self.of_weights.values(), *self.state.values())

    def part(self, section: Section) -> Stored:
        """Return what is kept of a section, as views."""
        return self._replace(
            of_weights=_part(self.of_weights, section), state=_part(self.state, section)
        )

    def store(self, p: Tensor, state: dict[str, X], random: Random, skip: Tensor | None) -> None:
        """Encode weights and state, and keep them, unless the step is skipped."""
        for name, code in self.weights.encode(p, random).items():
            _store(self.of_weights[name], code, skip)
        for name, code in self.codec.encode(state, random).items():
            _store(self.state[name], code, skip)


def stored_here(
    group: Mapping[str, Any], p: Tensor, state: Mapping[str, Tensor], names: Iterable[str]
) -> Stored:
    """Return what this process keeps of `p` and its `state`, of which `names` are stored."""
    kept = {name: local(state[name]) for name in names}
    kind = rounding(group, p)
    codec, weights = CODECS[group["state_dtype"]], WEIGHTS[kind]
    of_weights = {"p": local(p), **{name: kept.pop(name) for name in weights.parts()}}
    load = Tensor.float if kind == "nearest" else widened
    return Stored(weights, codec, load, of_weights, kept)


def _stored(work: Work, i: int, names: Iterable[str]) -> Stored:
    """Return what is kept of the i-th parameter of `work`; `names` are those of its state."""
    return stored_here(work.group, work.params[i], work.states[i], names)


def in_full(work: Work, i: int, names: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Return weights and state of the i-th parameter of `work` in full precision."""
    return _stored(work, i, names).wide()


def decoded(work: Work, i: int, names: Iterable[str], *, whole: bool = False) -> Iterator[Work]:
    """Give the i-th parameter of `work` in full precision, and encode what becomes of it.

    In sections, one after another, that keep what is in full precision small, unless the update
    needs the parameter `whole`. What a section became is encoded when the next is asked for: go on
    to the end. `names` are those of what is stored of its state.
    """
    p, stored = work.params[i], _stored(work, i, names)
    grad = local_like(work.grads[i], p)
    if whole:
        wide_p, wide = stored.wide()
        yield one(work, i)._replace(params=[wide_p], grads=[grad], states=[wide])
    where = placement(work.owners[i])
    for section in sections_of(where, p, (grad, *stored.tensors())):
        piece = stored.part(section)
        if whole:
            new_p, new = _flat(wide_p, section), _part(wide, section)
        else:
            new_p, new = piece.wide()
            given = [_flat(grad, section)]
            yield one(work, i)._replace(params=[new_p], grads=given, states=[new])
        random = words(global_index(section.placement, new_p), work.keys[i][section.key])
        piece.store(new_p, new, random, work.skip)


def sections_of(where: Placement, p: Tensor, tensors: Iterable[Tensor]) -> list[Section]:
    """Return what to work on at once of `p`, which is placed so; this process has these tensors.

    Compiled code needs no room for what is between. Tensors with other layouts than the index goes
    by are not cut: beyond 2^32 elements of those, random bits repeat.
    """
    size = local(p).numel()
    if not all(x.is_contiguous() for x in tensors):
        return [Section(0, size, where, 0)]
    limit = AT_ONCE_ON_CPU if p.device.type == "cpu" else AT_ONCE
    return list(sections(where, size, size if torch.compiler.is_compiling() else limit))


def _part(tensors: dict[str, Tensor], section: Section) -> dict[str, Tensor]:
    return {name: _flat(x, section) for name, x in tensors.items()}


def _flat(x: Tensor, section: Section) -> Tensor:
    """Return the elements of a section, as a view; `x` itself where it has all."""
    whole = section.end - section.begin == x.numel()
    return x if whole else x.view(-1)[section.begin : section.end]


def _store(target: Tensor, new: Tensor, skip: Tensor | None) -> None:
    """Write floats, or codes cut to its dtype, into `target`, unless the step is skipped."""
    new = new.to(target.dtype) if new.is_floating_point() else narrowed(new, target.dtype)
    target.copy_(new if skip is None else target.where(skip, new))
