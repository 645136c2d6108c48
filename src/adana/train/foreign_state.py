"""What an optimizer of another package remembers, as a checkpoint holds it: whatever it looks like.

The states of this package's optimizers and of torch's are a few tensors of known names for each
parameter. Others keep lists, counters beside the tensors, in groups or on themselves, and things
that come and go. So the structure of it all is written down too, and rebuilt from that alone: no
code of the optimizer has a say in it, and nothing is cast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adana.names import plain_name
from adana.train.nodes import Node, Reader, Writer, empty, tensor_nodes


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
        writer = Writer(type(self._optimizer).__name__, self._parameters)
        names: dict[Tensor, str] = {p: name for name, p in self._parameters.items()}
        structure: Node = {"random": {}, "parameters": {}, "others": {}}
        for device, generator in self._generators().items():
            structure["random"][device] = writer.node(generator, f"random.{device}")
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
        return structure, writer.tensors

    def room(self, structure: Node) -> dict[str, Tensor]:
        """Return new tensors by name, into which those of `structure` are to be read.

        Those of the shape of their parameter are shared out to the ranks as it is now.
        """
        device = next(iter(self._parameters.values())).device
        found: dict[str, Tensor] = {}
        for p, node in self._nodes(structure):
            for own in tensor_nodes(node):
                found.setdefault(own["tensor"], empty(own, p, device))
        return found

    def restore(self, structure: Node, tensors: Mapping[str, Tensor]) -> None:
        """Make the optimizer remember what `structure` says, with these tensors.

        Raises:
            RunError: it needs a device that is not here.
        """
        reader = Reader(tensors)
        random = structure.get("random", {})  # which older checkpoints do not have
        for device, generator in self._generators().items():
            if device in random:
                reader.value(random[device], generator)
        for group, nodes in zip(self._optimizer.param_groups, structure["groups"], strict=True):
            group.update({key: reader.value(node, group.get(key)) for key, node in nodes.items()})
        for key, node in structure["attributes"].items():
            now = getattr(self._optimizer, key, None)
            setattr(self._optimizer, key, reader.value(node, now))
        state: dict[Any, Any] = self._optimizer.state
        state.clear()
        for name, node in structure["parameters"].items():
            state[self._parameters[name]] = reader.value(node)
        for key, node in structure["others"].items():
            state[key] = reader.value(node)

    def _generators(self) -> dict[str, torch.Generator]:
        """Return torch's generators of random numbers, of the CPU and of where the weights are."""
        found = {"cpu": torch.default_generator}
        device = next(iter(self._parameters.values())).device
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            found["cuda"] = torch.cuda.default_generators[index]
        return found

    def _nodes(self, structure: Node) -> Iterator[tuple[Tensor | None, Node]]:
        """Yield every node with the parameter it belongs to, if it belongs to one."""
        for name, node in structure["parameters"].items():
            yield self._parameters[name], node
        kinds = structure["others"], structure["attributes"], structure.get("random", {})
        for nodes in (*structure["groups"], *kinds):
            for node in nodes.values():
                yield None, node


def _attributes(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Return what counts of an optimizer's attributes: public ones, and generators of any name."""
    torchs = {"state", "param_groups", "defaults"}
    return {
        key: value
        for key, value in vars(optimizer).items()
        if (key not in torchs and not key.startswith("_")) or isinstance(value, torch.Generator)
    }
