"""Released gradients on many ranks: FSDP2 runs the hooks on what is reduced, DDP would not."""

import pytest
import torch
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

import adana

from .training import (
    EXACT,
    OPTIMIZERS,
    assert_identical,
    assert_same_weights,
    batch,
    classifier,
    loss_of,
    my_part,
    optimizer_for,
    train,
    train_alone,
    weights_of,
)

STEPS = 5


def sharded():
    model = classifier()
    for block in model.blocks:
        fully_shard(block)
    return fully_shard(model)


def train_sharded(name, released):
    model = sharded()
    optimizer = optimizer_for(name, model)
    left = []
    if released:
        adana.release_gradients(optimizer)

    def look():
        left.extend(p for p in model.parameters() if p.grad is not None)

    train(model, optimizer, range(STEPS), **my_part(), before_step=look)
    return weights_of(model), len(left)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_sharded_training_is_the_same_released(worlds, name):
    ordinary = worlds(2).run(train_sharded, name, False)
    released = worlds(2).run(train_sharded, name, True)
    alone = train_alone(name, STEPS)
    for (expected, kept), (found, left) in zip(ordinary, released, strict=True):
        assert_identical(found, expected)
        assert_same_weights(found, alone, EXACT)
        assert kept > 0
        assert left == 0


def accumulate_sharded(released):
    """Two micro-batches a step, the first without communication."""
    model = sharded()
    optimizer = optimizer_for("ADana", model)
    if released:
        adana.release_gradients(optimizer)
    for step in range(STEPS):
        for micro in range(2):
            model.set_requires_gradient_sync(micro == 1)
            loss_of(model, *batch(2 * step + micro, **my_part())).backward()
        optimizer.step()
        optimizer.zero_grad()
    return weights_of(model)


def test_micro_batches_that_are_not_reduced_run_no_hooks(worlds):
    ordinary = worlds(2).run(accumulate_sharded, False)
    released = worlds(2).run(accumulate_sharded, True)
    for expected, found in zip(ordinary, released, strict=True):
        assert_identical(found, expected)


def release_data_parallel():
    model = DistributedDataParallel(classifier())
    with pytest.raises(RuntimeError, match="DistributedDataParallel averages gradients after"):
        adana.release_gradients(optimizer_for("ADana", model))


def test_data_parallel_replicas_are_refused(worlds):
    worlds(2).run(release_data_parallel)


def train_a_part_of_a_model():
    model = classifier()
    optimizer = optimizer_for("ADana", model)
    adana.release_gradients(optimizer, local_gradients=True)
    train(model, optimizer, range(STEPS))
    return weights_of(model)


def test_parts_that_no_other_process_has_can_be_released(worlds):
    for found in worlds(2).run(train_a_part_of_a_model):
        assert_same_weights(found, train_alone("ADana", STEPS), EXACT)
        assert not torch.equal(found["scale"], torch.ones(1, dtype=torch.float64))
