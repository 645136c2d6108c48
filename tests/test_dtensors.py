"""Sharded tensors are told from others, also where `torch.compile` looks."""

import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from adana.dtensors import as_part_of, is_dtensor, local, whole


@pytest.fixture
def sharded():
    """A parameter sharded over a world of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    mesh = init_device_mesh("cpu", (1,))
    yield torch.nn.Parameter(distribute_tensor(torch.arange(6.0).view(3, 2), mesh, [Shard(0)]))
    dist.destroy_process_group()


def kinds(x, y):
    return (local(x) * 2, local(y) * 2), (is_dtensor(x), is_dtensor(y))


@pytest.mark.parametrize("compiled", [False, True])
def test_parts_are_plain_tensors_also_in_compiled_code(sharded, compiled):
    function = torch.compile(kinds, backend="eager", fullgraph=True) if compiled else kinds
    parts, found = function(sharded, torch.ones(2))
    assert found == (True, False)
    assert [type(part) for part in parts] == [torch.Tensor, torch.Tensor]


def test_a_part_and_the_whole_of_it(sharded):
    part = as_part_of(sharded, torch.ones(3, 2))
    assert isinstance(part, DTensor)
    assert part.placements == sharded.placements
    assert torch.equal(whole(part), torch.ones(3, 2))
    plain = torch.ones(2)
    assert as_part_of(plain, plain) is plain
    assert whole(plain) is plain


def test_a_part_shares_the_memory_of_the_whole(sharded):
    with torch.no_grad():
        local(sharded).zero_()
    assert not whole(sharded).any()
