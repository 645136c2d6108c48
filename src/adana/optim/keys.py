"""The keys of the parameters of an optimizer at each step.

What of them no step changes is computed once: names are hashed, and many small parameters would
spend more time on that than on their update.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from adana.optim.placement import REACH
from adana.optim.randomness import Keys, at_step, stream
from adana.optim.storage import identities


class Streams:
    """What of the parameters' keys no step changes, for as long as the groups stay as they are."""

    def __init__(self) -> None:
        self._groups: list[tuple[Any, ...]] = []
        self._identities: dict[Tensor, int] = {}
        self._streams: dict[Tensor, Keys] = {}

    def of(self, groups: Sequence[Mapping[str, Any]]) -> Streams:
        """Return self, valid for these groups: anew if they have other members, names or seeds."""
        seen = [
            (group["seed"], *map(id, group["params"]), *group.get("param_names", ()))
            for group in groups
        ]
        if seen != self._groups:
            # Holds the parameters, so that no other can have the `id` of one that is gone.
            self._groups, self._identities, self._streams = seen, identities(groups), {}
        return self

    def keys(
        self, group: Mapping[str, Any], params: Sequence[Tensor], step: int, *, as_tensors: bool
    ) -> list[Keys]:
        """Return the keys of some parameters of a group at a step that is theirs all.

        With `as_tensors` they are on the parameters' device, for compiled code, which would make a
        constant of a number, and anew for every other.
        """
        found = [tuple(at_step(x, step) for x in self._of(group, p)) for p in params]
        if not as_tensors:
            return found
        flat = torch.tensor([key for keys in found for key in keys], dtype=torch.int32)
        rows = iter(flat.to(params[0].device, non_blocking=True).unbind())
        return [
            tuple((row[0], row[1]) for row in itertools.islice(rows, len(keys))) for keys in found
        ]

    def keys_on_device(
        self, group: Mapping[str, Any], params: Sequence[Tensor], steps: Sequence[Tensor]
    ) -> list[Keys]:
        """Return the keys at steps that only the device knows."""
        return [
            tuple(at_step(x, t.to(torch.int32)) for x in self._of(group, p))
            for p, t in zip(params, steps, strict=True)
        ]

    def _of(self, group: Mapping[str, Any], p: Tensor) -> Keys:
        if p not in self._streams:
            which = self._identities[p]
            several = range(max(1, -(-p.numel() // REACH)))
            self._streams[p] = tuple(stream(group["seed"], which, high) for high in several)
        return self._streams[p]
