"""Data parallel: every rank holds all weights and sees a part of the batch."""

import importlib

import pytest
from torch.nn.parallel import DistributedDataParallel

import adana

from .training import (
    EXACT,
    OPTIMIZERS,
    assert_identical,
    assert_same_weights,
    classifier,
    my_part,
    names_and_sizes,
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


@pytest.mark.parametrize(("name", "size"), names_and_sizes())
def test_ranks_stay_identical_and_agree_with_one_process(worlds, name, size):
    first, *others = worlds(size).run(train_data_parallel, name)
    assert_same_weights(first, train_alone(name, STEPS), EXACT)
    for other in others:
        assert_identical(other, first)


def train_with_states_divided_among_ranks(name):
    zero = importlib.import_module("torch.distributed.optim")  # warns of torch's own old code
    model = DistributedDataParallel(classifier())
    groups = adana.param_groups(model, muon=name == "LogMuon")
    made = OPTIMIZERS[name]
    optimizer = zero.ZeroRedundancyOptimizer(groups, made.func, **made.keywords)
    train(model, optimizer, range(STEPS), **my_part())
    return weights_of(model), len(optimizer.optim.state)


@pytest.mark.parametrize("name", ["ADana", "LogMuon"])
def test_states_can_be_divided_among_ranks(worlds, name):
    ranks = worlds(2).run(train_with_states_divided_among_ranks, name)
    assert sum(states for _, states in ranks) == len(list(classifier().parameters()))
    for found, states in ranks:
        assert states > 0
        assert_same_weights(found, train_alone(name, STEPS), EXACT)
