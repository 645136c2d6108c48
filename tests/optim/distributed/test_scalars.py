"""Norms and telemetry of sharded parameters are those of whole ones."""

import pytest
import torch
from torch.distributed.fsdp import fully_shard

import adana

from .training import (
    EXACT,
    assert_same_weights,
    classifier,
    my_part,
    optimizer_for,
    train,
    weights_of,
)

STEPS = 3


def train_clipped(name, sharded):
    """Norms, the last report and the weights of a training that is clipped and watched."""
    model = classifier()
    if sharded:
        for block in model.blocks:
            fully_shard(block)
        fully_shard(model)
    optimizer, norms = optimizer_for(name, model), []
    part = my_part() if sharded else {}
    with optimizer.telemetry() as watch:
        train(
            model,
            optimizer,
            range(STEPS),
            **part,
            before_step=lambda: norms.append(adana.clip_grad_norm(optimizer, 0.1)),
        )
        report = {i: [x for x in seen if x is not None] for i, seen in watch.read().items()}
    return torch.stack(norms), report, weights_of(model)


@pytest.mark.parametrize("name", ["DanaStarMK4", "LogMuon"])
def test_every_rank_clips_and_sees_as_one_process(worlds, name):
    norms, report, expected = train_clipped(name, sharded=False)
    assert (norms > 0.1).all()
    for found_norms, found_report, found in worlds(2).run(train_clipped, name, True):
        torch.testing.assert_close(found_norms, norms, rtol=1e-9, atol=0)
        assert_same_weights(found, expected, EXACT)
        assert found_report.keys() == report.keys()
        for i, seen in report.items():
            assert found_report[i] == pytest.approx(seen, rel=1e-6, abs=1e-12)
