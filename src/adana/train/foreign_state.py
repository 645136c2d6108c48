"""What an optimizer of another package remembers, as a checkpoint holds it: whatever it looks like.

The states of this package's optimizers and of torch's are a few tensors of known names for each
parameter. Others keep lists, counters beside the tensors, in groups or on themselves, and things
that come and go. So the structure of it all is written down too, and rebuilt from that alone: no
code of the optimizer has a say in it, and nothing is cast.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adana.dtensors import is_dtensor
from adana.names import plain_name
from adana.runs import RunError

Node = dict[str, Any]
"""A value as JSON: one key that says what it is."""
PLAIN = (bool, int, float, str, type(None))
NOT_OURS = ("params", "lr")
"""Keys of a group that are set from elsewhere."""
PREFIX = "optimizer."
"""What the names of an optimizer's tensors begin with in a checkpoint."""


class ForeignState:
    """All that an optimizer remembers: its states, groups and public attributes, and torch's
    generators of random numbers, from which it may draw.

    Functions and other objects that were there from the beginning are left as they are.

    Args:
        model: every tensor of the optimizer's state is by the name of its parameter here.
        optimizer: as it was just built; objects that a checkpoint cannot hold may stay these.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._parameters = {plain_name(name): p for name, p in model.named_parameters()}
        self._groups = [dict(group) for group in optimizer.param_groups]
        self._attributes = _attributes(optimizer)

    def saved(self) -> tuple[Node, dict[str, Tensor]]:
        """Return the structure, as JSON, and its tensors by name, live.

        Raises:
            RunError: something is among it that a checkpoint cannot hold; it is named.
        """
        writer = _Writer(type(self._optimizer).__name__, self._parameters)
        names: dict[Tensor, str] = {p: name for name, p in self._parameters.items()}
        structure: Node = {"parameters": {}, "others": {}}
        for key, value in self._optimizer.state.items():
            name = names.get(key) if isinstance(key, Tensor) else None
            if name is not None:
                structure["parameters"][name] = writer.node(value, name, key)
            elif type(key) is str:
                structure["others"][key] = writer.node(value, f"others.{key}")
            else:
                raise writer.refusal(key, "the keys of its state")
        both = zip(self._optimizer.param_groups, self._groups, strict=True)
        structure["groups"] = [
            writer.changing(now, before, f"groups.{i}") for i, (now, before) in enumerate(both)
        ]
        attributes = _attributes(self._optimizer)
        structure["attributes"] = writer.changing(attributes, self._attributes, "attributes")
        structure["random"] = {
            device: writer.node(generator, f"random.{device}")
            for device, generator in self._generators().items()
        }
        return structure, writer.tensors

    def room(self, structure: Node) -> dict[str, Tensor]:
        """Return new tensors by name, into which those of `structure` are to be read.

        Those of the shape of their parameter are shared out to the ranks as it is now.
        """
        device = next(iter(self._parameters.values())).device
        found: dict[str, Tensor] = {}
        for p, node in self._nodes(structure):
            for own in _tensor_nodes(node):
                found.setdefault(own["tensor"], _empty(own, p, device))
        return found

    def restore(self, structure: Node, tensors: Mapping[str, Tensor]) -> None:
        """Make the optimizer remember what `structure` says, with these tensors."""
        state = self._optimizer.state
        state.clear()
        for name, node in structure["parameters"].items():
            state[self._parameters[name]] = _value(node, tensors)
        others: dict[Any, Any] = state
        for key, node in structure["others"].items():
            others[key] = _value(node, tensors)
        for group, nodes in zip(self._optimizer.param_groups, structure["groups"], strict=True):
            group.update({k: _renewed(group.get(k), node, tensors) for k, node in nodes.items()})
        for key, node in structure["attributes"].items():
            now = getattr(self._optimizer, key, None)
            setattr(self._optimizer, key, _renewed(now, node, tensors))
        for device, generator in self._generators().items():
            if device in structure["random"]:
                _renewed(generator, structure["random"][device], tensors)

    def _generators(self) -> dict[str, torch.Generator]:
        """Return torch's generators of random numbers, of the CPU and of where the weights are."""
        found = {"cpu": torch.default_generator}
        device = next(iter(self._parameters.values())).device
        if device.type == "cuda":
            found["cuda"] = torch.cuda.default_generators[device.index or 0]
        return found

    def _nodes(self, structure: Node) -> Iterator[tuple[Tensor | None, Node]]:
        """Yield every node with the parameter it belongs to, if it belongs to one."""
        for name, node in structure["parameters"].items():
            yield self._parameters[name], node
        groups = structure["groups"]
        for nodes in (structure["others"], *groups, structure["attributes"], structure["random"]):
            for node in nodes.values():
                yield None, node


def _attributes(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    torchs = {"state", "param_groups", "defaults"}
    own = {key: value for key, value in vars(optimizer).items() if key not in torchs}
    return {key: value for key, value in own.items() if not key.startswith("_")}


class _Writer:
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
            "own memory, Python's numbers and texts, and lists, tuples and dictionaries of them "
            "(docs/own-optimizer.md)"
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
        state = self._kept(value.get_state(), where, on_cpu=True)
        return {"generator": state, "device": value.device.type}

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


def _tensor_nodes(node: Node) -> Iterator[Node]:
    if "tensor" in node:
        yield node
    if "generator" in node:
        yield node["generator"]
    for inner in (*node.get("list", ()), *node.get("tuple", ())):
        yield from _tensor_nodes(inner)
    for _, inner in node.get("dict", ()):
        yield from _tensor_nodes(inner)


def _empty(node: Node, p: Tensor | None, device: torch.device) -> Tensor:
    """Return a tensor of the shape and dtype of a node.

    On the CPU if it was there while the weights were not; else on `device`, where the weights are.
    """
    dtype = getattr(torch, node["dtype"])
    if is_dtensor(p) and list(p.shape) == node["shape"]:
        return torch.empty_like(p, dtype=dtype, requires_grad=False)
    home = torch.device("cpu") if node["on_cpu"] else device
    return torch.empty(node["shape"], dtype=dtype, device=home)


def _renewed(now: Any, node: Node, tensors: Mapping[str, Tensor]) -> Any:
    """Return what a node stands for in the place of `now`: a generator stays the same object."""
    if "generator" in node and isinstance(now, torch.Generator):
        return now.set_state(_value(node["generator"], tensors))
    return _value(node, tensors)


def _value(node: Node, tensors: Mapping[str, Tensor]) -> Any:
    """Return what a node stands for; what is in several places comes out as one."""
    if "tensor" in node:
        return tensors[node["tensor"]]
    if "generator" in node:
        return _renewed(torch.Generator(node["device"]), node, tensors)
    if "float" in node:
        return float(node["float"])
    for kind in (list, tuple):
        if kind.__name__ in node:
            return kind(_value(each, tensors) for each in node[kind.__name__])
    if "dict" in node:
        return {key: _value(each, tensors) for key, each in node["dict"]}
    return node["value"]
