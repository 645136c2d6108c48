"""A pretended device, so that what travels between devices is tested where there is only one.

Its tensors say that they are on "meta". Their data is on the CPU, where only copies reach it:
an operation on tensors of both fails, as it would with a real device.
"""

import weakref

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

DEVICE = torch.device("meta")
ACROSS = {torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default}
"""What may read a tensor of one device and write to another."""


class Elsewhere(torch.Tensor):
    """A tensor on the pretended device."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=DEVICE,
        )  # fmt: skip

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"Elsewhere({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return PretendedDevice.active[-1].run(function, args, kwargs or {})


class PretendedDevice(TorchDispatchMode):
    """Has tensors as long as it is entered, and counts the bytes that they take."""

    active: list["PretendedDevice"] = []  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.bytes = self.peak = 0
        self._shared = {}

    def __enter__(self):
        self.active.append(self)
        return super().__enter__()

    def __exit__(self, *error):
        self.active.pop()
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if DTensor in types:  # which calls again with its shards
            return NotImplemented
        return self.run(function, args, kwargs or {})

    def run(self, function, args, kwargs):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        here = any(isinstance(x, Elsewhere) for x in tensors)
        if here and function not in ACROSS:
            mixed = [x for x in tensors if not isinstance(x, Elsewhere) and x.ndim > 0]
            assert not mixed, f"{function} of tensors on two devices"
        target = kwargs.get("device")
        if target is not None:
            here = torch.device(target) == DEVICE
            kwargs = {**kwargs, "device": "cpu"}
        inner_args, inner_kwargs = tree_map_only(Elsewhere, lambda x: x.inner, (args, kwargs))
        result = function(*inner_args, **inner_kwargs)
        if function._schema.is_mutable:
            return args[0] if result is not None else None
        return tree_map_only(torch.Tensor, self._there, result) if here else result

    def _there(self, inner):
        """Return the tensor on this device with the data of `inner`."""
        storage, size = inner.untyped_storage().data_ptr(), inner.untyped_storage().nbytes()
        if size and storage not in self._shared:
            self._shared[storage] = 0
            self.bytes += size
            self.peak = max(self.peak, self.bytes)
        if size:
            self._shared[storage] += 1
            weakref.finalize(inner, self._gone, storage, size)
        return Elsewhere(inner)

    def _gone(self, storage, size):
        self._shared[storage] -= 1
        if self._shared[storage] == 0:
            del self._shared[storage]
            self.bytes -= size
