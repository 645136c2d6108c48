"""A small training that one process can do with whole batches and ranks with parts of them."""

import functools

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.tensor import DTensor

import adana

VOCABULARY, WIDTH, HIDDEN, CLASSES = 13, 6, 10, 3
BATCH, LENGTH = 8, 4
PEAK = 1e-2

SETTINGS = {"lr": PEAK, "omega": 1.0, "total_steps": 100}
"""Decay is strong (9 % at the first step), so that a wrong gamma shows."""
OPTIMIZERS = {
    "ADana": functools.partial(adana.ADana, **SETTINGS),
    "DanaMK4": functools.partial(adana.DanaMK4, **SETTINGS),
    "DanaStar": functools.partial(adana.DanaStar, grad_clip_snr=2.0, **SETTINGS),
    "DanaStarMK4": functools.partial(adana.DanaStarMK4, variant="released", **SETTINGS),
    "LogAdamW": functools.partial(adana.LogAdamW, **SETTINGS),
    "AdEMAMix": functools.partial(adana.AdEMAMix, **SETTINGS),
    "LogAdEMAMix": functools.partial(adana.LogAdEMAMix, **SETTINGS),
    "LogMuon": functools.partial(adana.LogMuon, **SETTINGS),
    "Dana": functools.partial(adana.Dana, **SETTINGS),
}
DECAYED = "SGD with log-time decay"
"""Not of the family, but its decay is."""
FAST = {"ADana", "DanaStarMK4", "LogAdEMAMix", "LogMuon"}
"""What is tested every time where the others differ little from one of these: exhaustive tests."""
EXACT = 1e-10
"""How far weights of float64 may be off."""
TORCH_2_9 = torch.__version__.startswith("2.9.")
split_twice = pytest.mark.skipif(
    TORCH_2_9, reason="torch 2.9 gathers unequal shards of two meshes in a wrong order"
)
"""For tests of weights that tensor parallel and FSDP split both."""


class Block(nn.Module):
    """A residual layer: a gain, two matrices, their biases."""

    def __init__(self, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, hidden)
        self.down = nn.Linear(hidden, WIDTH)

    def forward(self, x):
        return x + self.down(torch.tanh(self.up(self.norm(x))))


class Classifier(nn.Module):
    """Tokens to a class. On 4 ranks most shards are uneven, and head and scale leave some empty."""

    def __init__(self, hidden):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.blocks = nn.ModuleList([Block(hidden), Block(hidden)])
        self.head = nn.Linear(WIDTH, CLASSES)
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, tokens):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean(1) * self.scale


def classifier(dtype=torch.float64, hidden=HIDDEN):
    """A new model with the same weights every time."""
    generator = torch.Generator().manual_seed(0)
    model = Classifier(hidden)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator))
    return model.to(dtype)


def optimizer_for(name, model, **overrides):
    """The optimizer of a name over the groups of a model."""
    groups = adana.param_groups(model, muon=name == "LogMuon")
    if name == DECAYED:
        decay = {**SETTINGS, **overrides}
        sgd = torch.optim.SGD(groups, lr=decay.pop("lr"), momentum=0.9)
        return adana.with_log_time_decay(sgd, **decay)
    return OPTIMIZERS[name](groups, **overrides)


def batch(step, part=0, parts=1):
    """Tokens and classes of a step: one of equal parts of the same whole."""
    generator = torch.Generator().manual_seed(1000 + step)
    tokens = torch.randint(VOCABULARY, (BATCH, LENGTH), generator=generator)
    classes = torch.randint(CLASSES, (BATCH,), generator=generator)
    return tokens.chunk(parts)[part], classes.chunk(parts)[part]


def loss_of(model, tokens, classes):
    """Mean loss of a batch."""
    return nn.functional.cross_entropy(model(tokens), classes)


def train(model, optimizer, steps, part=0, parts=1, before_step=None, after_step=None):
    """Train at the given steps, on one part of every batch."""
    for step in steps:
        optimizer.zero_grad()
        loss_of(model, *batch(step, part, parts)).backward()
        if before_step:
            before_step()
        optimizer.step()
        if after_step:
            after_step()


def train_alone(name, steps, hidden=HIDDEN, **overrides):
    """Weights after training in one process, with whole batches."""
    model = classifier(hidden=hidden)
    train(model, optimizer_for(name, model, **overrides), range(steps))
    return weights_of(model)


def whole(x):
    """A tensor with all its parts, as a plain one."""
    x = x.full_tensor() if isinstance(x, DTensor) else x
    return x.detach().clone()


def weights_of(model):
    """All weights of a model by name, whole (ranks must ask together)."""
    return {name.removeprefix("module."): whole(p) for name, p in model.named_parameters()}


def states_of(model, optimizer):
    """All states of an optimizer by name, whole (ranks must ask together)."""
    return {
        f"{name}.{key}": whole(value)
        for name, p in model.named_parameters()
        for key, value in optimizer.state[p].items()
    }


def settings_of(optimizer):
    """The saved hyperparameters of all groups; tuples as lists, which torch makes of some."""
    return [
        {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in group.items()
            if key != "params"
        }
        for group in optimizer.state_dict()["param_groups"]
    ]


def names_and_sizes():
    """Every optimizer on 2 and on 4 ranks, some of the latter only among the exhaustive tests."""
    return [
        pytest.param(
            name, size, marks=pytest.mark.exhaustive if size == 4 and name not in FAST else ()
        )
        for name in [*OPTIMIZERS, DECAYED]
        for size in (2, 4)
    ]


def my_part():
    """This rank's part of every batch, and how many there are."""
    return {"part": dist.get_rank(), "parts": dist.get_world_size()}


def assert_same_weights(found, expected, tolerance=EXACT):
    """All weights agree to rounding."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=0, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}"
        )


def assert_identical(found, expected):
    """All tensors agree to the bit, dtypes too."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name
