"""Tensor parallel, alone and under FSDP2: matrices are split by row, by column, or both ways."""

import pytest
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)

from .training import (
    DECAYED,
    EXACT,
    OPTIMIZERS,
    assert_same_weights,
    classifier,
    names_and_sizes,
    optimizer_for,
    split_twice,
    train,
    train_alone,
    weights_of,
)

STEPS = 6
HIDDEN = 12
"""Tensor parallel needs a multiple of its ranks."""


def tensor_parallel(block, mesh):
    """Split `up` by row and `down` by column."""
    return parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})


def sequence_parallel(block, mesh):
    """Split the matrices, and before them the sequence: the norm sees a part of it."""
    enter = PrepareModuleInput(
        input_layouts=Replicate(), desired_input_layouts=Shard(1), use_local_output=False
    )
    parallelize_module(block.norm, mesh, enter)
    up = ColwiseParallel(input_layouts=Shard(1))
    plan = {"norm": SequenceParallel(), "up": up, "down": RowwiseParallel()}
    return parallelize_module(block, mesh, plan)


def train_tensor_parallel(name, size, split=tensor_parallel):
    mesh = init_device_mesh("cpu", (size,))
    model = classifier(hidden=HIDDEN)
    for block in model.blocks:
        split(block, mesh)
    train(model, optimizer_for(name, model), range(STEPS))
    elsewhere = {
        key
        for key, p in model.named_parameters()
        if isinstance(p, DTensor) and p.grad.placements != p.placements
    }
    return weights_of(model), elsewhere


@pytest.mark.parametrize(("name", "size"), names_and_sizes())
def test_tensor_parallel_training_agrees_with_one_process(worlds, name, size):
    expected = train_alone(name, STEPS, hidden=HIDDEN)
    for found, _ in worlds(size).run(train_tensor_parallel, name, size):
        assert_same_weights(found, expected, EXACT)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_gradients_placed_otherwise_than_their_parameters_are_brought_home(worlds, name):
    expected = train_alone(name, STEPS, hidden=HIDDEN)
    for found, elsewhere in worlds(2).run(train_tensor_parallel, name, 2, sequence_parallel):
        assert elsewhere == {f"blocks.{i}.norm.{end}" for i in (0, 1) for end in ("weight", "bias")}
        assert_same_weights(found, expected, EXACT)


def sharded_both_ways():
    """The classifier under FSDP2 and tensor parallel, and which part of a batch is this rank's."""
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    model = classifier()  # 10 rows: 5 for each half of the tensor mesh, then 3 and 2
    for block in model.blocks:
        tensor_parallel(block, mesh["tensor"])
        fully_shard(block, mesh=mesh["data"])
    return fully_shard(model, mesh=mesh["data"]), mesh["data"].get_local_rank()


def train_both_ways(name):
    model, part = sharded_both_ways()
    train(model, optimizer_for(name, model), range(STEPS), part, parts=2)
    rows = model.blocks[0].up.weight.to_local().shape[0]
    return weights_of(model), rows


@split_twice
@pytest.mark.parametrize("name", [*OPTIMIZERS, DECAYED])
def test_tensor_parallel_under_fsdp_agrees_with_one_process(worlds, name):
    ranks = worlds(4).run(train_both_ways, name)
    assert sorted(rows for _, rows in ranks) == [2, 2, 3, 3]
    for found, _ in ranks:
        assert_same_weights(found, train_alone(name, STEPS), EXACT)
