"""Every optimizer that has a name can be built from a configuration and trains a model."""

import dataclasses

import pytest
import torch

from adana.nn import Enoki, EnokiConfig
from adana.train import HYPERPARAMETERS, OPTIMIZERS, OptimizerConfig, build_optimizer
from adana.train.evaluate import training_loss
from adana.train.optimizers import schedule_values, set_gamma, state_bytes

MODEL = EnokiConfig(heads=2, layers=1, head_dim=8, vocab_size=60, sequence_length=16)


def build(name, steps=100, **changes):
    model = Enoki(MODEL, seed=0)
    config = dataclasses.replace(OptimizerConfig(name, lr=1e-3, omega=1.0), **changes)
    return model, build_optimizer(model, config, steps)


def train(model, optimizer, steps=8):
    tokens = torch.randint(60, (4, 17), generator=torch.Generator().manual_seed(0))
    losses = []
    for t in range(1, steps + 1):
        set_gamma(optimizer, 1e-3, 1 - t / 100)
        optimizer.zero_grad()
        loss, _ = training_loss(model, tokens, 0.0)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_named_optimizer_learns_one_batch_by_heart(name):
    model, optimizer = build(name)
    losses = train(model, optimizer)
    assert losses[-1] < losses[0]
    values = schedule_values(optimizer, 0.5, 3)
    assert set(values) == {"gamma", "lr", "ema_m", "ema_v", "momentum", "decay"}
    assert state_bytes(optimizer) > 0


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("field", HYPERPARAMETERS)
def test_an_optimizer_reads_exactly_the_hyperparameters_it_says(name, field):
    ends = []
    for value in (0.5, 1.0):
        model, optimizer = build(name, **{field: value})
        train(model, optimizer, steps=3)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    changed = not torch.equal(*ends)
    # With alpha constant or undamped, kappa is there but has nothing to damp.
    idle = {("kappa", n) for n in ("log-adamw", "log-nadamw", "log-nadamw-nesterov")}
    idle |= {("kappa", "adana-constant-alpha")}
    assert changed == (field in OPTIMIZERS[name].reads and (field, name) not in idle)
