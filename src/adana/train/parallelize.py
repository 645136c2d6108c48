"""A model on the devices of a run: sharded or replicated, compiled, with less memory.

What is done here changes where numbers are and how fast they come, never which numbers (beyond
rounding): weights are drawn by parameter name, gradients are reduced in float32, and every rank's
loss is a mean over equally many sequences.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from adana.nn import ModelConfig, build_model
from adana.train.config import LayoutConfig
from adana.train.world import World


@dataclass(frozen=True)
class PlacedModel:
    """A model, and how to run it on this run's devices."""

    module: nn.Module
    """The model itself, under the parameter names of one process."""
    forward: Callable[..., Any]
    """Call this instead of the model: it sees to gradients being averaged over ranks."""
    replicated: DistributedDataParallel | None = None

    def last_micro_batch(self, last: bool) -> None:
        """Say whether the next backward is the step's last: only then replicas exchange gradients.

        Shards exchange them each time, so that no rank ever holds the gradient of the whole model.
        """
        if self.replicated is not None:
            self.replicated.require_backward_grad_sync = last


def place_model(config: ModelConfig, seed: int, layout: LayoutConfig, world: World) -> PlacedModel:
    """Build the model of `config` with the weights of `seed`, laid out over `world`.

    Its initial weights are the same to the bit for any layout. No rank ever holds more of a sharded
    model than one whole parameter.
    """
    sharded = world.size > 1 and layout.parallel == "fsdp"
    with torch.device("meta"):
        model = build_model(config, seed=None)
    for block in blocks_of(model):
        block.forward = _block_forward(block.forward, layout)
    if sharded:
        _shard(model, world)
    model.to_empty(device=world.device)
    model.init_weights(seed)
    if world.size == 1 or sharded:
        return PlacedModel(model, model)
    ids = [world.device.index] if world.device.type == "cuda" else None
    # Weights and buffers are the same on all ranks by construction: nothing to send around.
    replicas = DistributedDataParallel(
        model,
        device_ids=ids,
        gradient_as_bucket_view=True,
        broadcast_buffers=False,
        init_sync=False,
    )
    return PlacedModel(model, replicas, replicas)


def _block_forward(forward: Callable[..., Tensor], layout: LayoutConfig) -> Callable[..., Tensor]:
    """Return a block's forward with recomputation and compilation as the layout says.

    On the method, not around the module, so that parameters keep their names, and inside what
    FSDP does before and after the block.
    """
    if layout.activation_checkpointing:
        forward = functools.partial(checkpoint, forward, use_reentrant=False)
    if layout.compile:
        forward = torch.compile(forward)
    return forward


def part_again(model: nn.Module) -> None:
    """Let go of what ranks gathered of a sharded model for a pass without a backward.

    Its root would stay whole, and deaf to what happens to its shards.
    """
    from torch.distributed.fsdp import FSDPModule  # noqa: PLC0415 (a third of torch's own time)

    if isinstance(model, FSDPModule):
        model.reshard()


def _shard(model: nn.Module, world: World) -> None:
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # noqa: PLC0415

    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = MixedPrecisionPolicy(reduce_dtype=torch.float32)
    for block in blocks_of(model):
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of a model, which are compiled, sharded and recomputed one by one."""
    blocks = model.get_submodule("blocks")
    return list(blocks.children())
