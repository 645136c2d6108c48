"""Values of any structure as JSON beside tensors, and back: what `ForeignState` is made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from adana.dtensors import is_dtensor
from adana.runs import RunError

Node = dict[str, Any]
"""A value as JSON: one key that says what it is."""
PLAIN = (bool, int, float, str, type(None))
NOT_OURS = ("params", "lr")
"""Keys of a group that are set from elsewhere."""
PREFIX = "optimizer."
"""What the names of an optimizer's tensors begin with in a checkpoint."""


class Writer:
    """Turns values into nodes, and gathers the tensors among them."""

    def __init__(self, owner: str, parameters: Mapping[str, Tensor]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._owner = owner
        self._nodes: dict[int, Node] = {}
        self._storages = {_storage(p) for p in parameters.values()}
        self._device = next(iter(parameters.values())).device.type

    def refusal(self, value: Any, where: str, why: str = "") -> RunError:
        """Return the error about a value that cannot be held."""
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return RunError(
            f"{self._owner} keeps a {kind} in {where}{why}. A checkpoint can hold tensors of their "
            "own memory, generators of random numbers, Python's numbers and texts, and lists, "
            "tuples and dictionaries of them (docs/own-optimizer.md)"
        )

    def changing(self, now: Mapping[str, Any], before: Mapping[str, Any], where: str) -> Node:
        """Return the nodes of all values, without what cannot be held but is as it ever was."""
        nodes = {}
        for key, value in now.items():
            if key in NOT_OURS:
                continue
            try:
                nodes[key] = self.node(value, f"{where}.{key}")
            except RunError:
                if key not in before or before[key] is not value:
                    raise
        return nodes

    def node(self, value: Any, where: str, p: Tensor | None = None) -> Node:
        """Return a value as JSON; `where` is its path, `p` the parameter it belongs to."""
        kind = type(value)
        if isinstance(value, Tensor):
            return self._tensor(value, where, p)
        if kind is float and not math.isfinite(value):  # JSON has no word for it
            return {"float": repr(value)}
        if kind in PLAIN:
            return {"value": value}
        if kind is torch.Generator:
            return self._generator(value, where)
        if kind in (list, tuple):
            return {kind.__name__: [self.node(x, f"{where}.{i}", p) for i, x in enumerate(value)]}
        if kind is dict and all(type(key) in (int, str) for key in value):
            return {"dict": [[key, self.node(x, f"{where}.{key}", p)] for key, x in value.items()]}
        raise self.refusal(value, where)

    def _tensor(self, value: Tensor, where: str, p: Tensor | None) -> Node:
        if id(value) in self._nodes:  # the same one in several places is the same one again
            return self._nodes[id(value)]
        self._check_shared_out(value, where, p)
        storage = _storage(value)
        if storage and storage in self._storages and value.numel():
            raise self.refusal(value, where, ", which shares memory with another")
        self._storages.add(storage)
        on_cpu = value.device.type == "cpu" != self._device
        self._nodes[id(value)] = self._kept(value.detach().contiguous(), where, on_cpu)
        return self._nodes[id(value)]

    def _generator(self, value: torch.Generator, where: str) -> Node:
        if id(value) not in self._nodes:
            state = self._kept(value.get_state(), where, on_cpu=True)
            self._nodes[id(value)] = {"generator": state, "device": value.device.type}
        return self._nodes[id(value)]

    def _kept(self, value: Tensor, where: str, on_cpu: bool) -> Node:
        """Keep a tensor under a name of its own; return what stands for it."""
        name = f"{PREFIX}{where}"
        while name in self.tensors:  # of {"a": {"b": ...}, "a.b": ...}
            name += "'"
        self.tensors[name] = value
        dtype = str(value.dtype).removeprefix("torch.")
        return {"tensor": name, "shape": list(value.shape), "dtype": dtype, "on_cpu": on_cpu}

    def _check_shared_out(self, value: Tensor, where: str, p: Tensor | None) -> None:
        """Raise `RunError` for a tensor that is not shared out to the ranks as its parameter is."""
        if is_dtensor(value):
            if not (is_dtensor(p) and value.shape == p.shape and value.placements == p.placements):
                raise self.refusal(value, where, ", sharded otherwise than its parameter")
        elif is_dtensor(p) and p.device_mesh.size() > 1 and value.numel() > 1:
            raise self.refusal(value, where, ", which is no DTensor as its parameter is")


def _storage(x: Tensor) -> int:
    mine = x.to_local() if is_dtensor(x) else x
    return mine.untyped_storage().data_ptr()


def tensor_nodes(node: Node) -> Iterator[Node]:
    """Yield what stands for a tensor in a node."""
    if "tensor" in node:
        yield node
    if "generator" in node:
        yield node["generator"]
    for inner in (*node.get("list", ()), *node.get("tuple", ())):
        yield from tensor_nodes(inner)
    for _, inner in node.get("dict", ()):
        yield from tensor_nodes(inner)


def empty(node: Node, p: Tensor | None, device: torch.device) -> Tensor:
    """Return a tensor of the shape and dtype of a node.

    On the CPU if it was there while the weights were not; else on `device`, where the weights are.
    """
    dtype = getattr(torch, node["dtype"])
    if is_dtensor(p) and list(p.shape) == node["shape"]:
        return torch.empty_like(p, dtype=dtype, requires_grad=False)
    home = torch.device("cpu") if node["on_cpu"] else device
    return torch.empty(node["shape"], dtype=dtype, device=home)


class Reader:
    """Turns nodes back into values; what was in several places comes out as one."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors
        self._generators: dict[str, torch.Generator] = {}

    def value(self, node: Node, now: Any = None) -> Any:
        """Return what a node stands for in the place of `now`: a generator stays the same object.

        Raises:
            RunError: a generator is of a device that is not here.
        """
        if "tensor" in node:
            return self._tensors[node["tensor"]]
        if "generator" in node:
            return self._generator(node, now)
        if "float" in node:
            return float(node["float"])
        for kind in (list, tuple):
            if kind.__name__ in node:
                inner = node[kind.__name__]
                known = now[: len(inner)] if isinstance(now, kind) else ()
                both = itertools.zip_longest(inner, known)
                return kind(self.value(each, own) for each, own in both)
        if "dict" in node:
            own = now if isinstance(now, dict) else {}
            return {key: self.value(each, own.get(key)) for key, each in node["dict"]}
        return node["value"]

    def _generator(self, node: Node, now: Any) -> torch.Generator:
        name, device = node["generator"]["tensor"], node["device"]
        if name not in self._generators:
            if not isinstance(now, torch.Generator) or now.device.type != device:
                now = _new_generator(device, name)
            self._generators[name] = now.set_state(self._tensors[name])
        return self._generators[name]


def _new_generator(device: str, name: str) -> torch.Generator:
    try:
        return torch.Generator(device)
    except RuntimeError as error:
        raise RunError(
            f"{name} of the checkpoint is a generator of random numbers on {device}, which is not "
            "here: go on where there is one"
        ) from error
