"""Compiled steps of sharded parameters do what eager ones do."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from .training import OPTIMIZERS

BACKEND = "eager"
"""What is looked at is the tracing, not the code that is made of it."""


def stepped(name, settings, dtype, compiled):
    """A sharded weight after three steps, whole."""
    torch._dynamo.reset()
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    generator = torch.Generator().manual_seed(0)

    def drawn():
        values = torch.randn(6, 4, generator=generator).to(dtype)
        return distribute_tensor(values, mesh, [Shard(0)])

    p = torch.nn.Parameter(drawn())
    flag = {"muon": True} if name == "LogMuon" else {}
    optimizer = OPTIMIZERS[name]([{"params": [p], **flag}], **settings)
    step = torch.compile(optimizer.step, backend=BACKEND) if compiled else optimizer.step
    for _ in range(3):
        p.grad = drawn()
        step()
    return p.full_tensor().detach().float()


def both_ways(name, settings, dtype):
    return [stepped(name, settings, dtype, compiled) for compiled in (False, True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings", "dtype"),
    [
        ("ADana", {}, torch.float32),
        ("ADana", {"state_dtype": "bf16_sr"}, torch.float32),
        ("ADana", {}, torch.bfloat16),
        ("LogMuon", {}, torch.float32),
    ],
)
def test_a_compiled_step_is_the_eager_one(worlds, name, settings, dtype):
    for eager, compiled in worlds(2).run(both_ways, name, settings, dtype):
        assert torch.allclose(eager, compiled, rtol=1e-5, atol=1e-6)
