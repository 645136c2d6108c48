"""One table of configurations that drives the tests over all optimizers."""

import functools

import pytest

import adana

CONFIGURATIONS = {
    "adana": functools.partial(adana.ADana, lr=1e-2, total_steps=100),
    "adana-released": functools.partial(
        adana.ADana, lr=1e-2, total_steps=100, variant="released", momentum_scale=0.5
    ),
    "adana-first-step-0": functools.partial(adana.ADana, lr=1e-2, kappa=0.75, first_step=0),
    "adana-no-decay": functools.partial(adana.ADana, lr=1e-2, omega=0.0),
    "log-adamw": functools.partial(adana.LogAdamW, lr=1e-2, total_steps=100),
    "log-adamw-after": functools.partial(
        adana.LogAdamW, lr=1e-2, decay_order="after", betas=(0.8, 0.95)
    ),
}


@pytest.fixture(params=list(CONFIGURATIONS))
def make(request):
    """A function from parameters (and overrides) to an optimizer; runs once per configuration."""
    return CONFIGURATIONS[request.param]
