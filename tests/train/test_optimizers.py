"""Every optimizer that has a name can be built from a configuration and trains a model."""

import dataclasses

import pytest
import torch

import adana
from adana import schedules
from adana.nn import Enoki, EnokiConfig
from adana.train import HYPERPARAMETERS, OPTIMIZERS, OptimizerConfig, build_optimizer
from adana.train.config import OPTIONAL
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
        loss = model(tokens[:, :-1], tokens[:, 1:]).loss
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
    untold = {"ema_v", "momentum"} if name == "muon" else set()  # its matrices come first
    assert set(values) == {"gamma", "lr", "ema_m", "ema_v", "momentum", "decay"} - untold
    assert state_bytes(optimizer) > 0


TWO_VALUES = {"beta1": (0.5, 0.9), "beta2": (0.5, 0.9), "clip_snr": (1e-3, 1.0)}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("field", HYPERPARAMETERS)
def test_an_optimizer_reads_exactly_the_hyperparameters_it_says(name, field):
    if field in OPTIONAL and field not in OPTIMIZERS[name].reads:
        with pytest.raises(ValueError, match=f"{name} does not read it.*take one that does: "):
            build(name, **{field: 0.5})
        return
    ends = []
    for value in TWO_VALUES.get(field, (0.5, 1.0)):
        # So short a run that the momentum cools down within the steps made.
        model, optimizer = build(name, steps=10, **{field: value})
        train(model, optimizer, steps=8)
        ends.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    changed = not torch.equal(*ends)
    # With alpha constant or undamped, kappa is there but has nothing to damp.
    idle = {("kappa", n) for n in ("log-adamw", "log-nadamw", "log-nadamw-nesterov")}
    idle |= {("kappa", "adana-constant-alpha")}
    assert changed == (field in OPTIMIZERS[name].reads and (field, name) not in idle)


@pytest.mark.parametrize("variant", ["paper", "released"])
@pytest.mark.parametrize("cls", [adana.DanaStar, adana.DanaStarMK4])
def test_the_logged_momentum_of_a_star_member_is_what_multiplies_m_of_a_steady_coordinate(
    cls, variant
):
    """With tau held at 1/2 (r = 1) and no gradient the step is -lr * momentum * m/D."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    arguments = {"omega": 0.0, "kappa": 0.75, "momentum_scale": 0.7, "variant": variant}
    optimizer = cls([p], lr=1.0, **arguments, **({} if cls is adana.DanaStar else UNCLIPPED))
    t = 400
    p.grad = torch.zeros_like(p)
    optimizer.step()
    forget = 1 - schedules.ema_weight(t)
    state = optimizer.state[p]
    state["step"].fill_(t - 1)
    for name, after in {"m": 0.25, "v": 1.0, "tau": 0.5}.items():
        state[name].fill_(after / forget)
    optimizer.step()
    momentum = schedule_values(optimizer, 1.0, t)["momentum"]
    assert momentum > 0.7 * 200**0.25  # it grows with time
    assert -p.item() == pytest.approx(momentum * 0.25, rel=1e-6)


UNCLIPPED = {"clip_snr": float("inf")}
OTHERS = {
    "SGD": (torch.optim.SGD, {}, {"decay": 0.01, "ema_m": 1.0}),
    "SGD with momentum": (torch.optim.SGD, {"momentum": 0.9}, {"decay": 0.01, "ema_m": 0.1}),
    "Adagrad": (torch.optim.Adagrad, {}, {"decay": 0.01}),
    "NAdam": (torch.optim.NAdam, {}, {"decay": 0.01, "ema_m": 0.1, "ema_v": 0.001}),
    "AdamW": (
        torch.optim.AdamW,
        {},
        {"decay": 0.01, "ema_m": 0.1, "ema_v": 0.001, "momentum": 1 / 0.19},
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_of_an_optimizer_of_others_what_its_group_tells_is_logged(name):
    cls, arguments, expected = OTHERS[name]
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = cls([p], lr=0.1, weight_decay=0.1, **arguments)
    values = schedule_values(optimizer, 0.5, 2)
    assert values == pytest.approx({"gamma": 0.5, "lr": 0.1, **expected})
