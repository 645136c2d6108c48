"""Data parallel: every rank holds all weights and sees a part of the batch."""

import pytest
from torch.nn.parallel import DistributedDataParallel

from .training import (
    DECAYED,
    EXACT,
    OPTIMIZERS,
    TOLERANCE,
    assert_identical,
    assert_same_weights,
    classifier,
    my_part,
    optimizer_for,
    train,
    train_alone,
    weights_of,
)

STEPS = 6


def train_data_parallel(name):
    model = DistributedDataParallel(classifier())
    train(model, optimizer_for(name, model), range(STEPS), **my_part())
    return weights_of(model)


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("name", [*OPTIMIZERS, DECAYED])
def test_ranks_stay_identical_and_agree_with_one_process(worlds, name, size):
    first, *others = worlds(size).run(train_data_parallel, name)
    assert_same_weights(first, train_alone(name, STEPS), TOLERANCE.get(name, EXACT))
    for other in others:
        assert_identical(other, first)
