"""One table of configurations that drives the tests over all optimizers."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import adana
from adana.optim import ABLATIONS, AblatedADana

SHAPES = [(3, 4), (5,), (), (2, 0), (1, 2, 3)]
MOMENTS = ("m", "v")
ACTIVITY = ("m", "v", "tau")
TWO_AVERAGES = ("m", "v", "fast")


@dataclass(frozen=True)
class Case:
    """One optimizer in one configuration, callable as its class."""

    cls: type[torch.optim.Optimizer]
    arguments: dict[str, Any] = field(default_factory=dict)
    state: tuple[str, ...] = MOMENTS
    """Names of its state tensors, for a vector."""

    def __call__(self, params, **overrides):
        return self.cls(params, **{"lr": 1e-2, **self.arguments, **overrides})


T = {"total_steps": 100}
CONFIGURATIONS = {
    "adana": Case(adana.ADana, T),
    "adana-released": Case(adana.ADana, {**T, "variant": "released", "momentum_scale": 0.5}),
    "adana-first-step-0": Case(adana.ADana, {"kappa": 0.75, "first_step": 0}),
    "adana-no-decay": Case(adana.ADana, {"omega": 0.0}),
    "adana-cooldown": Case(adana.ADana, {"total_steps": 50, "momentum_cooldown": 0.9}),
    "adana-constant-decay": Case(adana.ADana, {**T, "decay": "constant"}),
    "dana-mk4": Case(adana.DanaMK4, T),
    "dana-mk4-released": Case(adana.DanaMK4, {"variant": "released", "clip_snr": 0.1}),
    "dana-mk4-damped-only": Case(adana.DanaMK4, {"extra_momentum": 0.0, "clip_snr": float("inf")}),
    "dana-mk4-no-clip-cooled-down": Case(
        adana.DanaMK4,
        {"total_steps": 5, "momentum_cooldown": 1.0, "clip_snr": float("inf"), "omega": 0.1},
    ),
    "dana-star": Case(adana.DanaStar, T, ACTIVITY),
    "dana-star-grad-clip": Case(adana.DanaStar, {"grad_clip_snr": 1.0}, ACTIVITY),
    "dana-star-released": Case(adana.DanaStar, {"variant": "released"}, ACTIVITY),
    "dana-star-mk4": Case(adana.DanaStarMK4, {**T, "momentum_scale": 2.0}, ACTIVITY),
    "dana-star-mk4-released": Case(adana.DanaStarMK4, {"variant": "released"}, ACTIVITY),
    "adamw-log-decay": Case(adana.LogAdamW, T),
    "adamw-log-decay-after": Case(
        adana.LogAdamW, {"decay_order": "after", "betas": (0.8, 0.95), "eps": 1e-6}
    ),
    "ademamix": Case(adana.AdEMAMix, T, TWO_AVERAGES),
    "ademamix-no-fast-average": Case(adana.AdEMAMix, {**T, "betas": (0.0, 0.99)}),
    "ademamix-log-decay": Case(
        adana.AdEMAMix,
        {**T, "decay": "log-time", "beta3": 0.99, "alpha": 5.0, "warmup_steps": 10},
        TWO_AVERAGES,
    ),
    "log-ademamix": Case(adana.LogAdEMAMix, {}, TWO_AVERAGES),
    "log-muon": Case(adana.LogMuon, {**T, "muon": True}),
    "log-muon-rest": Case(adana.LogMuon, {"muon": False}),
    "dana": Case(adana.Dana, {}, ("m",)),
    "dana-constant": Case(adana.Dana, {"dimension": 8, "omega": 1.0}, ("m",)),
    "dana-average": Case(adana.Dana, {"average": True, "kappa": 0.5}, ("m",)),
    "sgd-m": Case(adana.Dana, {"forget": 0.1}, ("m",)),
    **{
        f"ablation-{name}": Case(
            AblatedADana,
            {**T, **arguments},
            TWO_AVERAGES if arguments.get("gradient") == "average" else MOMENTS,
        )
        for name, arguments in ABLATIONS.items()
    },
}


QUICK = (
    "adana", "adana-released", "dana-mk4", "dana-star-grad-clip", "dana-star-mk4", "ademamix",
    "log-ademamix", "adamw-log-decay-after", "log-muon", "dana", "ablation-log-nadamw",
)  # fmt: skip
"""One configuration of each optimizer and for each kind of update."""
SOME_QUICK = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.exhaustive)
    for name in CONFIGURATIONS
]
"""All configurations, for fixtures; the tests of most are exhaustive."""


@pytest.fixture(params=SOME_QUICK)
def make(request):
    """A function from parameters (and overrides) to an optimizer; runs once per configuration."""
    return CONFIGURATIONS[request.param]


def parameters(dtype=torch.float32, shapes=SHAPES, seed=0):
    """Return parameters that are the same at every call."""
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes
    ]


def set_gradients(params, step, missing=()):
    """Give the parameters gradients that depend on the step alone."""
    for i, p in enumerate(params):
        generator = torch.Generator().manual_seed(1000 * step + i)
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)
        if i in missing:
            p.grad = None


def run(make, params, steps, start=0, optimizer=None, **overrides):
    """Make `steps` steps, by default with a new optimizer; return the optimizer."""
    optimizer = optimizer or make(params, **overrides)
    for step in range(start, start + steps):
        set_gradients(params, step)
        optimizer.step()
    return optimizer


def same(a, b):
    """Whether two lists of tensors are equal to the bit."""
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def close(a, b, tolerance=1e-6):
    """Whether two lists of tensors agree to rounding."""
    return all(
        torch.allclose(x, y, rtol=tolerance, atol=tolerance) for x, y in zip(a, b, strict=True)
    )
